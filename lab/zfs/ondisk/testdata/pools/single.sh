# One disk, ashift 12: every checksum and compression, snapshots, clones, spills, large dnodes, a volume.
vdevs 256M d0
zpool create -o ashift=12 -O mountpoint=/single -O atime=off single $P/d0
for c in fletcher2 fletcher4 sha256 sha512 skein edonr blake3; do
	zfs create -o checksum=$c single/c-$c 2>>$P/refused && fill /single/c-$c
done
for c in off lzjb gzip gzip-9 zle lz4 zstd zstd-19 zstd-fast-10; do
	zfs create -o compression=$c single/k-$c 2>>$P/refused && fill /single/k-$c
done
zfs create -o recordsize=1M -o compression=zstd single/large && fill /single/large
zfs create -o recordsize=512 -o compression=off single/little && fill /single/little
zfs create -o dnodesize=auto -o xattr=sa single/dnodes && fill /single/dnodes && many /single/dnodes/many 300 && attributes /single/dnodes/text 10
zfs create -o dnodesize=16k single/dnodes16 && fill /single/dnodes16
zfs create -o xattr=sa -o dnodesize=legacy -o acltype=posix single/spill && fill /single/spill && attributes /single/spill/text 20 && attributes /single/spill/small 1
zfs create -o casesensitivity=mixed -o normalization=formC single/mixed && fill /single/mixed
zfs create single/many && many /single/many/fat 2500
zfs create single/snaps && fill /single/snaps
sums single/snaps single/snaps@one
zfs snapshot single/snaps@one
rm /single/snaps/text
seq 5 70000 >/single/snaps/noise
zfs snapshot single/snaps@two
seq 9 20000 >/single/snaps/noise
zfs snapshot single/snaps@three
zfs destroy single/snaps@two
zfs clone single/snaps@one single/clone
seq 3 30000 >/single/clone/more
zfs bookmark single/snaps@one single/snaps#mark
zfs create single/child && zfs create single/child/inner && fill /single/child/inner
zfs create -V 8M -o volblocksize=16k single/vol
udevadm settle
seq 1 60000 | dd of=/dev/zvol/single/vol bs=64k seek=3 conv=notrunc,fsync status=none
sha256sum </dev/zvol/single/vol | sed 's|-|single/vol|' >$P/vols
zpool sync single
for d in $(zfs list -Ho name -t filesystem -r single); do sums $d; done
zfs list -Hpt all -o name,type,used,referenced,guid,createtxg -r single >$P/list
zpool get -Hp -o property,value all single >$P/properties
zpool export single
judge single
zdb -lu $P/d0 >$P/zdb.label 2>/dev/null || true
