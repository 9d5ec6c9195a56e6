# What all pools of the tests share. The vdevs are sparse files in $P; what zdb and sha256sum say of a pool lies beside
# them, and the whole directory is handed out.
P=/var/tmp/p
mkdir -p $P
cd $P

# vdevs SIZE NAME...: files for a pool.
vdevs() {
	local size=$1 n
	shift
	for n; do truncate -s "$size" "$P/$n"; done
}

# fill DIR: files of all shapes.
fill() {
	mkdir -p "$1/dir/sub"
	seq 1 60000 >"$1/text"
	head -c 300000 /dev/urandom >"$1/noise"
	echo hello >"$1/small"
	head -c 70 /dev/urandom >"$1/tiny noise"
	: >"$1/empty"
	truncate -s 10M "$1/sparse"
	seq 1 500 | dd of="$1/sparse" bs=4k seek=2000 conv=notrunc status=none
	seq 1 9 | dd of="$1/sparse" bs=1 seek=1000000 conv=notrunc status=none
	head -c 131072 /dev/zero >"$1/zeroes"
	(seq 1 3000; head -c 40000 /dev/zero; seq 1 3000) >"$1/dir/mixed"
	echo deep >"$1/dir/sub/deep"
	ln -s text "$1/link"
}

# many DIR N: a directory that needs a fat ZAP.
many() {
	mkdir -p "$1"
	local i
	for i in $(seq 1 "$2"); do echo "$i" >"$1/file with a name that is not short $i"; done
}

# attributes FILE N: N extended attributes of 300 bytes.
attributes() {
	python3 -c 'import os, sys
for i in range(int(sys.argv[2])): os.setxattr(sys.argv[1], "user.a%d" % i, bytes([65 + i]) * 300)' "$1" "$2"
}

# sums DATASET [AS]: the hashes of all files of a mounted file system, as lines "hash dataset//path".
sums() {
	(cd "$(zfs get -Hpo value mountpoint "$1")" && find . -xdev -type f -print0 | sort -z | xargs -0r sha256sum) |
		sed "s|  \./|  ${2:-$1}//|" >>$P/sums
}

# judge POOL [PREFIX]: what zdb says of an exported pool.
judge() {
	report "${2-}zdb.blocks" "$1" -bbb
	report "${2-}zdb.objects" "$1" -ddddd
	report "${2-}zdb.metaslabs" "$1" -mmmm
	report "${2-}zdb.uberblock" "$1" -uuu
}

# report NAME POOL OPTION: a file with what zdb says of an exported pool. Where the directory is handed out to it takes a fraction of the
# time.
report() { echo "$*" >>$P/reports; }

parameter() { echo "$2" >/sys/module/zfs/parameters/$1; }

# raidz LEVEL ASHIFT MEMBER...: the pool zr.
raidz() {
	local level=$1 ashift=$2
	shift 2
	vdevs 100M "$@"
	zpool create -o ashift="$ashift" -O mountpoint=/zr zr "raidz$level" "${@/#/$P/}"
	fill /zr
	for c in off lz4 zstd; do zfs create -o compression=$c zr/$c && fill /zr/$c; done
	zfs create -o recordsize=1M zr/large && fill /zr/large
	zfs create -o recordsize=4k zr/little && fill /zr/little
	zfs snapshot -r zr@s
	rm /zr/off/noise
	many /zr/many 300
	zpool sync zr
	for d in $(zfs list -Ho name -t filesystem -r zr); do sums $d; done
	zpool export zr
	judge zr
}
