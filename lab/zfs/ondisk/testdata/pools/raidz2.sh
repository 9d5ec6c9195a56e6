# raidz2 of 5 members, ashift 12.
raidz 2 12 r0 r1 r2 r3 r4
