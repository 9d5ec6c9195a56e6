# Customize hook of the guest's chroot, after the lab's own files were put in. Runs outside the chroot, $1, as its root.
# Works in directory guest of directory fd 3: takes kernel.tar once the FIFO gate gives a line, leaves root.img and guest.txt
# (the packages).
set -eu
root=$1 out=/proc/self/fd/3/guest
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }

echo "@step guest"
# Of zfs-test the guest needs three programs; the package would bring fio, ksh, mdadm and sysstat.
in_root sh -c 'cd /var/tmp && apt-get download zfs-test && dpkg-deb -x zfs-test_*.deb zfs-test'
for p in zinject ztest raidz_test; do cp "$(find "$root/var/tmp/zfs-test" -path "*bin/$p" -type f)" "$root/usr/sbin/$p"; done
test=$(in_root sh -c "dpkg-deb -W --showformat='\${Package} \${Version}' /var/tmp/zfs-test_*.deb")
{
  in_root dpkg-query -W -f '${Package} ${Version}\n'
  echo "$test"
} >"$out/guest.txt"
rm -rf "$root"/var/tmp/*

for p in mount zfs zpool zdb zinject ztest zfs-auto-snapshot; do
  in_root sh -c "command -v $p" >/dev/null || { echo "the guest has no $p"; exit 1; }
done
installed=$(in_root dpkg-query -W -f '${Version}' zfsutils-linux)
case $installed in
"$VDEVIL_OPENZFS"-*) ;;
*) echo "zfsutils-linux is $installed, not $VDEVIL_OPENZFS"; exit 1 ;;
esac

in_root usermod -p '*' root
in_root zgenhostid -f 0x76646576
ln -sf /proc/self/mounts "$root/etc/mtab"
for p in init poweroff reboot halt; do ln -sf /bin/busybox "$root/sbin/$p"; done
ln -sf /bin/busybox "$root/usr/sbin/logread"
rm -f "$root"/etc/ssh/ssh_host_rsa_key* "$root"/etc/ssh/ssh_host_ecdsa_key*
# OpenSSH 9.8 and later makes an address wait that dropped connections, and all of the lab's come from one.
mkdir -p "$root/run/sshd"
if in_root /usr/sbin/sshd -T | grep -q '^persourcepenalties '; then echo 'PerSourcePenalties no' >>"$root/etc/ssh/sshd_config"; fi

echo "@wait"
read -r _ <"$out/gate"
echo "@step disk"
tar -C "$root" --keep-directory-symlink -xf "$out/kernel.tar"

# A bind mount shows the tree without what is mounted in it.
view=$root/mnt
mount --bind "$root" "$view"
rm -rf "$view"/var/lib/apt/lists/* "$view"/var/cache/apt/* "$view"/var/log/* "$view"/run/* "$view"/tmp/* \
  "$view"/etc/apt/apt.conf.d/*mmdebstrap* "$view"/etc/dpkg/dpkg.cfg.d/*mmdebstrap* "$view"/etc/resolv.conf \
  "$view"/usr/share/man "$view"/usr/share/doc "$view"/usr/share/locale "$view"/usr/share/info "$view"/etc/dkms
: >"$view/etc/machine-id"
# Neither journal nor checksums: a guest writes to an overlay that is thrown away. The size is an upper bound, the file is
# sparse.
mkfs.ext4 -q -F -L vdevil -O ^has_journal,^metadata_csum -E root_owner=0:0 -d "$view" "$out/root.img" "$VDEVIL_DISK"
umount "$view"
e2fsck -fn "$out/root.img"
echo "@done"
