# A raidz2 of which one member is being replaced and one is stood in for by a spare, with none of it resilvered; n0 and n1
# have only what was written since.
vdevs 100M r0 r1 r2 r3 n0 n1
zpool create -o ashift=9 -O mountpoint=/change change raidz2 $P/r0 $P/r1 $P/r2 $P/r3 spare $P/n1
fill /change
zfs create -o recordsize=4k change/little && fill /change/little
zpool sync change
parameter zfs_scan_suspend_progress 1
zpool replace change $P/r1 $P/n0
zpool offline change $P/r2
zpool replace change $P/r2 $P/n1
fill /change/later
zpool sync change
sums change
sums change/little
zpool status change >$P/status
zpool export change
judge change
