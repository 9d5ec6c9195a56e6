# Runs $VDEVIL_COMPILE in a builder: $1 is its root, $2 the tree's directory, which it sees as /build, $3 the cache of objects,
# $4 the kernel's release. Runs in a mount namespace of its own.
set -eu
mount --rbind /dev "$1/dev"
mount --rbind /proc "$1/proc"
# Where depmod finds the kernel's own modules beside those that were compiled.
rm -rf "$2/depmod"
mkdir -p "$2/depmod/lib/modules/$4/kernel" "$2/depmod/lib/modules/$4/updates/dkms"
cp "$1/usr/lib/modules/$4"/modules.builtin* "$1/usr/lib/modules/$4/modules.order" "$2/depmod/lib/modules/$4/"
mount --bind "$1/usr/lib/modules/$4/kernel" "$2/depmod/lib/modules/$4/kernel"
mount --rbind "$2" "$1/build"
mount --bind "$3" "$1/ccache"
exec chroot "$1" /usr/bin/env -i PATH=/usr/lib/ccache:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/tmp TMPDIR=/tmp \
  CCACHE_DIR=/ccache CCACHE_MAXSIZE=2G CCACHE_NOHASHDIR=1 GIT_CEILING_DIRECTORIES=/build RELEASE="$4" SETUP="$VDEVIL_SETUP" CONFIGURE="$VDEVIL_CONFIGURE" \
  /bin/sh -c "$VDEVIL_COMPILE"
