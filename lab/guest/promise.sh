# DATASET MILLISECONDS
mountpoint "$1"; folder=$REPLY
now
end=$((REPLY + $2 * 1000)) n=0
while ((REPLY < end)); do
	name=$folder/promise-$n
	head -c $((4096 + RANDOM % 61440)) /dev/urandom >/run/promise
	sum=$(sha256sum </run/promise)
	dd if=/run/promise of="$name" bs=64k conv=fsync status=none
	sync "$folder" # the entry in the directory
	echo "${sum%% *} $name"
	n=$((n + 1))
	now
done
