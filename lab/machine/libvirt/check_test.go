package libvirt

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/machine/vm"
)

func TestCheckKVM(t *testing.T) {
	device := filepath.Join(t.TempDir(), "kvm")
	stranger := vm.Owner{UID: os.Getuid() + 64055, GID: os.Getgid() + 64055}
	comrade := vm.Owner{UID: stranger.UID, GID: os.Getgid()}
	for _, tt := range []struct {
		mode   os.FileMode // 0 for no device
		who    vm.Owner
		closed bool
	}{
		{0, stranger, false},
		{0o600, stranger, true},
		{0o600, comrade, true},
		{0o600, vm.Owner{UID: os.Getuid()}, false},
		{0o600, vm.Owner{}, false}, // root
		{0o660, stranger, true},
		{0o660, comrade, false},
		{0o664, stranger, true},
		{0o666, stranger, false},
	} {
		os.Remove(device)
		if tt.mode != 0 {
			if err := os.WriteFile(device, nil, tt.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(device, tt.mode); err != nil { // whatever the umask
				t.Fatal(err)
			}
		}
		k := checkKVM(device, tt.who)
		if !k.OK || tt.closed != strings.Contains(k.Remedy, "chgrp kvm "+device) || tt.closed != strings.Contains(k.Detail, nameOf(tt.who)) {
			t.Errorf("mode %o, user %v: got %+v", tt.mode, tt.who, k)
		}
	}
}

func TestInGroup(t *testing.T) {
	uid, gid := os.Getuid(), uint32(os.Getgid())
	if !inGroup(uid, gid) || inGroup(uid, gid+64055) || inGroup(uid+64055, gid) {
		t.Errorf("user %d, group %d: got %v, in another group %v, another user %v", uid, gid, inGroup(uid, gid), inGroup(uid, gid+64055), inGroup(uid+64055, gid))
	}
}
