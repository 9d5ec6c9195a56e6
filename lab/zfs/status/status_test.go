package status

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gotest.tools/v3/golden"
)

// TestParse reads what zpool status -vp of OpenZFS 2.3.2 printed in a lab guest.
func TestParse(t *testing.T) {
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
			s, err := Parse(string(text))
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
	read := func(name string) Pool {
		t.Helper()
		text, err := os.ReadFile("testdata/status/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(string(text))
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

func TestParseOfStrangeNames(t *testing.T) {
	s, err := Parse("  pool: tank\n state: ONLINE\n  scan: resilvered\nerrors: Permanent errors have been detected in the" +
		" following files:\n\n        /tank/ a  b\n        /tank/c\n  scan: d\n        <metadata>:<0x3d>\n")
	want := []string{"/tank/ a  b", "/tank/c\n  scan: d", "<metadata>:<0x3d>"}
	if err != nil || !slices.Equal(s.Damaged, want) || s.Scan != "resilvered" {
		t.Errorf("got %+v %v", s, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":       "",
		"no pools":      "no pools available\n",
		"cut short":     "  pool: tank\n state: ONLINE\nconfig:\n",
		"two pools":     "  pool: a\n state: ONLINE\n  pool: b\n state: ONLINE\nerrors: No known data errors\n",
		"no heading":    "  pool: a\n state: ONLINE\nconfig:\n\n\ta  ONLINE 0 0 0\n\nerrors: No known data errors\n",
		"no number":     "  pool: a\n state: ONLINE\nconfig:\n\n\tNAME  STATE READ WRITE CKSUM\n\ta     ONLINE  0  1K  0\n\nerrors: No known data errors\n",
		"unknown bytes": "  pool: a\n state: ONLINE\n  scan: scrub repaired 3X in 00:00:01 with 0 errors on x\nerrors: No known data errors\n",
	} {
		if s, err := Parse(text); err == nil {
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
