# A three-way mirror, ashift 9, with a special and a dedup mirror and a log; one member is out of date.
vdevs 128M m0 m1 m2 s0 s1 l0 x0 x1
zpool create -f -o ashift=9 -O mountpoint=/glass glass mirror $P/m0 $P/m1 $P/m2 special mirror $P/s0 $P/s1 log $P/l0 dedup $P/x0
fill /glass
zfs create -o special_small_blocks=8k glass/special && fill /glass/special
zfs create -o dedup=on glass/dedup && fill /glass/dedup && cp /glass/dedup/text /glass/dedup/again
zpool sync glass
zpool offline glass $P/m2
fill /glass/later
many /glass/later/many 300
zpool sync glass
sums glass
sums glass/special
sums glass/dedup
zpool export glass
judge glass
