package images

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/host"
)

// newChroot runs a shell script in the place of mmdebstrap.
func newChroot(t *testing.T, script string, tell func(Step)) (c *chroot, log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	f, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(); d.Close() })
	return &chroot{
		name: "guest", argv: []string{"sh", "-c", script}, env: os.Environ(), dir: d, first: "base",
		progress: newProgress(imagePhases, tell), log: &logFile{f: f}, grace: time.Second,
	}, log
}

func TestChroot(t *testing.T) {
	var steps []string
	tell := func(s Step) {
		if s.Of != len(imagePhases) || s.Expected <= 0 {
			t.Errorf("step %+v", s)
		}
		steps = append(steps, strings.Join([]string{s.Name, map[bool]string{true: "done"}[s.Done]}, " "))
	}
	c, log := newChroot(t, `printf '5%%\r10%%\rready\n'; echo "@wait"; echo "@step disk"; echo out >/proc/self/fd/3/made; echo "no newline" | tr -d '\n' >&2`, tell)
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(log)
	if want := "guest  | ready\nguest  | @wait\nguest  | @step disk\nguest  | no newline\n"; string(text) != want {
		t.Errorf("log %q, want %q", text, want)
	}
	want := []string{"installing the guest ", "installing the guest done", "making the root disk ", "making the root disk done"}
	if strings.Join(steps, "|") != strings.Join(want, "|") {
		t.Errorf("steps %q, want %q", steps, want)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(log), "made")); err != nil {
		t.Errorf("fd 3: %v", err)
	}
}

func TestChrootFails(t *testing.T) {
	c, _ := newChroot(t, "exit 25", nil)
	var exit *exec.ExitError
	if err := c.run(t.Context()); !errors.As(err, &exit) || exit.ExitCode() != 25 {
		t.Errorf("got %v, want the exit status", err)
	}
}

// A chroot that is cancelled may tidy up, and all its processes are gone when run returns, also one that does not listen.
func TestChrootCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c, log := newChroot(t, `
		sh -c 'trap "" TERM; echo $$; exec sleep 1000' >/proc/self/fd/3/deaf &
		trap 'echo tidied; exit 1' TERM
		while [ ! -s /proc/self/fd/3/deaf ]; do :; done
		echo "@step disk"
		sleep 1000 & wait`, func(s Step) {
		if s.Name == "making the root disk" {
			cancel()
		}
	})
	if err := c.run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if text, _ := os.ReadFile(log); !strings.Contains(string(text), "tidied") {
		t.Errorf("it could not tidy up: %q", text)
	}
	expectGone(t, filepath.Join(filepath.Dir(log), "deaf"))
}

// When the lab is killed, the guard sees its standard input end and ends the group.
func TestGuardWithoutLab(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("setsid", "sh", "-c", guard, "guard", "sh", "-c", "echo $$ >"+dir+"/pid; exec sleep 1000")
	cmd.Stdin = strings.NewReader("")
	if err := cmd.Run(); err == nil {
		t.Error("the guard succeeded")
	}
	expectGone(t, dir+"/pid")
}

// expectGone checks that the process whose PID a file holds ends. A kill takes effect a little after it was sent.
func expectGone(t *testing.T, file string) {
	t.Helper()
	pid, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return // it was ended before it could say anything
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		status, err := os.ReadFile("/proc/" + string(bytes.TrimSpace(pid)) + "/status")
		if err != nil || bytes.Contains(status, []byte("State:\tZ")) {
			return
		}
	}
	t.Errorf("process %s still runs", pid)
}

// The scripts are embedded and reach a shell as arguments: no other tool sees a mistake in them.
func TestScripts(t *testing.T) {
	n := 0
	err := fs.WalkDir(builderFiles, "build", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := builderFiles.ReadFile(path)
		if err != nil || !strings.HasSuffix(path, ".sh") && !bytes.HasPrefix(text, []byte("#!")) {
			return err
		}
		n++
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = bytes.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
		return nil
	})
	if err != nil || n < 5 {
		t.Errorf("checked %d scripts, %v", n, err)
	}
}

// The extra suite is the first source under another name, in both forms that mmdebstrap writes.
func TestSetupSuites(t *testing.T) {
	for name, tt := range map[string]struct{ file, text, made, want string }{
		"one line": {
			"sources.list",
			"deb [signed-by=\"/k.gpg\"] http://m/debian bookworm main contrib\ndeb http://m/debian bookworm-updates main contrib\n",
			"sources.list.d/vdevil.list", "deb [signed-by=\"/k.gpg\"] http://m/debian bookworm-backports main contrib\n",
		},
		"deb822": {
			"sources.list.d/0000mmdebstrap.sources",
			"Types: deb\nURIs: http://m/debian\nSuites: bookworm\nComponents: main\n\nTypes: deb\nURIs: http://m/s\nSuites: bookworm-security\n",
			"sources.list.d/vdevil.sources", "Types: deb\nURIs: http://m/debian\nSuites: bookworm-backports\nComponents: main\n",
		},
	} {
		root := t.TempDir()
		if err := os.MkdirAll(root+"/etc/apt/sources.list.d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/etc/apt/"+tt.file, []byte(tt.text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", text(builderFiles, "build/setup.sh"), "setup", root)
		cmd.Env = append(os.Environ(), "VDEVIL_SUITE=bookworm-backports", "VDEVIL_BASE=bookworm", "VDEVIL_OPENZFS=2.3.2", "PATH="+host.SearchPath())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
		if got, err := os.ReadFile(root + "/etc/apt/" + tt.made); err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, tt.want)
		}
		if pin, _ := os.ReadFile(root + "/etc/apt/preferences.d/vdevil"); !strings.Contains(string(pin), "Pin: version 2.3.2-*") {
			t.Errorf("%s: pin %q", name, pin)
		}
	}
}

func TestInclude(t *testing.T) {
	for name, want := range map[string]string{"kernel.packages": "kmod", "modules.packages": "dkms", "guest.packages": "zfsutils-linux"} {
		got := include(builderFiles, "build/"+name)
		if !strings.HasPrefix(got, "--include=") || !strings.Contains(got, want) || strings.ContainsAny(got, "# \n") || strings.Contains(got, ",,") {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := include(builderFiles, "build/kernel.packages", "build/modules.packages"); !strings.Contains(got, "zstd,dkms") {
		t.Errorf("two lists: %q", got)
	}
}
