# DATASET FILES MILLISECONDS SEED KEEP
dataset=$1 keep=$5
mountpoint "$dataset"; folder=$REPLY
now
end=$((REPLY + $3 * 1000))
churn "$folder" "$2" "$end" "$4" &
churning=$!
trap 'kill "$churning" 2>/dev/null || true' EXIT # when a snapshot fails

made=0 destroyed=0
while ((REPLY < end)); do
	# the oldest goes while the next one comes: both wait for a transaction group, and they may well share one
	oldest=''
	if ((made - destroyed >= keep)); then
		zfs destroy "$dataset@storm-$$-$destroyed" &
		oldest=$!
	fi
	zfs snapshot "$dataset@storm-$$-$made"
	echo "snapshots=$((++made))"
	if [ -n "$oldest" ]; then
		wait "$oldest"
		echo "destroyed=$((++destroyed))"
	fi
	now
done
wait "$churning"
