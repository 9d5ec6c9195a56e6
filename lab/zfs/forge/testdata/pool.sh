# A pool that every forgery finds something in: on the disk v0, with snapshots whose deadlists are not empty, blocks that are
# still to be freed, deduplicated and cloned ones, and log space maps that the export does not flush.
parameter() { if test -e /sys/module/zfs/parameters/$1; then echo "$2" >/sys/module/zfs/parameters/$1; fi; }
parameter zfs_keep_log_spacemaps_at_export 1
parameter zfs_bclone_enabled 1
parameter zfs_dmu_offset_next_sync 1
udevadm settle
zpool create -o ashift=12 -O mountpoint=/tank -O compression=off -O atime=off tank /dev/disk/by-id/virtio-v0
zfs create tank/fs
zfs create tank/gone
zfs create -o dedup=on -o recordsize=16k tank/dedup
zfs create tank/clones
for i in $(seq 1 40); do head -c 200000 /dev/urandom >/tank/fs/$i; head -c 50000 /dev/urandom >/tank/gone/$i; done
head -c 400000 /dev/urandom >/tank/dedup/a
cp /tank/dedup/a /tank/dedup/b && cp /tank/dedup/a /tank/dedup/c
head -c 2000000 /dev/urandom >/tank/clones/a
zpool sync tank
python3 - <<'END'
import os
size = os.stat("/tank/clones/a").st_size
for name in "bc":
    a, b = os.open("/tank/clones/a", os.O_RDONLY), os.open("/tank/clones/" + name, os.O_CREAT | os.O_WRONLY)
    done = 0
    while done < size:
        try:
            done += os.copy_file_range(a, b, size - done)
        except OSError:
            break
END
zpool sync tank
zfs snapshot tank/fs@a
zfs snapshot tank/gone@x
for i in $(seq 1 2 40); do head -c 200000 /dev/urandom >/tank/fs/$i; done
for i in $(seq 2 4 40); do echo more >>/tank/fs/$i; done
rm /tank/gone/*
zpool sync tank
zfs snapshot tank/fs@b
for i in $(seq 1 4 40); do head -c 200000 /dev/urandom >/tank/fs/$i; done
for i in $(seq 3 4 40); do echo more >>/tank/fs/$i; done
zpool sync tank
parameter zfs_free_bpobj_enabled 0
zfs destroy tank/gone@x
zpool sync tank
for f in fs gone dedup clones; do (cd /tank/$f && ls); done | wc -l
zpool list -p tank
zfs list -Ho name,used,refer -r -t all tank
zpool export tank
