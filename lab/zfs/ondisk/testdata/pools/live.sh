# What a power cut leaves: log space maps that are not flushed and intent logs that are not replayed.
vdevs 256M v0
zpool create -o ashift=12 -O mountpoint=/live live $P/v0
fill /live
for i in 1 2 3 4 5 6; do fill /live/dir$i; zpool sync live; rm /live/dir$i/noise; zpool sync live; done
zfs create -o logbias=throughput live/indirect
zfs create live/direct
many /live/many 200
for d in direct indirect; do dd if=/dev/zero of=/live/$d/first bs=4k count=1 oflag=sync status=none; done
zpool sync live
sums live
zpool freeze live
dd if=/dev/urandom of=/live/direct/log bs=4k count=20 oflag=sync status=none
dd if=/dev/urandom of=/live/indirect/log bs=128k count=4 oflag=sync status=none
mv /live/direct/log /live/direct/renamed
rm /live/text
echo more | dd of=/live/direct/more oflag=sync status=none
cp --sparse=always $P/v0 $P/cut
zpool export live
rm $P/v0
judge live
report zdb.zil live -ivvvvv
