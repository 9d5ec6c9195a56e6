package libvirt

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The URIs that virsh knows a computer's own libvirtd by.
const (
	System  = "qemu:///system"
	Session = "qemu:///session"
)

// URI says which libvirtd to talk to, in the words of https://libvirt.org/uri.html.
type URI struct {
	url       url.URL
	transport string // "unix" on this computer
}

// transports are the ways to a libvirtd that URIs may name.
var transports = []string{"unix", "ssh", "libssh", "libssh2", "tls", "tcp"}

// ParseURI reads a URI of libvirt's QEMU driver, on this computer or another one.
func ParseURI(text string) (URI, error) {
	u, err := url.Parse(text)
	if err != nil {
		return URI{}, fmt.Errorf("libvirt URI: %w", err)
	}
	scheme, transport, found := strings.Cut(u.Scheme, "+")
	if !found {
		transport = "unix"
		if u.Host != "" {
			transport = "tls" // as libvirt has it
		}
	}
	switch {
	case scheme != "qemu":
		return URI{}, fmt.Errorf("libvirt URI %q: the lab runs guests in QEMU alone; write %s or %s", text, System, Session)
	case !slices.Contains(transports, transport):
		return URI{}, fmt.Errorf("libvirt URI %q: no way %q is known; write one of %s", text, transport, strings.Join(transports, ", "))
	case u.Path != "/system" && u.Path != "/session":
		return URI{}, fmt.Errorf("libvirt URI %q: the path must be /system or /session", text)
	case transport != "unix" && u.Host == "":
		return URI{}, fmt.Errorf("libvirt URI %q names no computer", text)
	}
	return URI{url: *u, transport: transport}, nil
}

func (u URI) String() string { return u.url.String() }

// Remote says whether the libvirtd is another computer's.
func (u URI) Remote() bool { return u.transport != "unix" || u.url.Host != "" }

// Session says whether the libvirtd is the user's own and not the system's.
func (u URI) Session() bool { return u.url.Path == "/session" }

// RemoteError says why machines of another computer are no use to the lab.
type RemoteError struct{ URI URI }

func (e *RemoteError) Error() string {
	host := e.URI.url.Hostname()
	return fmt.Sprintf("%s is another computer: the lab reads and writes the memory of the QEMU process, the disks and the "+
		"console of its guests, and for that it has to run where they run. Run vdevil there: ssh %s vdevil run --driver libvirt", e.URI, host)
}

// sockets are where a libvirtd of this computer may listen: the one of old, or the one that serves QEMU alone.
func (u URI) sockets() []string {
	if s := u.url.Query().Get("socket"); s != "" {
		return []string{s}
	}
	dir := "/run/libvirt"
	if u.Session() {
		dir = sessionDir()
	}
	return []string{filepath.Join(dir, "libvirt-sock"), filepath.Join(dir, "virtqemud-sock")}
}

// sessionDir is virGetUserRuntimeDirectory of libvirt: $XDG_RUNTIME_DIR or, for users without one, their cache.
func sessionDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "libvirt")
	}
	cache, _ := os.UserCacheDir() // without a home there is no session, and nothing is found
	return filepath.Join(cache, "libvirt")
}
