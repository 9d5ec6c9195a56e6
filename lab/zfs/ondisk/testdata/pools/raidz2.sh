# raidz2 of 5 members, ashift 12.
vdevs 100M r0 r1 r2 r3 r4 
zpool create -o ashift=12 -O mountpoint=/zr zr raidz2 $P/r0 $P/r1 $P/r2 $P/r3 $P/r4 
fill /zr
for c in off lz4 zstd; do zfs create -o compression=$c zr/$c && fill /zr/$c; done
zfs create -o recordsize=1M zr/large && fill /zr/large
zfs create -o recordsize=4k zr/little && fill /zr/little
zfs snapshot -r zr@s
rm /zr/off/noise
many /zr/many 300
zpool sync zr
for d in $(zfs list -Ho name -t filesystem -r zr); do sums $d; done
zpool export zr
judge zr
