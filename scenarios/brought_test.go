package scenarios

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFilesBrought expects the content of files in the scenario and in its text, which needs them no more, and another checkpoint for
// another content.
func TestFilesBrought(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	load := func(files string) (*Scenario, error) {
		put("good.yaml", []byte(strings.Replace(good, "vars:\n", files+"vars:\n", 1)))
		return Load(filepath.Join(dir, "good.yaml"))
	}
	put("bin/run", []byte("#!/bin/sh\n"))
	put("two", bytes.Repeat([]byte{0, 1, 0xff}, 1000))
	keys := map[string]bool{}
	for _, files := range []string{
		"files: {/root/run: bin/run, /opt/two: \"two\"}\n",
		"files:\n  /root/run: ./bin/run # a comment\n  /opt/two:\n    two\n",
		fmt.Sprintf("files:\n  /root/run: %s/bin/run\n  /opt/two: two\n", dir),
	} {
		s, err := load(files)
		if err != nil {
			t.Errorf("%s: %v", files, err)
			continue
		}
		if len(s.Files) != 2 || string(s.Files["/root/run"]) != "#!/bin/sh\n" || len(s.Files["/opt/two"]) != 3000 {
			t.Errorf("%s: %q", files, s.Files)
		}
		if strings.Count(s.Source, "\n") != strings.Count(good+files, "\n") {
			t.Errorf("%s: the lines are others in\n%s", files, s.Source)
		}
		again, err := Parse("good.yaml", []byte(s.Source))
		if err != nil || len(again.Files["/opt/two"]) != 3000 {
			t.Errorf("%s: the text alone gives %v", files, err)
			continue
		}
		keys[arm(t, again, "rot").PrepareKey()] = true
		formatted, err := Format("good.yaml", []byte(s.Source))
		if err != nil {
			t.Fatal(err)
		}
		if same, err := Parse("good.yaml", formatted); err != nil || meaning(t, same) != meaning(t, again) {
			t.Errorf("%s: written anew it is another scenario, %v", files, err)
		}
	}
	if len(keys) != 1 {
		t.Errorf("the same files give %d checkpoints", len(keys))
	}
	put("two", []byte("changed"))
	s, err := load("files: {/root/run: bin/run, /opt/two: two}\n")
	if err != nil || keys[arm(t, s, "rot").PrepareKey()] {
		t.Errorf("another content gives the same checkpoint, %v", err)
	}
	put("large", make([]byte, mostBrought+1))
	noise := make([]byte, 0, mostCompressed)
	for i := uint64(1); len(noise) < mostCompressed; i++ {
		noise = fmt.Appendf(noise, "%x", i*i*2654435761*i)
	}
	put("noise", noise)
	for files, want := range map[string]string{
		"files: {/root/run: nothing}\n":               "good.yaml:7: files: open " + dir + "/nothing: no such file or directory; write the path of a file, from the directory of this one",
		"files: {/root/run: large}\n":                 "large has more than 33554432 bytes; write the path",
		"files: {/root/run: noise, /root/b: noise}\n": "bytes compressed; bring at most 1048576",
		"files: {run: bin/run}\n":                     `good.yaml:7: files: "run" is not the path of a file in the guest; write for example files: {/root/reproducer: reproducer.sh}`,
		"files: {/root/run: {gzip: AAAA}}\n":          "good.yaml:7: files: the content of /root/run cannot be unpacked",
		"files: [a]\n":                                "good.yaml:7: files is a list; write files: {/root/reproducer: reproducer.sh}",
		"files: {/root/run: bin}\n":                   "is a directory; write the path of a file",
	} {
		if _, err := load(files); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", files, err, want)
		}
	}
	if _, err := Parse("good.yaml", []byte(strings.Replace(good, "vars:\n", "files: {/root/run: bin/run}\nvars:\n", 1))); err == nil ||
		!strings.Contains(err.Error(), "files: a scenario that has no directory cannot bring bin/run; write it into a file, and run that") {
		t.Errorf("without a directory: %v", err)
	}
}
