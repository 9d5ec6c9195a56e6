package guest

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"al.essio.dev/pkg/shellescape"
	"gotest.tools/v3/golden"
)

// TestParseStatus reads what zpool status -vp of OpenZFS 2.3.2 printed in a lab guest.
func TestParseStatus(t *testing.T) {
	texts, err := filepath.Glob("testdata/status/*.txt")
	if err != nil || len(texts) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, path := range texts {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s, err := parseStatus(string(text))
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(s, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Base(path), ".txt") + ".json"
			golden.Assert(t, string(got)+"\n", filepath.Join("status", name))
		})
	}
}

func TestStatusSays(t *testing.T) {
	read := func(name string) PoolStatus {
		t.Helper()
		text, err := os.ReadFile("testdata/status/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseStatus(string(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, healthy := range map[string]bool{
		"healthy": true, "classes": true, "repaired": false, "permanent": false, "offline": false, "missing": false,
	} {
		if read(name).Healthy() != healthy {
			t.Errorf("%s: healthy is not %v", name, healthy)
		}
	}
	leaves := read("missing").Leaves()
	disks := make([]string, len(leaves))
	for i, d := range leaves {
		disks[i] = d.Disk()
	}
	if !slices.Equal(disks, []string{"v0", ""}) {
		t.Errorf("disks %q", disks)
	}
}

func TestParseStatusOfStrangeNames(t *testing.T) {
	s, err := parseStatus("  pool: tank\n state: ONLINE\n  scan: resilvered\nerrors: Permanent errors have been detected in the" +
		" following files:\n\n        /tank/ a  b\n        /tank/c\n  scan: d\n        <metadata>:<0x3d>\n")
	want := []string{"/tank/ a  b", "/tank/c\n  scan: d", "<metadata>:<0x3d>"}
	if err != nil || !slices.Equal(s.Damaged, want) || s.Scan != "resilvered" {
		t.Errorf("got %+v %v", s, err)
	}
}

func TestParseStatusRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":       "",
		"no pools":      "no pools available\n",
		"cut short":     "  pool: tank\n state: ONLINE\nconfig:\n",
		"two pools":     "  pool: a\n state: ONLINE\n  pool: b\n state: ONLINE\nerrors: No known data errors\n",
		"no heading":    "  pool: a\n state: ONLINE\nconfig:\n\n\ta  ONLINE 0 0 0\n\nerrors: No known data errors\n",
		"no number":     "  pool: a\n state: ONLINE\nconfig:\n\n\tNAME  STATE READ WRITE CKSUM\n\ta     ONLINE  0  1K  0\n\nerrors: No known data errors\n",
		"unknown bytes": "  pool: a\n state: ONLINE\n  scan: scrub repaired 3X in 00:00:01 with 0 errors on x\nerrors: No known data errors\n",
	} {
		if s, err := parseStatus(text); err == nil {
			t.Errorf("%s gave %+v", name, s)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]uint64{
		"0B": 0, "512B": 512, "512": 512, "256K": 256 << 10, "1.50M": 3 << 19, "2G": 2 << 30, "1.25T": 5 << 38, "1P": 1 << 50, "1E": 1 << 60,
	} {
		if got, err := parseBytes(text); err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
	}
	for _, text := range []string{"", "B", "-1K", "1KM", "1Z", "x"} {
		if got, err := parseBytes(text); err == nil {
			t.Errorf("%q gave %d", text, got)
		}
	}
}

func TestPoolSpecWords(t *testing.T) {
	p := PoolSpec{
		Name:       "tank",
		Layout:     []string{"raidz2", "v0", "v1", "/dev/shm/f", "log", "mirror", "v2", "v3", "draid1:2d", "v4", "spare", "v5"},
		Options:    map[string]string{"feature@fast_dedup": "disabled", "ashift": "9", "comment": "it's a test"},
		Properties: map[string]string{"recordsize": "128k", "atime": "off"},
	}
	const want = "zpool create -o ashift=9 -o 'comment=it'\"'\"'s a test' -o feature@fast_dedup=disabled -O atime=off" +
		" -O recordsize=128k tank raidz2 /dev/disk/by-id/virtio-v0 /dev/disk/by-id/virtio-v1 /dev/shm/f log mirror" +
		" /dev/disk/by-id/virtio-v2 /dev/disk/by-id/virtio-v3 draid1:2d /dev/disk/by-id/virtio-v4 spare /dev/disk/by-id/virtio-v5"
	if got := shellescape.QuoteCommand(p.words()); got != want {
		t.Errorf("got %s", got)
	}
}

func TestCreatePoolTriesAgain(t *testing.T) {
	for name, c := range map[string]struct {
		message string
		calls   int
	}{
		"links not there": {"cannot create 'tank': one or more devices is currently unavailable", createTries},
		"in use":          {"/dev/vdb is in use", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			log := filepath.Join(t.TempDir(), "log")
			s.Program("udevadm", "")
			s.Program("zpool", "echo x >>"+log+"; echo "+shellescape.Quote(c.message)+" >&2; exit 1")
			err := connect(t, s, s.machine()).CreatePool(t.Context(), PoolSpec{Name: "tank", Layout: []string{"v0"}})
			if err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("got %v", err)
			}
			if calls, err := os.ReadFile(log); err != nil || len(calls) != 2*c.calls {
				t.Errorf("%d calls, want %d (%v)", len(calls)/2, c.calls, err)
			}
		})
	}
}

func TestParseSymbols(t *testing.T) {
	const text = "ffffffffc07ff3b0 t zio_free_sync\t[zfs]\n" +
		"ffffffffc0774cc0 T spa_sync\t[zfs]\n" +
		"ffffffffc0774dd0 t spa_sync.isra.0\t[zfs]\n" +
		"ffffffff81000000 T twice\nffffffff81000010 t twice\n" +
		"0000000000000000 T hidden\n"
	got, err := parseSymbols(text, []string{"spa_sync", "zio_free_sync"})
	if err != nil || len(got) != 2 || got["zio_free_sync"] != 0xffffffffc07ff3b0 || got["spa_sync"] != 0xffffffffc0774cc0 {
		t.Errorf("got %#x %v", got, err)
	}
	for name, want := range map[string]string{
		"spa_syn": "no kernel symbol spa_syn", "twice": "0xffffffff81000010", "hidden": "kptr_restrict",
	} {
		if _, err := parseSymbols(text, []string{"spa_sync", name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetParameterOfNoModule(t *testing.T) {
	s := newServer(t)
	g := connect(t, s, s.machine())
	err := g.SetParameter(t.Context(), "no_such_module", "x", "1")
	if err == nil || errors.Is(err, ErrNoParameter) || !strings.Contains(err.Error(), "not loaded") {
		t.Errorf("got %v", err)
	}
	// Every kernel that runs the tests has this directory and no such parameter.
	if err := g.SetParameter(t.Context(), "kernel", "no_such_parameter", "1"); !errors.Is(err, ErrNoParameter) {
		t.Errorf("got %v", err)
	}
}
