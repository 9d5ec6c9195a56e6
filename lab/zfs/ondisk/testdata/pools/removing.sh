# A top-level vdev that is being removed, stopped halfway: what was copied of it was freed and overwritten since, what was not
# copied, too.
vdevs 128M a0 a1 a2
zpool create -o ashift=12 -O mountpoint=/removing removing $P/a0 $P/a1
fill /removing
zfs create -o recordsize=8k removing/little && fill /removing/little
zfs create -o compression=off removing/off && fill /removing/off
for i in 1 2 3 4 5 6; do zfs create -o compression=off removing/gone$i && fill /removing/gone$i; done
many /removing/many 200
zfs snapshot -r removing@s
zpool sync removing
zpool add removing $P/a2
rm /removing/text
zpool sync removing

# What is copied at once is little.
parameter zfs_remove_max_segment 4096
parameter zfs_removal_suspend_progress 1
zpool remove removing $P/a1
# It goes on until a mebibyte was copied to the vdev that is empty.
python3 -c 'import os, sys
blocks = lambda: os.stat(sys.argv[1]).st_blocks * 512
until, setting = blocks() + 1048576, "/sys/module/zfs/parameters/zfs_removal_suspend_progress"
open(setting, "w").write("0")
while blocks() < until: pass
open(setting, "w").write("1")' $P/a2
zpool sync removing
rm /removing/off/noise /removing/little/noise
zfs destroy -r removing/gone1
zfs destroy -r removing/gone4
fill /removing/later
zpool sync removing
rm -r /removing/many
zfs destroy removing/little@s
fill /removing/last
zpool sync removing
rm /removing/dir/mixed
zpool sync removing
zpool status removing >$P/status
grep -q 'in progress' $P/status
for d in removing removing/little removing/off removing/gone2; do sums $d; done
zpool export removing
judge removing
