# A whole disk, on which zpool makes partitions.
zpool create -O mountpoint=/whole whole /dev/disk/by-id/virtio-v1
fill /whole
zpool sync whole
sums whole
zpool export whole
dd if=/dev/disk/by-id/virtio-v1 of=$P/whole bs=1M conv=sparse status=none
