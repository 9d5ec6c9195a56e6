package guest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"al.essio.dev/pkg/shellescape"
)

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
