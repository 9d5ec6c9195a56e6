# dRAID: single parity with its spare in use, double parity with two spares in use, one rebuilt and one resilvered, and triple
# parity with a disk that is away; gang blocks, snapshots.
vdevs 128M a0 a1 a2 a3 a4 b0 b1 b2 b3 b4 b5 b6 b7 c0 c1 c2 c3 c4 c5
zpool create -o ashift=12 -O mountpoint=/one -O compression=lz4 one draid1:2d:5c:1s $P/a0 $P/a1 $P/a2 $P/a3 $P/a4
fill /one
zfs create -o compression=off one/off && fill /one/off
zfs create -o recordsize=1M -o compression=off one/large && fill /one/large
zpool sync one
zpool offline -f one $P/a1
zpool replace -w -s one $P/a1 draid1-0-0
rm /one/large/noise
fill /one/later
zpool sync one
zpool wait -t scrub one
for d in one one/off one/large; do sums $d; done
zpool status one >$P/one.status
zpool export one

zpool create -o ashift=9 -O mountpoint=/two -O compression=off two draid2:3d:8c:2s $P/b0 $P/b1 $P/b2 $P/b3 $P/b4 $P/b5 $P/b6 $P/b7
fill /two
zfs create -o recordsize=4k two/little && fill /two/little
zfs create -o compression=zstd two/zstd && fill /two/zstd
zfs snapshot -r two@s
zpool offline -f two $P/b2
zpool replace -w -s two $P/b2 draid2-0-0
fill /two/between
zpool wait -t scrub two
zpool offline -f two $P/b5
zpool replace -w two $P/b5 draid2-0-1
rm /two/noise
parameter metaslab_force_ganging 3000
parameter metaslab_force_ganging_pct 100
fill /two/later
zpool sync two
parameter metaslab_force_ganging 16777217
for d in two two/little two/zstd; do sums $d; done
zpool status two >$P/two.status
zpool export two

zpool create -o ashift=12 -O mountpoint=/three -O compression=lz4 three draid3:2d:6c:0s $P/c0 $P/c1 $P/c2 $P/c3 $P/c4 $P/c5
fill /three
zfs create -o recordsize=1M -o compression=off three/large && fill /three/large
zpool sync three
zpool offline three $P/c4
fill /three/later
many /three/many 200
zpool sync three
for d in three three/large; do sums $d; done
zpool export three
for p in one two; do
	judge $p $p.
done
judge three
