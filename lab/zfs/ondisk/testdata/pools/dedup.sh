# Dedup tables: legacy, and fast with entries that are still in the log; duplicates, copies, deletions.
vdevs 128M old new
# flush MAX MIN: entries go to the table when they are MAX txgs old, MIN at a time.
flush() {
	parameter zfs_dedup_log_txg_max $1
	parameter zfs_dedup_log_flush_entries_min $2
}
make() {
	zfs create -o dedup=on -o recordsize=16k $1/a && fill /$1/a
	zfs create -o dedup=skein -o copies=2 $1/b && fill /$1/b
	zpool sync $1
	cp -r /$1/a/dir /$1/a/again && cp /$1/a/text /$1/a/again/
	zpool sync $1
	zfs create -o dedup=blake3,verify -o copies=3 $1/c && fill /$1/c
	for i in 1 2 3 4 5 6; do cp /$1/c/text /$1/c/text$i; zpool sync $1; done
	rm /$1/c/text2 /$1/a/noise
	zfs snapshot $1/a@s
	zpool sync $1
	for d in a b c; do sums $1/$d; done
}
zpool create -o ashift=9 -o feature@fast_dedup=disabled -O mountpoint=/legacy legacy $P/old
make legacy
zpool export legacy
judge legacy legacy.
report legacy.zdb.ddt legacy -DDDDD
zpool create -o ashift=12 -O mountpoint=/fast fast $P/new
flush 1 10000
zfs create -o dedup=on -o recordsize=16k fast/z && fill /fast/z && cp -r /fast/z/dir /fast/z/again
for i in 1 2 3 4 5; do zpool sync fast; echo $i >/fast/z/dir/$i; done
sums fast/z
flush 1000000 1
make fast
zpool export fast
judge fast
report zdb.ddt fast -DDDDD
