# What the customize hook of the chroot that compiles does first: the modules of the package, stripped, in $dkms, and with debug
# information in $out. Sets version (of zfs-dkms) and kernel (its release).
# The row names the upstream version, the archive adds its own revision.
version=$(in_root apt-cache madison zfs-dkms | awk -v v="$VDEVIL_OPENZFS-" -F ' *[|] *' 'index($2, v) == 1 { print $2; exit }')
if [ -z "$version" ]; then
  echo "@gone $(in_root apt-cache madison zfs-dkms | awk -F ' *[|] *' '{ print $2 }' | sort -u | tr '\n' ' ')"
  exit 1
fi

echo "@step compile"
in_root apt-get install -y --no-install-recommends "zfs-dkms=$version" || {
  tail -n 20 "$root"/var/lib/dkms/zfs/*/build/make.log || :
  exit 1
}
kernel=$(ls "$root/usr/lib/modules")
dkms=$root/usr/lib/modules/$kernel/updates/dkms
# Since Debian 13 the kernel's own modules are compressed, and dkms follows.
for m in "$dkms"/*.ko.xz; do [ ! -e "$m" ] || in_root unxz "${m#"$root"}"; done
for m in "$dkms"/*.ko.zst; do [ ! -e "$m" ] || in_root unzstd -q --rm "${m#"$root"}"; done
in_root readelf -S "${dkms#"$root"}/zfs.ko" | grep -q ' \.debug_info' || { echo "zfs.ko has no debug information"; exit 1; }
built=$(in_root modinfo -F version "${dkms#"$root"}/zfs.ko")
case $built in
"$VDEVIL_OPENZFS"-*) ;;
*) echo "zfs.ko is $built, not $VDEVIL_OPENZFS"; exit 1 ;;
esac
cat "$dkms/zfs.ko" >"$out/zfs.ko"
cat "$dkms/spl.ko" >"$out/spl.ko"
in_root sh -c "strip -g ${dkms#"$root"}/*.ko"
