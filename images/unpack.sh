# Customize hook of the chroot that downloads the source of the modules. Runs outside the chroot, $1, as its root. Leaves
# source/source.tar in directory fd 3: what a checkout would have, without what autogen.sh makes of it, and without dkms.conf, beside
# which configure works for dkms alone.
set -eu
root=$1 out=/proc/self/fd/3/source
chroot "$root" sh -c 'cd /var/tmp && apt-get download zfs-dkms && dpkg-deb -x zfs-dkms_*.deb source'
echo "@step unpack"
cd "$root"/var/tmp/source/usr/src/zfs-*/
find . -name Makefile.am | sed 's/am$/in/' | xargs rm -f
rm -f dkms.conf configure aclocal.m4 zfs_config.h.in config/compile config/config.guess config/config.sub config/install-sh config/ltmain.sh \
  config/missing config/libtool.m4 config/lt?*.m4
tar --owner=0 --group=0 -cf "$out/source.tar" .
echo "@done"
