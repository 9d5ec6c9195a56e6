# raidz1 of 3 members, ashift 9.
vdevs 100M r0 r1 r2 
zpool create -o ashift=9 -O mountpoint=/zr zr raidz1 $P/r0 $P/r1 $P/r2 
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
