# raidz1 of 3 members, ashift 9.
raidz 1 9 r0 r1 r2
