# A checkpoint with changes after it.
vdevs 128M k0
zpool create -o ashift=12 -O mountpoint=/check check $P/k0
fill /check
zfs create check/gone && fill /check/gone
zpool sync check
sums check check/before
sums check/gone
zpool checkpoint check
zfs destroy check/gone
rm /check/text
fill /check/after
zpool sync check
sums check
zpool export check
judge check
