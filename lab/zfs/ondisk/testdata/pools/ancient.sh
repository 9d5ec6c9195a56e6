# Pools of versions 1 and 2, whose lists of blocks count bytes alone and whose sums have parity in them, and one that was
# upgraded to version 28 and kept such lists.
vdevs 128M a0
vdevs 128M b0
vdevs 100M c0 c1 c2
vdevs 128M d0
zpool create -o ashift=9 -o version=1 -O mountpoint=/one one $P/a0
zpool create -o ashift=9 -o version=2 -O mountpoint=/two two $P/b0
zpool create -o ashift=9 -o version=1 -O mountpoint=/three three raidz $P/c0 $P/c1 $P/c2
zpool create -o ashift=9 -o version=2 -O mountpoint=/upgraded upgraded $P/d0
# age POOL DIR: snapshots, and what they hold.
age() {
	fill $2
	zfs snapshot $1@${2##*/}s
	rm $2/text
	zfs snapshot $1@${2##*/}t
	rm $2/noise
	zpool sync $1
}
for p in one two three upgraded; do age $p /$p; done
zpool upgrade -V 28 upgraded
age upgraded /upgraded/new
for p in one two three upgraded; do
	sums $p
	zpool export $p
	judge $p $p.
done
