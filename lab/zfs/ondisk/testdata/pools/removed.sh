# Two top-level vdevs are removed, one of them after blocks of the other were remapped; a log is removed too. A snapshot from before has
# pointers to what was removed, and what was freed after it is on a deadlist by the remapped ones.
vdevs 128M a0 a1 a2 a3 l0
zpool create -o ashift=12 -O mountpoint=/removed removed $P/a0 $P/a1 $P/a2 log $P/l0
fill /removed
zfs create -o recordsize=8k removed/little && fill /removed/little
zfs create -o compression=off removed/off && fill /removed/off
zfs create -o recordsize=8k removed/kept && fill /removed/kept && zfs snapshot removed/kept@before
zfs snapshot -r removed@s
zpool sync removed
zpool remove -w removed $P/a1
rm /removed/text /removed/off/noise
for f in text noise; do dd if=/dev/zero of=/removed/kept/$f bs=8k count=1 conv=notrunc status=none; done
zpool sync removed
rm /removed/kept/text /removed/kept/noise
zpool remove removed $P/l0
zpool add removed $P/a3
fill /removed/later
zpool sync removed
zpool remove -w removed $P/a0
zfs destroy -r removed@s
fill /removed/last
zpool sync removed
for d in $(zfs list -Ho name -t filesystem -r removed); do sums $d; done
zpool export removed
judge removed
