package drive

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/scenarios"
)

// TestRecall expects a trial to know what its checkpoint's preparation wrote, whatever its own seed.
func TestRecall(t *testing.T) {
	prepare := []scenarios.Step{{Write: &scenarios.Write{File: "/tank/f%d", Count: 2, Size: 1000, Content: "x"}}, {Sync: true}}
	contents := map[string]string{}
	for _, seed := range []uint64{0, 1, 99} {
		w := Worker{Seed: seed}
		if err := w.Recall(prepare); err != nil {
			t.Fatal(err)
		}
		if len(w.written) != 2 || w.Seed != seed {
			t.Fatalf("%d files, seed %d", len(w.written), w.Seed)
		}
		for path, data := range w.written {
			key := fmt.Sprintf("%s %d", path, len(data))
			if was, ok := contents[key]; ok && was != string(data) {
				t.Errorf("%s differs with the trial's seed", path)
			}
			contents[key] = string(data)
		}
	}
}

// TestForget expects nobody to look for a file that was removed.
func TestForget(t *testing.T) {
	var w Worker
	if err := w.Recall([]scenarios.Step{
		{Write: &scenarios.Write{File: "/tank/f%d", Count: 4, Size: 1000, Content: "x"}}, {Remove: []string{"/tank/f3"}},
	}); err != nil {
		t.Fatal(err)
	}
	w.forget([]string{"/tank/f1"})
	if got, want := w.oracle.Files(), []string{"/tank/f0", "/tank/f2"}; !slices.Equal(got, want) || len(w.written) != 2 {
		t.Errorf("the oracle knows %v, %d contents are kept; want %v", got, len(w.written), want)
	}
}

// TestHolds expects a file that nobody wrote to have the content that another one had at that step, and to be looked for no more when its
// dataset or snapshot is destroyed.
func TestHolds(t *testing.T) {
	var w Worker
	one := &scenarios.Write{File: "/tank/f0", Size: 1000, Content: "x"}
	if err := w.Recall([]scenarios.Step{
		{Write: one},
		{Holds: &scenarios.Holds{File: "/tank/c/f%d", As: "/tank/f%d", Count: 1}},
		{Holds: &scenarios.Holds{File: "/tank/.zfs/snapshot/s/f0", As: "/tank/f0"}},
		{Holds: &scenarios.Holds{File: "/tank/.zfs/snapshot/s2/f0", As: "/tank/f0"}},
		{Holds: &scenarios.Holds{File: "/tank/ccc/f0", As: "/tank/c/f0"}},
		{Write: &scenarios.Write{File: "/tank/f0", Size: 1000, Content: "y"}},
		{Remove: []string{"/tank/f0"}},
	}); err != nil {
		t.Fatal(err)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(oracle.Content(0, "x", 1000)))
	var printed string
	for _, path := range []string{"/tank/.zfs/snapshot/s/f0", "/tank/.zfs/snapshot/s2/f0", "/tank/c/f0", "/tank/ccc/f0"} {
		printed += sum + "  " + path + "\x00"
	}
	if found, err := w.oracle.Compare([]byte(printed), nil); err != nil || len(found.Of(oracle.Intact)) != 4 {
		t.Errorf("%v, %v", found, err)
	}
	w.destroyed("tank/c")
	w.destroyed("tank@s")
	if got, want := w.oracle.Files(), []string{"/tank/.zfs/snapshot/s2/f0", "/tank/ccc/f0"}; !slices.Equal(got, want) {
		t.Errorf("the oracle knows %v, want %v", got, want)
	}
	if err := w.holds(&scenarios.Holds{File: "/tank/x", As: "/tank/f9"}); err == nil || !strings.Contains(err.Error(), "/tank/f9") {
		t.Errorf("a file that nobody wrote: %v", err)
	}
}
