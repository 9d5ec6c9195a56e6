# Compiles the tree in /build/src for the kernel $RELEASE. Leaves in /build/out: zfs.ko and spl.ko with debug information, and
# layer.cpio, what a guest gets. Programs that are in /build/programs already are not made. make does not see that configure must
# run again: $SETUP is a hash of what it reads for modules, $CONFIGURE of all that it reads. A tree without programs, as
# the package of the modules has it, gives modules alone.
set -eu
cd /build/src
jobs=$(nproc)
linux=/usr/lib/modules/$RELEASE
modules=/build/depmod/lib/modules/$RELEASE
quietly() { "$@" >/build/output 2>&1 || { status=$?; cat /build/output; exit $status; }; }

read -r setup configure </build/configured 2>/dev/null || setup='' configure=''
if [ "$setup" != "$SETUP" ] || { [ ! -d /build/programs ] && [ "$configure" != "$CONFIGURE" ]; }; then
  echo "@step configure"
  rm -f /build/configured
  quietly sh ./autogen.sh
  # A version that may not know the kernel yet, or not any more, is for whoever asked for it to judge.
  [ -d cmd ] && config=all || config=kernel
  quietly ./configure --prefix=/usr --sysconfdir=/etc --localstatedir=/var --with-config=$config --enable-debuginfo --disable-shared \
    --disable-nls --disable-pyzfs --disable-pam --disable-systemd --disable-sysvinit \
    --with-linux="$linux/source" --with-linux-obj="$linux/build"
  echo "$SETUP $CONFIGURE" >/build/configured
fi

echo "@step modules"
make gitrev >/build/output 2>&1 || { cat /build/output; exit 1; }
make -C module -j"$jobs" 2>&1
rm -rf /build/out
mkdir -p /build/out/layer/layer/usr/sbin "/build/out/layer/layer$linux/updates"
for m in $(find module -name '*.ko'); do
  name=$(basename "$m")
  case $name in zfs.ko | spl.ko) cp "$m" /build/out/ ;; esac
  strip -g -o "$modules/updates/dkms/$name" "$m"
done
readelf -S /build/out/zfs.ko | grep -q ' \.debug_info' || { echo "zfs.ko has no debug information"; exit 1; }
depmod -b /build/depmod "$RELEASE"
cp "$modules"/modules.* "/build/out/layer/layer$linux/"
cp -r "$modules/updates/dkms" "/build/out/layer/layer$linux/updates/"

if [ -d cmd ] && [ ! -d /build/programs ]; then
  echo "@step programs"
  programs="zfs zpool zdb zinject ztest raidz_test zgenhostid mount.zfs zstream"
  # They are stripped, and wait for kernel and disks: what makes the compiler slow is left out.
  fast='CFLAGS=-O1 -g0'
  # Linked into one, zstream of 2.2 has highbit64 twice, which shared libraries keep apart.
  twice='LDFLAGS=-Wl,-z,muldefs'
  # Since 2.2 one Makefile makes all programs, and before that each directory has its own.
  if [ -e cmd/zpool/Makefile ]; then
    make -j"$jobs" -C lib "$fast" 2>&1
    for p in $programs; do make -j"$jobs" -C "cmd/$(echo "$p" | tr . _)" "$fast" "$twice" 2>&1; done
  else
    make -j"$jobs" "$fast" "$twice" $programs 2>&1
  fi
  rm -rf /build/programs.new
  mkdir /build/programs.new
  for p in $programs; do
    for found in "$p" "cmd/$p" "cmd/$p/$p" "cmd/mount_zfs/$p"; do [ ! -f "$found" ] || break; done
    strip -o "/build/programs.new/$p" "$found"
  done
  mv /build/programs.new /build/programs
fi

echo "@step layer"
[ ! -d /build/programs ] || cp /build/programs/* /build/out/layer/layer/usr/sbin/
cd /build/out/layer
find . | cpio -o --quiet -H newc -R 0:0 >../layer.cpio
cd ..
rm -rf layer
echo "@done"
