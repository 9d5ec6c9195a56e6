# Gang blocks, ashift 9 and 12, with and without copies, nested.
vdevs 128M g0
vdevs 128M h0
for p in "gang 9 g0 3000" "hang 12 h0 20000"; do
	set -- $p
	parameter metaslab_force_ganging 16777217
	zpool create -o ashift=$2 -O mountpoint=/$1 -O compression=off $1 $P/$3
	parameter metaslab_force_ganging_pct 100
	parameter metaslab_force_ganging $4
	fill /$1
	zfs create -o copies=2 $1/copies && fill /$1/copies
	zfs create -o compression=lz4 -o checksum=sha256 $1/lz4 && fill /$1/lz4
	zfs create -o dedup=on $1/dedup && fill /$1/dedup
	zpool sync $1
	cp /$1/dedup/noise /$1/dedup/again # its birth is not that of the block
	zpool sync $1
	zfs snapshot $1@s
	rm /$1/noise
	zpool sync $1
	for d in $(zfs list -Ho name -t filesystem -r $1); do sums $d; done
	parameter metaslab_force_ganging 16777217
	zpool export $1
done
judge hang hang.
judge gang
