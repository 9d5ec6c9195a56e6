package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	rpc "github.com/digitalocean/go-libvirt"
	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// Collect ends the domain of a machine whose lab is gone, if it has one; dir is the machine's directory, which stays. It
// gives the domain's name when it destroyed it. A domain of that name that is not the lab's is let be. Where libvirtd does
// not answer, or knows nothing of a QEMU that it had begun to start when it was killed together with the lab, the process is
// killed, for libvirtd to find out when it is back.
func Collect(dir string) (destroyed string, err error) {
	text, err := os.ReadFile(filepath.Join(dir, uriFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	uri, err := ParseURI(strings.TrimSpace(string(text)))
	if err != nil {
		return "", err
	}
	name := vm.NamePrefix + filepath.Base(dir)
	found, err := destroyOwn(uri, name, filepath.Base(dir))
	if errors.Is(err, ErrUnreachable) { // what it cannot do can be done without it
		found, err = killRecorded(dir)
	}
	if err == nil && !found {
		found, err = killUnrecorded(dir, name)
	}
	if err != nil {
		return "", fmt.Errorf("domain %s: %w", name, err)
	}
	if !found {
		return "", nil
	}
	return name, nil
}

// destroyOwn destroys a domain if its metadata say that it is a certain machine of a process that is gone.
func destroyOwn(uri URI, name, id string) (found bool, err error) {
	lib, err := dial(uri)
	if err != nil {
		return false, err
	}
	defer lib.Disconnect() //nolint:errcheck // everything is said
	domain, err := lib.DomainLookupByName(name)
	if rpc.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	dead, err := ownerless(lib, domain, id)
	if err != nil || !dead {
		return false, err
	}
	if err := lib.DomainDestroy(domain); err != nil && !rpc.IsNotFound(err) {
		return false, err
	}
	return true, nil
}

// ownerless says whether a domain is a machine of a lab of this computer that is gone. A domain that ended since it was
// looked up, as it does by itself when its guest was just shutting down, is nobody's.
func ownerless(lib *rpc.Libvirt, d rpc.Domain, id string) (bool, error) {
	text, err := lib.DomainGetMetadata(d, int32(rpc.DomainMetadataElement), rpc.OptString{namespace}, rpc.DomainAffectLive)
	var refused rpc.Error
	if errors.As(err, &refused) && refused.Code == uint32(rpc.ErrNoDomainMetadata) || rpc.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var o owner
	if err := xml.Unmarshal([]byte(text), &o); err != nil {
		return false, fmt.Errorf("metadata of domain %s: %w", d.Name, err)
	}
	here, err := os.Hostname()
	if err != nil || o.Host != here || o.Machine != id {
		return false, err
	}
	p, err := host.ParseProcess(o.Process)
	return err == nil && !p.Alive(), err
}

// killRecorded kills the QEMU that a machine's directory names.
func killRecorded(dir string) (found bool, err error) {
	text, err := os.ReadFile(filepath.Join(dir, processFile))
	if errors.Is(err, fs.ErrNotExist) { // it was never started, or its lab was killed in that moment
		return false, nil
	}
	if err != nil {
		return false, err
	}
	p, err := host.ParseProcess(strings.TrimSpace(string(text)))
	if err != nil || !p.Alive() {
		return false, err
	}
	return true, syscall.Kill(p.PID, syscall.SIGKILL)
}

// killUnrecorded kills a QEMU whose command line names a machine and files of its directory. It need not have been recorded,
// nor be known to a libvirtd that was killed when it had just started it.
func killUnrecorded(dir, name string) (found bool, err error) {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return false, err
	}
	for _, path := range lines {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil || !isQEMU(path, dir, name) {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil { // it has ended
			continue
		}
		var killed error
		if isQEMU(path, dir, name) { // yet, so that the descriptor is its own
			killed = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			found = true
		}
		if err := errors.Join(killed, unix.Close(fd)); err != nil && !errors.Is(err, unix.ESRCH) {
			return found, fmt.Errorf("kill QEMU %d: %w", pid, err)
		}
	}
	return found, nil
}

// isQEMU says whether a command line is that of the QEMU of a machine.
func isQEMU(path, dir, name string) bool {
	line, err := os.ReadFile(path)
	program, args, _ := strings.Cut(string(line), "\x00")
	return err == nil && strings.HasPrefix(filepath.Base(program), "qemu-system-") &&
		strings.Contains(args, "guest="+name+",") && strings.Contains(args, dir+"/")
}
