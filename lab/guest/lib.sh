# What several workloads share. bash 5, as a library of functions.

export LC_ALL=C # a decimal point in EPOCHREALTIME, bytes instead of characters

# microseconds since 1970, in REPLY: without a fork, which takes 15 ms under emulation
now() { REPLY=${EPOCHREALTIME/./}; }

# mountpoint DATASET: where it is mounted, in REPLY; made when it does not exist
mountpoint() {
	zfs list "$1" >/dev/null 2>&1 || zfs create -p "$1"
	REPLY=$(zfs list -H -o mountpoint "$1")
}

# churn FOLDER FILES END SEED: overwrite the beginnings of random files until END (microseconds since 1970)
# Only what bash does by itself: dd for every piece would make it 15 times slower.
churn() {
	local folder=$1 files=$2 end=$3 text writes=0
	RANDOM=$4
	# 64 KiB of text, random enough that lz4 finds nothing to compress
	text=$(awk -v seed="$4" 'BEGIN {
		digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-_"
		srand(seed)
		for (i = 0; i < 65536; i++) printf "%s", substr(digits, int(64 * rand()) + 1, 1)
	}')
	now
	while ((REPLY < end)); do
		# 1<> opens without truncating
		printf %s "${text:RANDOM:RANDOM % 32257 + 512}" 1<>"$folder/f$((RANDOM % files))"
		((++writes % 10)) || echo "writes=$writes"
		now
	done
	echo "writes=$writes"
}
