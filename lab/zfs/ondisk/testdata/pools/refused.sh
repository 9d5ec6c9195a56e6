# What the reader refuses by name: dRAID and an expanded raidz.
vdevs 100M r0 r1 r2 r3 d0 d1 d2 d3
zpool create -o ashift=12 -O mountpoint=/spread spread draid1:2d:4c:0s $P/d0 $P/d1 $P/d2 $P/d3
fill /spread
zpool export spread
zpool create -o ashift=12 -O mountpoint=/grown grown raidz1 $P/r0 $P/r1 $P/r2
fill /grown
zpool attach -w grown raidz1-0 $P/r3
fill /grown/later
zpool export grown
