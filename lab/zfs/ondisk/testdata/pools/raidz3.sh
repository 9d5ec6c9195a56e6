# raidz3 of 7 members, ashift 9.
raidz 3 9 r0 r1 r2 r3 r4 r5 r6
