package libvirt

import (
	"slices"
	"strings"
	"testing"
)

func TestParseURI(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/7")
	for _, tt := range []struct {
		text            string
		remote, session bool
		sockets         []string
	}{
		{"qemu:///system", false, false, []string{"/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock"}},
		{"qemu:///session", false, true, []string{"/run/user/7/libvirt/libvirt-sock", "/run/user/7/libvirt/virtqemud-sock"}},
		{"qemu+unix:///system?socket=/x/sock", false, false, []string{"/x/sock"}},
		{"qemu+ssh://ann@far.example/system", true, false, nil},
		{"qemu+tls://far.example:16514/system", true, false, nil},
		{"qemu://far.example/session", true, true, nil},
	} {
		u, err := ParseURI(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if u.Remote() != tt.remote || u.Session() != tt.session || u.String() != tt.text {
			t.Errorf("%s: %s is remote: %t, session: %t", tt.text, u, u.Remote(), u.Session())
		}
		if !tt.remote && !slices.Equal(u.sockets(), tt.sockets) {
			t.Errorf("%s: sockets %q, want %q", tt.text, u.sockets(), tt.sockets)
		}
	}
	for text, want := range map[string]string{
		"xen:///system":            "QEMU alone",
		"":                         "QEMU alone",
		"qemu+pigeon://far/system": "pigeon",
		"qemu:///":                 "/system or /session",
		"qemu+ssh:///system":       "names no computer",
		"qemu://a b/system":        "libvirt URI",
	} {
		if u, err := ParseURI(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want an error with %q", text, u, err, want)
		}
	}
}
