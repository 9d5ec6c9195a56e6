# Encrypted datasets with gang blocks, whose intent logs are older than the newest snapshot, as is that of the root, which is not
# encrypted.
vdevs 128M s0
parameter metaslab_force_ganging 16777217
echo a password that nobody needs >/tmp/key
zpool create -o ashift=9 -O mountpoint=/sealed -O compression=off sealed $P/s0
zfs create -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key sealed/weak
zfs create -o checksum=sha256 -o encryption=on -o keyformat=passphrase -o keylocation=file:///tmp/key sealed/strong
parameter metaslab_force_ganging_pct 100
parameter metaslab_force_ganging 3000
for d in sealed sealed/weak sealed/strong; do fill /$d; done
zpool sync sealed
parameter metaslab_force_ganging 16777217
for d in sealed sealed/weak sealed/strong; do
	echo it is safe now | dd of=/$d/promised oflag=sync status=none
	zpool sync sealed
	zfs snapshot $d@s
	zpool sync sealed
done
sums sealed
zpool export sealed
judge sealed
