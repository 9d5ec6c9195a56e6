# Setup hook of both chroots, before anything is downloaded. Runs outside the chroot, $1, as its root.
set -eu
apt=$1/etc/apt
mkdir -p "$apt/sources.list.d" "$apt/preferences.d"

# The extra suite is the base suite's first source under another name, so that no host is named here and a mirror given
# by the user serves both. mmdebstrap writes one-line or deb822 sources, depending on its version and options.
if [ "$VDEVIL_SUITE" != "$VDEVIL_BASE" ]; then
  if [ -s "$apt/sources.list" ]; then
    sed -n "/^deb /{s, $VDEVIL_BASE , $VDEVIL_SUITE ,p;q}" "$apt/sources.list" >"$apt/sources.list.d/vdevil.list"
  else
    first=$(find "$apt/sources.list.d" -name '*.sources' | sort | head -n1)
    sed -n "/^\$/q;s,^Suites:.*,Suites: $VDEVIL_SUITE,;p" "$first" >"$apt/sources.list.d/vdevil.sources"
  fi
fi

# Two suites, and a backports suite even twice, may carry OpenZFS: only the row's version is installable. The first
# record that matches decides.
cat >"$apt/preferences.d/vdevil" <<PIN
Package: src:zfs-linux:any
Pin: version $VDEVIL_OPENZFS-*
Pin-Priority: 1001

Package: src:zfs-linux:any
Pin: release *
Pin-Priority: -1
PIN

mkdir -p "$1/etc/dkms"
printf 'ZFS_DKMS_ENABLE_DEBUGINFO="yes"\nZFS_DKMS_DISABLE_STRIP="yes"\n' >"$1/etc/dkms/zfs.conf"

# What an earlier, interrupted build has downloaded is put here.
mkdir -p "$1/var/cache/apt/archives"
