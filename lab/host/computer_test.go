package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fake is a computer whose root is a directory, with the given files; programs are those below /usr/bin and /usr/sbin.
func fake(t *testing.T, uid int, files map[string]string) *computer {
	t.Helper()
	c := &computer{
		root: t.TempDir(), uid: uid, user: "ann", path: []string{"/usr/bin", "/usr/sbin"},
		output: func(_ context.Context, argv ...string) ([]byte, error) {
			if strings.HasSuffix(argv[0], "qemu-system-x86_64") {
				return []byte(files["qemu says"]), nil
			}
			return nil, errors.New("refused")
		},
		run: func(context.Context, io.Writer, ...string) error { return errors.New("not expected") },
	}
	for name, text := range files {
		if filepath.IsAbs(name) {
			c.write(t, name, text)
		}
	}
	return c
}

func (c *computer) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.root+name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.root+name, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// complete is a computer that lacks nothing.
func complete() map[string]string {
	return map[string]string{
		"/usr/bin/qemu-system-x86_64": "", "/usr/bin/qemu-img": "", "/usr/bin/mmdebstrap": "", "/usr/sbin/mkfs.ext4": "",
		"/usr/bin/newuidmap": "", "/usr/bin/apt-get": "",
		"/usr/share/keyrings/debian-archive-keyring.gpg": "",
		"qemu says":     "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c)",
		"/dev/kvm":      "",
		"/proc/meminfo": "MemTotal:       24000000 kB\nMemFree:          100000 kB\nMemAvailable:   16777216 kB\n",
		"/etc/subuid":   "bob:100000:65536\nann:165536:65536\n",
		"/etc/subgid":   "ann:165536:65536\n",
		"/sys/devices/system/edac/mc/mc0/ce_count": "0\n",
		"/sys/devices/system/edac/mc/mc0/ue_count": "0\n",
		"/proc/sys/kernel/yama/ptrace_scope":       "1\n",
	}
}

func TestDoctor(t *testing.T) {
	tests := []struct {
		name  string
		uid   int
		files map[string]string // put over a complete computer; "-" removes
		check string            // what is looked at
		ok    bool
		says  []string // of detail and remedy
	}{
		{"kvm", 0, nil, "accelerator", true, []string{"KVM"}},
		{"no kvm", 0, map[string]string{"/dev/kvm": "-"}, "accelerator", true, []string{"TCG", "no /dev/kvm", "nested"}},
		{"qemu", 0, nil, "QEMU version", true, []string{"7.2.22"}},
		{"newer qemu", 0, map[string]string{"qemu says": "QEMU emulator version 10.0.2 (Debian)"}, "QEMU version", true, []string{"10.0.2"}},
		{"old qemu", 0, map[string]string{"qemu says": "QEMU emulator version 6.2.0"}, "QEMU version", false, []string{"6.2.0", "7.2"}},
		{"strange qemu", 0, map[string]string{"qemu says": "nonsense"}, "QEMU version", false, []string{"does not tell"}},
		{"no qemu", 0, map[string]string{"/usr/bin/qemu-system-x86_64": "-"}, "QEMU version", false, []string{"not installed"}},
		{"no qemu package", 0, map[string]string{"/usr/bin/qemu-system-x86_64": "-"}, "package qemu-system-x86", false,
			[]string{"runs the guests", "apt-get install --no-install-recommends qemu-system-x86"}},
		{"no keyring", 0, map[string]string{"/usr/share/keyrings/debian-archive-keyring.gpg": "-"}, "package debian-archive-keyring", false,
			[]string{"proves"}},
		{"memory", 0, nil, "memory", true, []string{"16.0 GiB"}},
		{"little memory", 0, map[string]string{"/proc/meminfo": "MemAvailable: 1048576 kB\n"}, "memory", false, []string{"1.0 GiB", "2.4 GiB"}},
		{"no yama", 0, map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "-"}, "ptrace scope", true, []string{"not restricted"}},
		{"ptrace 1", 1000, nil, "ptrace scope", true, nil},
		{"ptrace 2", 1000, map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "2\n"}, "ptrace scope", false, []string{"sysctl kernel.yama.ptrace_scope=1"}},
		{"ptrace 2, root", 0, map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "2\n"}, "ptrace scope", true, nil},
		{"ptrace 3, root", 0, map[string]string{"/proc/sys/kernel/yama/ptrace_scope": "3\n"}, "ptrace scope", false, []string{"reboot"}},
		{"edac", 0, nil, "host memory errors", true, []string{"2 EDAC counters"}},
		{"no edac", 0, map[string]string{"/sys/devices/system/edac/mc/mc0/ce_count": "-", "/sys/devices/system/edac/mc/mc0/ue_count": "-"},
			"host memory errors", true, []string{"does not count"}},
		{"memory errors", 0, map[string]string{"/sys/devices/system/edac/mc/mc0/ce_count": "12\n"}, "host memory errors", false,
			[]string{"mc0/ce_count is 12", "this computer's own"}},
		{"namespaces", 1000, nil, "user namespaces", true, nil},
		{"debian's switch", 1000, map[string]string{"/proc/sys/kernel/unprivileged_userns_clone": "0\n"}, "user namespaces", false,
			[]string{"sysctl kernel.unprivileged_userns_clone=1"}},
		{"ubuntu's switch", 1000, map[string]string{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "1\n"}, "user namespaces", false,
			[]string{"sysctl kernel.apparmor_restrict_unprivileged_userns=0"}},
		{"subuid", 1000, nil, "/etc/subuid", true, []string{"65536 from 165536"}},
		{"short subgid", 1000, map[string]string{"/etc/subgid": "ann:1000:10\n"}, "/etc/subgid", false, []string{"usermod --add-subgids"}},
		{"no subuid", 1000, map[string]string{"/etc/subuid": "-"}, "/etc/subuid", false, []string{"usermod --add-subuids"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := complete()
			for name, text := range tt.files {
				files[name] = text
				if text == "-" {
					delete(files, name)
				}
			}
			checks := fake(t, tt.uid, files).doctor(t.Context(), Dirs{Cache: t.TempDir()})
			i := slices.IndexFunc(checks, func(k Check) bool { return k.Name == tt.check })
			if i < 0 {
				t.Fatalf("no check %q in %+v", tt.check, checks)
			}
			k := checks[i]
			if k.OK != tt.ok {
				t.Errorf("ok is %v: %+v", k.OK, k)
			}
			if !k.OK && k.Remedy == "" {
				t.Errorf("no remedy: %+v", k)
			}
			for _, want := range tt.says {
				if !strings.Contains(k.Detail+"\n"+k.Remedy, want) {
					t.Errorf("%+v does not say %q", k, want)
				}
			}
		})
	}
}

func TestDoctorHere(t *testing.T) {
	for _, k := range Doctor(t.Context(), Dirs{Cache: t.TempDir()}) {
		if k.Name == "" || k.Detail == "" || !k.OK && k.Remedy == "" {
			t.Errorf("incomplete: %+v", k)
		}
	}
	for _, k := range Doctor(t.Context(), Dirs{Cache: "/nowhere"}) {
		if k.Name == "disk" && (k.OK || k.Remedy == "") {
			t.Errorf("a cache that is not there: %+v", k)
		}
	}
}

func TestMissing(t *testing.T) {
	all := fake(t, 1000, nil).missing()
	if len(all) != len(packages) {
		t.Errorf("an ordinary user of an empty computer lacks %d packages, want %d", len(all), len(packages))
	}
	if ps := fake(t, 0, nil).missing(); slices.ContainsFunc(ps, func(p Package) bool { return p.Name == "uidmap" }) {
		t.Error("root needs no uidmap")
	}
	if ps := fake(t, 1000, complete()).missing(); len(ps) != 0 {
		t.Errorf("a complete computer lacks %v", ps)
	}
}

func TestInstall(t *testing.T) {
	ctx := t.Context()
	// newComputer lacks qemu-img, which apt-get brings. calls are the commands run.
	newComputer := func(uid int, sudo bool) (c *computer, calls *[]string) {
		files := complete()
		delete(files, "/usr/bin/qemu-img")
		c, calls = fake(t, uid, files), new([]string)
		if sudo {
			c.write(t, "/usr/bin/sudo", "")
			c.output = func(context.Context, ...string) ([]byte, error) { return nil, nil }
		}
		c.run = func(_ context.Context, _ io.Writer, argv ...string) error {
			*calls = append(*calls, strings.Join(argv, " "))
			if slices.Contains(argv, "update") {
				return errors.New("one source did not answer")
			}
			c.write(t, "/usr/bin/qemu-img", "")
			return nil
		}
		return c, calls
	}
	tests := []struct {
		name    string
		uid     int
		sudo    bool
		yes     bool
		ask     io.Reader
		install string // prefix of the install command, "" if none may run
		says    string // of the error
	}{
		{"root", 0, false, true, nil, "apt-get install -y --no-install-recommends", ""},
		{"root asks", 0, false, false, strings.NewReader("\n"), "apt-get install", ""},
		{"root hears no", 0, false, false, strings.NewReader("n\n"), "", "You said no"},
		{"root hears nothing", 0, false, false, strings.NewReader(""), "", "You said no"},
		{"root has nobody to ask", 0, false, false, nil, "", "--yes"},
		{"sudo", 1000, true, true, nil, "sudo -n DEBIAN_FRONTEND=noninteractive apt-get install", ""},
		{"no sudo", 1000, false, true, nil, "", "not root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, calls := newComputer(tt.uid, tt.sudo)
			var out bytes.Buffer
			err := c.install(ctx, c.missing(), InstallOptions{Yes: tt.yes, Ask: tt.ask, Out: &out, Lock: t.TempDir()})
			if tt.install != "" {
				if err != nil || len(*calls) != 2 || !strings.HasPrefix((*calls)[1], tt.install) || !strings.HasSuffix((*calls)[1], " qemu-utils") {
					t.Fatalf("error %v, ran %q", err, *calls)
				}
				for _, want := range []string{"qemu-utils", "overlays"} { // what and why, asked or not
					if strings.Count(out.String(), want) != 1 {
						t.Errorf("%q does not say %q once", out.String(), want)
					}
				}
				return
			}
			var missing *MissingError
			if len(*calls) > 0 || !errors.As(err, &missing) {
				t.Fatalf("error %v, ran %q", err, *calls)
			}
			for _, want := range []string{tt.says, "qemu-utils", "overlays", "sudo apt-get update && sudo apt-get install --no-install-recommends qemu-utils"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestInstallElsewhere(t *testing.T) {
	files := complete()
	delete(files, "/usr/bin/apt-get")
	delete(files, "/usr/sbin/mkfs.ext4")
	c := fake(t, 0, files)
	err := c.install(t.Context(), c.missing(), InstallOptions{Yes: true, Lock: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "no apt-get") || !strings.Contains(err.Error(), "mkfs.ext4") {
		t.Errorf("without apt-get: %v", err)
	}
}

// Two callers at once install once: the second waits, and then finds what it wanted.
func TestInstallTogether(t *testing.T) {
	files := complete()
	delete(files, "/usr/bin/qemu-img")
	c := fake(t, 0, files)
	missing := c.missing()
	installs := make(chan string, 4)
	c.run = func(_ context.Context, _ io.Writer, argv ...string) error {
		if slices.Contains(argv, "install") {
			c.write(t, "/usr/bin/qemu-img", "")
			installs <- fmt.Sprint(argv)
		}
		return nil
	}
	dir := t.TempDir()
	errs := make(chan error)
	for range 3 {
		go func() { errs <- c.install(t.Context(), missing, InstallOptions{Yes: true, Out: io.Discard, Lock: dir}) }()
	}
	for range 3 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if len(installs) != 1 {
		t.Errorf("installed %d times", len(installs))
	}
}
