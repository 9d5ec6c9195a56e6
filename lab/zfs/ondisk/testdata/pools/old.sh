# A pool of version 28, and one with all features disabled.
vdevs 128M o0
vdevs 128M n0
zpool create -o ashift=9 -o version=28 -O mountpoint=/old old $P/o0
zpool create -o ashift=12 -d -O mountpoint=/none none $P/n0
for p in old none; do
	fill /$p
	zfs create -o compression=gzip $p/gzip && fill /$p/gzip
	many /$p/many 300
	zfs snapshot -r $p@s
	rm /$p/text
	zfs snapshot -r $p@t
	rm /$p/gzip/noise
	zpool sync $p
	for d in $(zfs list -Ho name -t filesystem -r $p); do sums $d; done
	zpool export $p
done
judge none none.
judge old
