# LABEL KEEP TIMES
label=$1 keep=$2 times=$3
shims=$(mktemp -d)
trap 'rm -rf "$shims"' EXIT

# zfs-auto-snapshot names a snapshot by the minute. Its date command is this one, which adds the minutes that the runs
# before stand for; the guest's clock itself is left alone.
printf '#!/bin/sh\nexec /bin/date -d "+$VDEVIL_MINUTES min" "$@"\n' >"$shims/date"
# --quiet sends its summary to the system log only. Show it here too.
printf '#!/bin/sh\necho "$@"\nexec /usr/bin/logger "$@"\n' >"$shims/logger"
chmod +x "$shims/date" "$shims/logger"

snapshots=0 destroyed=0
for ((run = 0; run < times; run++)); do
	summary=$(PATH=$shims:$PATH VDEVIL_MINUTES=$run \
		zfs-auto-snapshot --quiet --syslog --label="$label" --keep="$keep" // 2>&1)
	# "... @name, 1 created, 30 destroyed, 0 warnings." It exits with 0 whatever happened.
	if ! [[ $summary =~ \ ([0-9]+)\ created,\ ([0-9]+)\ destroyed,\ 0\ warnings ]]; then
		echo "zfs-auto-snapshot: $summary" >&2
		exit 1
	fi
	echo "snapshots=$((snapshots += BASH_REMATCH[1]))"
	echo "destroyed=$((destroyed += BASH_REMATCH[2]))"
	echo "runs=$((run + 1))"
done
