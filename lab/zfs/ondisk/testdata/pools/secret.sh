# Encrypted datasets: structure without keys. The root is not encrypted.
vdevs 128M e0
zpool create -o ashift=12 -O mountpoint=/secret secret $P/e0
fill /secret
echo a password that nobody needs | zfs create -o encryption=on -o keyformat=passphrase secret/gcm
fill /secret/gcm
many /secret/gcm/many 300
zfs create -o compression=off secret/gcm/plain && fill /secret/gcm/plain
echo a password that nobody needs | zfs create -o encryption=aes-128-ccm -o keyformat=passphrase -o dedup=on secret/ccm
fill /secret/ccm
cp /secret/ccm/text /secret/ccm/text2
zfs snapshot -r secret@s
rm /secret/gcm/text
zpool sync secret
sums secret
zpool export secret
judge secret
