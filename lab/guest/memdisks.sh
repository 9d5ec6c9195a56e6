# NAME...
modprobe -a nfit nd_pmem
udevadm settle
for disk in /sys/block/pmem*; do
	printf '%020d %s\n' "$(cat "$disk/device/resource")" "${disk##*/}"
done | sort | while read -r _ disk; do
	[ $# -gt 0 ] || break
	echo "KERNEL==\"$disk\", SYMLINK+=\"disk/by-id/virtio-$1\""
	echo "KERNEL==\"${disk}p*\", SYMLINK+=\"disk/by-id/virtio-$1-part%n\""
	shift
done >/etc/udev/rules.d/90-disks.rules
udevadm control --reload
udevadm trigger --action=change --subsystem-match=block
udevadm settle
for name in "$@"; do
	[ -b "/dev/disk/by-id/virtio-$name" ] || { echo "there is no persistent memory for disk $name" >&2; exit 1; }
done
