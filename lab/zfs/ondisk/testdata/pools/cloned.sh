# Cloned blocks: the block reference table, before and after some references are gone.
vdevs 256M c0 c1
parameter zfs_bclone_enabled 1
parameter zfs_bclone_wait_dirty 1 2>/dev/null || true
zpool create -o ashift=9 -O mountpoint=/cloned cloned $P/c0 $P/c1
zfs create -o compression=off cloned/a && fill /cloned/a
zfs create cloned/b
zpool sync cloned
# clone FROM TO: between file systems cp does not.
clone() {
	python3 -c 'import os, sys
a, b = open(sys.argv[1], "rb"), open(sys.argv[2], "wb")
left = os.fstat(a.fileno()).st_size
while left > 0: left -= os.copy_file_range(a.fileno(), b.fileno(), left)' "$1" "$2"
}
# So many entries that the pointer table of their ZAP needs blocks of its own.
zfs create -o recordsize=512 -o compression=off cloned/little
head -c 14000000 /dev/urandom >/cloned/little/a
zpool sync cloned
cp --reflink=always /cloned/little/a /cloned/little/b
zpool sync cloned
for i in 1 2 3; do cp --reflink=always /cloned/a/noise /cloned/a/noise$i; done
clone /cloned/a/text /cloned/b/text
clone /cloned/a/text /cloned/b/text2
zpool sync cloned
rm /cloned/a/noise /cloned/b/text2
cp --reflink=always /cloned/a/sparse /cloned/a/sparse2
zfs snapshot cloned/a@s
zpool sync cloned
sums cloned/a
sums cloned/b
zpool export cloned
judge cloned
report zdb.brt cloned -TTTTT
