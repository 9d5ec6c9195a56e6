# SECONDS JOB...
# The tables and directories that packages have put into /etc, as Debian's cron reads them, and the jobs. busybox's crond has no
# user in its tables.
seconds=$1
shift
tables=$(mktemp -d)
{
	cat /etc/cron.d/* | sed -n 's/^\(\([^ \t#]\+[ \t]\+\)\{5\}\)root[ \t]\+/\1/p'
	echo '17 * * * * cd / && busybox run-parts /etc/cron.hourly'
	echo '25 6 * * * cd / && busybox run-parts /etc/cron.daily'
	echo '47 6 * * 7 cd / && busybox run-parts /etc/cron.weekly'
	echo '52 6 1 * * cd / && busybox run-parts /etc/cron.monthly'
	printf '%s\n' "$@"
} >"$tables/root"
# What wakes the kernel twice a second for no one here: where time is counted, an idle guest costs what its timers do.
sysctl -q vm.stat_interval=3600 vm.compaction_proactiveness=0 vm.dirty_writeback_centisecs=0 || true

env PATH=/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin "$(command -v busybox)" crond -f -L "$tables/log" -c "$tables" &
crond=$!
trap 'kill "$crond" 2>/dev/null; rm -rf "$tables"' EXIT

# An hour is how precisely it is known when a guest fell over. Each word to the lab stops a guest that counts its time, and QEMU then
# translates all of its code anew, for almost half a second.
for ((passed = 0; passed < seconds;)); do
	sleep $((seconds - passed < 3600 ? seconds - passed : 3600))
	passed=$((passed + 3600 < seconds ? passed + 3600 : seconds))
	kill -0 "$crond" 2>/dev/null || { echo "cron has ended: $(tail -n 3 "$tables/log")" >&2; exit 1; }
	printf 'seconds=%d\nruns=%d\n' "$passed" "$(grep -c ' cmd ' "$tables/log" || true)"
done
