package drive

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/scenarios"
)

// TestRecall expects a trial to know what its checkpoint's preparation wrote, whatever its own seed.
func TestRecall(t *testing.T) {
	prepare := []scenarios.Step{{Write: &scenarios.Write{File: "/tank/f%d", Count: 2, Size: 1000, Content: "x"}}, {Sync: true}}
	contents := map[string]string{}
	for _, seed := range []uint64{0, 1, 99} {
		w := Worker{Seed: seed}
		w.Recall(prepare)
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
	w.Recall([]scenarios.Step{
		{Write: &scenarios.Write{File: "/tank/f%d", Count: 4, Size: 1000, Content: "x"}}, {Remove: []string{"/tank/f3"}},
	})
	w.forget([]string{"/tank/f1"})
	if got, want := w.oracle.Files(), []string{"/tank/f0", "/tank/f2"}; !slices.Equal(got, want) || len(w.written) != 2 {
		t.Errorf("the oracle knows %v, %d contents are kept; want %v", got, len(w.written), want)
	}
}
