# Customize hook of the chroot that becomes a builder. Runs outside the chroot, $1, as its root. Leaves builder/root.tar in
# directory fd 3: the system without what only root may make.
set -eu
root=$1 out=/proc/self/fd/3/builder
echo "@step pack"
mkdir -p "$root/build" "$root/ccache" "$root/dev" "$root/proc"
tar -C "$root" --one-file-system --exclude='./dev/*' --exclude='./proc/*' --exclude='./sys/*' --exclude='./run/*' \
  --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./usr/share/doc' --exclude='./usr/share/man' \
  -cf "$out/root.tar" .
echo "@done"
