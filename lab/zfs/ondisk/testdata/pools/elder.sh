# A pool of version 15, from before deadlists, system attributes and log blocks with their checksum at the front, with
# intent logs that are not replayed.
vdevs 128M e0
zpool create -o ashift=9 -o version=15 -O mountpoint=/elder elder $P/e0
fill /elder
zfs create -o compression=lzjb -o checksum=fletcher2 elder/a && fill /elder/a
many /elder/many 300
zfs snapshot -r elder@s
rm /elder/text
zfs snapshot -r elder@t
rm /elder/a/noise
echo first | dd of=/elder/a/log oflag=sync status=none
zpool sync elder
for d in $(zfs list -Ho name -t filesystem -r elder); do sums $d; done
zpool freeze elder
dd if=/dev/urandom of=/elder/a/log bs=4k count=20 oflag=sync status=none
cp --sparse=always $P/e0 $P/cut
zpool export elder
rm $P/e0
judge elder
report zdb.zil elder -ivvvvv
