# An encrypted pool with gang blocks, whose intent log is older than the newest snapshot.
vdevs 128M s0
parameter metaslab_force_ganging 16777217
echo a password that nobody needs >/tmp/key
zpool create -o ashift=9 -O mountpoint=/sealed -O compression=off -O encryption=on -O keyformat=passphrase -O keylocation=file:///tmp/key sealed $P/s0
zfs create -o checksum=sha256 sealed/strong
parameter metaslab_force_ganging_pct 100
parameter metaslab_force_ganging 3000
for d in sealed sealed/strong; do fill /$d; done
zpool sync sealed
parameter metaslab_force_ganging 16777217
for d in sealed sealed/strong; do
	echo it is safe now | dd of=/$d/promised oflag=sync status=none
	zpool sync sealed
	zfs snapshot $d@s
	zpool sync sealed
done
zpool export sealed
judge sealed
