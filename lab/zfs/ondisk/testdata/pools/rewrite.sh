# Blocks that were moved without being changed (zfs rewrite), with a snapshot from before; gang headers larger than 512 bytes.
vdevs 256M w0
zpool create -o ashift=12 -O mountpoint=/rewrite -O compression=off rewrite $P/w0
fill /rewrite
zfs snapshot rewrite@s
seq 8 30000 >/rewrite/changed
zpool sync rewrite
zfs set compression=zstd checksum=blake3 rewrite
zfs rewrite -P -r /rewrite/dir /rewrite/text /rewrite/changed
zfs rewrite /rewrite/noise
zpool sync rewrite
parameter metaslab_force_ganging_pct 100
parameter metaslab_force_ganging 5000
zfs create -o compression=off -o recordsize=1M rewrite/gang && fill /rewrite/gang
parameter metaslab_force_ganging 16777217
sums rewrite
sums rewrite/gang
zpool get -Hp -o property,value all rewrite >$P/properties
zpool export rewrite
judge rewrite
