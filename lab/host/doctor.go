package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Check is one line of the doctor: good, or what to do.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
	// Remedy is what to do when OK is false; when it is true, what would make the lab better, if anything.
	Remedy string `json:"remedy,omitempty"`
}

// What the lab needs of a computer.
const (
	needDisk   = 6 << 30    // bytes: an image takes 1 GiB, its build 3, a run's checkpoints and forks the rest
	needMemory = 2500 << 20 // bytes: a guest of 1 GiB, the page cache of its disks and a compiler
	// QEMU 7.2 is the first whose checkpoints, taken with x-ignore-shared, are known to fork.
	needQEMUMajor, needQEMUMinor = 7, 2
)

// Doctor examines this computer. It changes nothing. More are packages that are needed beside those of the lab.
func Doctor(ctx context.Context, d Dirs, more ...Package) []Check {
	return this().doctor(ctx, d, more...)
}

func (c *computer) doctor(ctx context.Context, d Dirs, more ...Package) []Check {
	checks := []Check{c.checkAccel()}
	for _, p := range append(c.needed(), more...) {
		checks = append(checks, c.checkPackage(p))
	}
	checks = append(checks, c.checkQEMU(ctx), checkDisk(d.Cache), c.checkMemory(), c.checkPtrace(), c.checkEDAC())
	if c.uid != 0 {
		checks = append(checks, c.checkNamespaces(), c.checkSubIDs("subuid"), c.checkSubIDs("subgid"))
	}
	return checks
}

func (c *computer) checkAccel() Check {
	k := Check{Name: "accelerator", OK: true, Detail: "KVM: /dev/kvm opens for reading and writing"}
	err := c.openKVM()
	switch {
	case err == nil:
	case errors.Is(err, os.ErrNotExist):
		k.Detail = "TCG: there is no /dev/kvm, so guests run emulated, about ten times slower"
		k.Remedy = "for KVM: on hardware, enable virtualization in the firmware and load kvm_intel or kvm_amd; " +
			"in a virtual machine, ask for nested virtualization"
	case errors.Is(err, os.ErrPermission):
		k.Detail = "TCG: /dev/kvm is closed to you, so guests run emulated, about ten times slower"
		k.Remedy = "for KVM: sudo usermod -aG kvm " + c.user + ", then log in again"
	default:
		k.Detail = fmt.Sprintf("TCG, about ten times slower: %v", err)
		k.Remedy = "for KVM: on hardware, enable virtualization in the firmware; in a virtual machine, ask for nested virtualization"
	}
	return k
}

func (c *computer) checkPackage(p Package) Check {
	k := Check{Name: "package " + p.Name, OK: c.has(p), Detail: p.Why}
	if !k.OK {
		k.Detail = fmt.Sprintf("%s is missing, which %s", p.Needs, p.Why)
		k.Remedy = "sudo apt-get install --no-install-recommends " + p.Name
	}
	return k
}

var qemuVersion = regexp.MustCompile(`version (\d+)\.(\d+)\S*`)

func (c *computer) checkQEMU(ctx context.Context) Check {
	k := Check{Name: "QEMU version", Remedy: fmt.Sprintf("the lab needs QEMU %d.%d or newer, which Debian 12 has",
		needQEMUMajor, needQEMUMinor)}
	path, err := c.program("qemu-system-x86_64")
	if err != nil {
		k.Detail = "QEMU is not installed"
		return k
	}
	out, err := c.output(ctx, path, "--version")
	m := qemuVersion.FindSubmatch(out)
	if err != nil || m == nil {
		k.Detail = fmt.Sprintf("%s --version does not tell: %v", path, err)
		return k
	}
	k.Detail = string(bytes.TrimPrefix(m[0], []byte("version ")))
	major, _ := strconv.Atoi(string(m[1]))
	minor, _ := strconv.Atoi(string(m[2]))
	k.OK = major > needQEMUMajor || major == needQEMUMajor && minor >= needQEMUMinor
	if k.OK {
		k.Remedy = ""
	}
	return k
}

func checkDisk(dir string) Check {
	k := Check{Name: "disk"}
	free, err := Free(dir)
	if err != nil {
		k.Detail, k.Remedy = err.Error(), "make that directory accessible"
		return k
	}
	k.OK = free >= needDisk
	k.Detail = fmt.Sprintf("%s free in %s", gib(free), dir)
	if !k.OK {
		k.Remedy = fmt.Sprintf("free space until there are %s, or set XDG_CACHE_HOME to a larger disk; "+
			"vdevil gc and vdevil image rm VERSION free the lab's own", gib(needDisk))
	}
	return k
}

func (c *computer) checkMemory() Check {
	k := Check{Name: "memory"}
	available, err := c.memAvailable()
	if err != nil {
		k.Detail, k.Remedy = err.Error(), "mount /proc"
		return k
	}
	k.OK = available >= needMemory
	k.Detail = gib(available) + " available"
	if !k.OK {
		k.Remedy = fmt.Sprintf("end other programs until %s are available: a guest has 1 GiB", gib(needMemory))
	}
	return k
}

// memAvailable is in bytes, from /proc/meminfo, see proc(5).
func (c *computer) memAvailable() (int64, error) {
	f, err := os.Open(c.root + "/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("available memory: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int64
		if n, _ := fmt.Sscanf(s.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, errors.New("available memory: /proc/meminfo does not tell")
}

// checkPtrace looks at Yama's ptrace_scope, see Documentation/admin-guide/LSM/Yama.rst: the lab writes the memory of its
// own QEMU children, which scope 1 allows to a parent.
func (c *computer) checkPtrace() Check {
	k := Check{Name: "ptrace scope", OK: true}
	b, err := os.ReadFile(c.root + "/proc/sys/kernel/yama/ptrace_scope")
	scope := strings.TrimSpace(string(b))
	switch {
	case err != nil:
		k.Detail = "not restricted by Yama"
	case scope == "0" || scope == "1":
		k.Detail = scope + ": the lab may change the memory of its own guests"
	case scope == "2" && c.uid == 0:
		k.Detail = "2: only root may change the memory of guests, and you are root"
	default:
		k.OK = false
		k.Detail = scope + ": the lab may not change the memory of its guests"
		k.Remedy = "sudo sysctl kernel.yama.ptrace_scope=1"
		if scope == "3" {
			k.Remedy = "scope 3 holds until the next boot: set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and reboot"
		}
	}
	return k
}

// checkEDAC reads what the memory controllers of the host counted, see Documentation/driver-api/edac.rst. A lab that
// blames memory errors must know of its own.
func (c *computer) checkEDAC() Check {
	k := Check{Name: "host memory errors", OK: true}
	files, _ := filepath.Glob(c.root + "/sys/devices/system/edac/mc/mc*/[cu]e_count")
	if len(files) == 0 {
		k.Detail = "this computer does not count memory errors (no EDAC: no ECC memory, or a virtual machine)"
		return k
	}
	var found []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		if n := strings.TrimSpace(string(b)); err == nil && n != "0" {
			found = append(found, fmt.Sprintf("%s/%s is %s", filepath.Base(filepath.Dir(file)), filepath.Base(file), n))
		}
	}
	if len(found) == 0 {
		k.Detail = fmt.Sprintf("none counted (%d EDAC counters)", len(files))
		return k
	}
	k.OK = false
	k.Detail = strings.Join(found, ", ")
	k.Remedy = "test or replace the memory: a panic found here may be this computer's own"
	return k
}

// MemoryErrors are what the memory controllers of this computer have counted; nil where they do not count.
func MemoryErrors() (corrected, uncorrected *int64) {
	sum := func(name string) *int64 {
		files, _ := filepath.Glob("/sys/devices/system/edac/mc/mc*/" + name)
		var total *int64
		for _, file := range files {
			b, err := os.ReadFile(file)
			n, numeric := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
			if err != nil || numeric != nil {
				continue
			}
			if total == nil {
				total = new(int64)
			}
			*total += n
		}
		return total
	}
	return sum("ce_count"), sum("ue_count")
}

// checkNamespaces asks what building an image as an ordinary user needs: user namespaces that he may make. Debian's own
// switch, AppArmor's (Ubuntu 24.04) and the kernel's limit can each forbid them.
func (c *computer) checkNamespaces() Check {
	k := Check{Name: "user namespaces", OK: true, Detail: "allowed"}
	for _, s := range []struct{ file, bad string }{
		{"kernel/unprivileged_userns_clone", "0"},
		{"user/max_user_namespaces", "0"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1"},
	} {
		b, err := os.ReadFile(c.root + "/proc/sys/" + s.file)
		if err != nil || strings.TrimSpace(string(b)) != s.bad {
			continue
		}
		name := strings.ReplaceAll(s.file, "/", ".")
		want := map[string]string{"0": "1", "1": "0"}[s.bad]
		if s.file == "user/max_user_namespaces" {
			want = "10000"
		}
		k.OK, k.Detail = false, fmt.Sprintf("forbidden: %s is %s", name, s.bad)
		k.Remedy = fmt.Sprintf("sudo sysctl %s=%s, or build images as root", name, want)
		return k
	}
	return k
}

// subIDs are as many as mmdebstrap needs, see subuid(5).
const subIDs = 65536

func (c *computer) checkSubIDs(file string) Check {
	k := Check{Name: "/etc/" + file, Remedy: fmt.Sprintf("sudo usermod --add-%ss 100000-165535 %s (or another free range)",
		file, c.user)}
	b, err := os.ReadFile(c.root + "/etc/" + file)
	if err != nil {
		k.Detail = err.Error()
		return k
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) != 3 || f[0] != c.user {
			continue
		}
		if n, err := strconv.Atoi(f[2]); err == nil && n >= subIDs {
			return Check{Name: k.Name, OK: true, Detail: f[2] + " from " + f[1] + " on"}
		}
	}
	k.Detail = fmt.Sprintf("no range of %d for %s", subIDs, c.user)
	return k
}

func gib(n int64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) }
