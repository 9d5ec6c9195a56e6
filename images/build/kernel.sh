# Customize hook of the chroot that makes the kernel part. Runs outside the chroot, $1, as its root. Leaves in directory stage of
# directory fd 3: vmlinux, initrd.img, kernel.tar (what the guest needs below /usr/lib/modules), kernel.txt (kernel release, version
# of zfs-dkms, then the packages) and, where $VDEVIL_MODULES compiles them, zfs.ko and spl.ko with debug information.
set -eu
root=$1 out=/proc/self/fd/3/stage version=none dkms=
in_root() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C "$@"; }

if [ -n "$VDEVIL_MODULES" ]; then
  eval "$VDEVIL_MODULES"
else
  kernel=$(in_root apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: linux-image-//p')
fi

echo "@step kernel"
# The kernel is unpacked, not installed: its package would bring initramfs-tools, which the guest has no use for.
in_root sh -c "cd /var/tmp && apt-get download linux-image-$kernel && dpkg-deb -x linux-image-*.deb kernel"
tree=$root/var/tmp/kernel
[ -d "$tree/usr" ] || mkdir "$tree/usr"
[ ! -d "$tree/lib" ] || mv "$tree/lib" "$tree/usr/lib"
mkdir -p "$tree/usr/lib/modules/$kernel/updates"
[ -z "$dkms" ] || cp -a "$dkms" "$tree/usr/lib/modules/$kernel/updates/"
in_root depmod -b /var/tmp/kernel/usr "$kernel"
tar -C "$tree" -cf - usr/lib/modules >"$out/kernel.tar"

# The kernel proper out of vmlinuz, whose header says where it lies (Documentation/arch/x86/boot.rst: setup_sects,
# payload_offset, payload_length). QEMU starts it through its PVH entry and spares the guest the unpacking, which takes
# seconds under emulation.
z=$tree/boot/vmlinuz-$kernel
field() { od -An -t "u$2" -j "$1" -N "$2" "$z" | tr -d ' '; }
offset=$((($(field $((0x1f1)) 1) + 1) * 512 + $(field $((0x248)) 4)))
tail -c +$((offset + 1)) "$z" | head -c "$(field $((0x24c)) 4)" >"$root/var/tmp/payload"
case $(od -An -t x1 -N 4 "$root/var/tmp/payload" | tr -d ' ') in
02214c18) unpack="lz4 -dc" ;;
28b52ffd) unpack="zstd -dc" ;;
fd377a58) unpack="xz -dc" ;;
1f8b*) unpack="gzip -dc" ;;
*) echo "vmlinuz-$kernel is compressed in an unknown way"; exit 1 ;;
esac
# Behind the payload lies its length, which the tools take for garbage and complain about after all is written.
in_root sh -c "$unpack </var/tmp/payload >/var/tmp/vmlinux" || :
in_root readelf -n /var/tmp/vmlinux | grep -q Xen || { echo "vmlinux has no PVH entry"; exit 1; }
cat "$root/var/tmp/vmlinux" >"$out/vmlinux"

# The initrd holds a static busybox, the drivers of the root disk and $VDEVIL_INIT, and is not compressed.
ramfs=$root/var/tmp/initrd
mkdir -p "$ramfs/bin" "$ramfs/modules" "$ramfs/dev" "$ramfs/proc" "$ramfs/sysroot"
cp "$root/bin/busybox" "$ramfs/bin/"
printf '%s' "$VDEVIL_INIT" >"$ramfs/init"
chmod 755 "$ramfs/init"
n=10
for m in $(in_root sh -c "for m in virtio_pci virtio_blk nfit nd_pmem ext4; do modprobe -d /var/tmp/kernel/usr -S $kernel --show-depends \$m; done" |
  awk '$1 == "insmod" && !seen[$2]++ { print $2 }'); do
  case $m in
  *.xz) in_root xz -dc "$m" ;;
  *.zst) in_root zstd -dc "$m" ;;
  *) in_root cat "$m" ;;
  esac >"$ramfs/modules/$n-$(basename "${m%.ko*}").ko"
  n=$((n + 1))
done
in_root sh -c 'cd /var/tmp/initrd && find . | busybox cpio -o -H newc -R 0:0' >"$out/initrd.img"

{
  echo "$kernel"
  echo "$version"
  in_root dpkg-query -W -f '${Package} ${Version}\n'
  in_root dpkg-deb -W --showformat='${Package} ${Version}\n' "/var/tmp/$(basename "$root"/var/tmp/linux-image-*.deb)"
} >"$out/kernel.txt"
echo "@done"
