# Expanded raidz: one that grew twice, with blocks of all three widths, and one whose expansion is halfway.
vdevs 100M g0 g1 g2 g3 g4 h0 h1 h2 h3 h4
zpool create -o ashift=9 -O mountpoint=/grown -O compression=lz4 grown raidz1 $P/g0 $P/g1 $P/g2
fill /grown
zfs create -o compression=off grown/off && fill /grown/off
zfs create -o recordsize=4k grown/little && fill /grown/little
zfs create -o recordsize=1M -o compression=off grown/large && fill /grown/large
zfs snapshot -r grown@s
zpool attach -w grown raidz1-0 $P/g3
rm /grown/off/noise /grown/little/text
mkdir /grown/later /grown/large/later
fill /grown/later
fill /grown/large/later
zpool wait -t scrub grown
zpool attach -w grown raidz1-0 $P/g4
parameter metaslab_force_ganging 20000
parameter metaslab_force_ganging_pct 30
fill /grown/last
zpool sync grown
parameter metaslab_force_ganging 16777217
zpool wait -t scrub grown
for d in grown grown/off grown/little grown/large; do sums $d; done
zpool export grown

zpool create -o ashift=12 -O mountpoint=/growing -O compression=off growing raidz2 $P/h0 $P/h1 $P/h2 $P/h3
fill /growing
zfs create -o recordsize=16k growing/little && fill /growing/little
zfs create -o recordsize=1M growing/large && fill /growing/large
zpool sync growing
parameter raidz_expand_max_copy_bytes 65536
parameter raidz_expand_max_reflow_bytes 1000000
zpool attach growing raidz2-0 $P/h4
# It stops at the limit, and then copies no more.
copied() { zpool status growing | sed -n 's/^\t*\([0-9.]*[BKMG]\) .*copied.*/\1/p'; }
before=
now=none
until [ -n "$now" ] && [ "$now" = "$before" ]; do
	before=$now
	sleep 1
	now=$(copied)
done
rm /growing/large/text
fill /growing/meanwhile
zpool sync growing
zpool status growing >$P/status
grep -q 'in progress' $P/status
for d in growing growing/little growing/large; do sums $d; done
zpool export growing
parameter raidz_expand_max_reflow_bytes 0
judge growing growing.
judge grown
