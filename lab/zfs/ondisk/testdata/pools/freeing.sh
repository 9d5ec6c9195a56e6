# Destruction that has not come to its end: a free bpobj with sub-objects, a bptree, livelists.
vdevs 256M f0
parameter zfs_livelist_min_percent_shared 10
zpool create -o ashift=12 -O mountpoint=/freeing freeing $P/f0
zfs create freeing/a && fill /freeing/a && zfs snapshot freeing/a@1
zfs create -o recordsize=1k freeing/big && fill /freeing/big
zfs create -o recordsize=1k -o compression=off freeing/lists
for i in 1 2 3 4; do
	head -c 2500000 /dev/urandom >/freeing/lists/noise
	zfs snapshot freeing/lists@$i
done
zfs clone freeing/a@1 freeing/live
seq 4 50000 >/freeing/live/new
fill /freeing/live/more
zpool sync freeing
rm /freeing/live/new
seq 7 9000 >/freeing/live/newer
zpool sync freeing
for i in 2 3 4 5; do seq $i 30000 >/freeing/a/text; head -c ${i}0000 /dev/urandom >/freeing/a/noise; zfs snapshot freeing/a@$i; done
fill /freeing/a/last
zpool sync freeing
for d in a live; do sums freeing/$d; done
# Nothing slow comes after the destroys: ZFS goes on with them in txg after txg.
parameter zfs_free_bpobj_enabled 0
parameter zfs_async_block_max_blocks 1
zfs destroy freeing/a@3
zfs destroy freeing/a@4
zfs destroy freeing/lists@2
zfs destroy freeing/lists@3
zfs destroy freeing/big
zpool sync freeing
zpool export freeing
judge freeing
