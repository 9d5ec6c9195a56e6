package bench

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/oracle"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

// disk makes a data disk of the machine, on which a file lies as it was written.
func (s *stage) disk(name string, content []byte) machine.Disk {
	s.t.Helper()
	d := machine.Disk{Name: name, Path: filepath.Join(s.t.TempDir(), "disk-"+name+".raw"), Size: 1 << 20}
	if err := os.WriteFile(d.Path, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Truncate(d.Path, d.Size); err != nil {
		s.t.Fatal(err)
	}
	s.machine.Data = append(s.machine.Data, d)
	return d
}

// rot is a fault that strikes at once, in what was written.
func rot(disks ...string) *scenarios.Fault {
	return &scenarios.Fault{VdevBitrot: &scenarios.VdevBitrot{Disks: disks, Extents: 1, Bytes: 16}}
}

// rotting is a stage whose fault hits a file on disk v0.
func rotting(t *testing.T, disks ...string) *stage {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	s := newStage(t, rot(disks...), func(*stage) []scenarios.Step {
		return []scenarios.Step{{Write: &scenarios.Write{File: file, Size: 4096, Content: "x"}}, {Arm: true}, {Run: "echo done"}}
	})
	s.disk("v0", oracle.Content(1, "x", 4096))
	s.programs()
	return s
}

// evidence compares what a result lists with what the bundle holds.
func evidence(t *testing.T, r trial.Result) []string {
	t.Helper()
	files, err := os.ReadDir(r.Bundle)
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]trial.Evidence{}
	for _, e := range r.Evidence {
		if _, twice := listed[e.Name]; twice {
			t.Errorf("%s is listed twice", e.Name)
		}
		listed[e.Name] = e
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		if f.Name() == "outcome.json" { // which holds the list
			continue
		}
		data, err := os.ReadFile(filepath.Join(r.Bundle, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(data)
		want := trial.Evidence{Name: f.Name(), Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
		if listed[f.Name()] != want {
			t.Errorf("%s is listed as %+v, want %+v", f.Name(), listed[f.Name()], want)
		}
	}
	if len(names) != len(listed)+1 {
		t.Errorf("%d files are listed, there are %q", len(listed), names)
	}
	return names
}

// TestBundle expects everything that a bundle is said to hold, and each file as the result lists it.
func TestBundle(t *testing.T) {
	for name, keep := range map[string]bool{"with its disks": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			s := rotting(t, "v0")
			s.trial.spec.Watch = time.Millisecond
			s.trial.spec.Strike = &trial.Strike{Target: "spa->spa_root_vdev", Trigger: scenarios.Trigger{At: "spa_sync", When: map[string]string{"a": "b"}}}
			var asked trial.Result
			s.keep = func(sc *scenarios.Scenario, r trial.Result) bool {
				if sc != s.trial.scenario {
					t.Error("asked for another scenario")
				}
				asked = r
				return keep
			}
			r := s.run(func() {})
			if r.Outcome != trial.Masked || asked.Outcome != trial.Masked || len(r.Injections) != 1 || r.Injections[0].BitsChanged() == 0 {
				t.Fatalf("got %s because %q, asked for %s, injections %+v", r.Outcome, r.Reason, asked.Outcome, r.Injections)
			}
			want := []string{"command.txt", "console.log", "disk-v0.raw", "injections.json", "outcome.json", "output.txt", "scenario.yaml", "spec.json", "stack.txt"}
			if !keep {
				want = slices.Delete(want, 2, 3)
			}
			if got := evidence(t, r); !slices.Equal(got, want) {
				t.Errorf("the bundle holds %q, want %q", got, want)
			}
			read := func(name string) []byte {
				text, err := os.ReadFile(filepath.Join(r.Bundle, name))
				if err != nil {
					t.Fatal(err)
				}
				return text
			}
			spec, err := trial.ParseSpec(read("spec.json"))
			if err != nil || !reflect.DeepEqual(spec, s.trial.spec) || spec.ID() != s.trial.spec.ID() {
				t.Errorf("the spec is read back as %+v, %v", spec, err)
			}
			if text := read("scenario.yaml"); string(text) != s.trial.spec.Scenario {
				t.Errorf("the scenario is %q", text)
			}
			var injections []trial.Injection
			if err := json.Unmarshal(read("injections.json"), &injections); err != nil || !reflect.DeepEqual(injections, r.Injections) {
				t.Errorf("the injections are %+v, %v", injections, err)
			}
			var outcome trial.Result
			if err := json.Unmarshal(read("outcome.json"), &outcome); err != nil || outcome.Outcome != r.Outcome || !slices.Equal(outcome.Evidence, r.Evidence) {
				t.Errorf("the outcome is %+v, %v", outcome, err)
			}
			for _, name := range []string{"spec.json", "outcome.json", "injections.json"} {
				if bytes.Contains(read(name), []byte(`\u003e`)) {
					t.Errorf("what stands in %s is not as people know it", name)
				}
			}
			if in := r.Injections[0]; keep && !bytes.Equal(read("disk-v0.raw")[in.Offset:][:len(in.After)], in.After) {
				t.Error("the disk that is kept lacks what the fault did")
			}
		})
	}
}

// TestBundleIsReadable expects the paths in it to be written as people know them.
func TestBundleIsReadable(t *testing.T) {
	b := &bundle{dir: t.TempDir()}
	if err := b.json("x.json", []trial.Injection{{Target: "spa->spa_root_vdev & <more>"}}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(b.dir, "x.json"))
	if err != nil || !strings.Contains(string(text), "\n    \"target\": \"spa->spa_root_vdev & <more>\"") {
		t.Errorf("%s, %v", text, err)
	}
	if err := b.json("y.json", func() {}); err == nil || !strings.Contains(err.Error(), "write bundle: y.json") {
		t.Errorf("what is no data: %v", err)
	}
}

// TestBundleFails expects a bundle that cannot be written to be an error, not an outcome.
func TestBundleFails(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, dir string){
		"a file is in the way": func(t *testing.T, dir string) {
			if err := os.WriteFile(dir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"the spec cannot be written": func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, "spec.json"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"the console cannot be written": func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, "console.log"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
		"the disk cannot be kept": func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, "disk-v0.raw"), 0o700); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := rotting(t, "v0")
			dir := filepath.Join(t.TempDir(), "bundle")
			spoil(t, dir)
			s.trial.bench.Driver = &scripttest.Driver{OnFork: func(context.Context, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
				return s.machine, nil
			}}
			keep := func(*scenarios.Scenario, trial.Result) bool { return true }
			if r, err := s.trial.Do(t.Context(), Options{Bundle: dir, Keep: keep}); err == nil || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %s, %v", r.Outcome, err)
			}
		})
	}
}

// TestArmFails expects a fault that was not delivered to make a trial invalid, whatever was seen.
func TestArmFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault  *scenarios.Fault
		reason string
	}{
		"no fault":      {nil, "the scenario has no fault to arm"},
		"no kind":       {&scenarios.Fault{}, "no fault of kind"},
		"no such disk":  {rot("v7"), `arm vdev-bitrot: the machine has no disk "v7"`},
		"a bad trigger": {&scenarios.Fault{Register: &scenarios.RegisterFault{Trigger: scenarios.Trigger{At: "at noon"}}}, "at noon"},
	} {
		t.Run(name, func(t *testing.T) {
			s := rotting(t)
			s.trial.resolved.Fault = c.fault
			if r := s.run(func() {}); r.Outcome != trial.Invalid || !strings.Contains(r.Reason, c.reason) {
				t.Errorf("got %s because %q", r.Outcome, r.Reason)
			}
		})
	}
}

// TestWithheld expects a control to leave the disks alone and the record to say so.
func TestWithheld(t *testing.T) {
	s := rotting(t, "v0")
	s.trial.resolved.Arm.Withhold = true
	r := s.run(func() {})
	if data, err := os.ReadFile(s.machine.Data[0].Path); err != nil || !bytes.Equal(data[:4096], oracle.Content(1, "x", 4096)) {
		t.Errorf("the disk was changed, %v", err)
	}
	if r.Outcome != trial.Masked || len(r.Injections) != 1 || !r.Injections[0].Withheld {
		t.Errorf("got %s because %q, %+v", r.Outcome, r.Reason, r.Injections)
	}
}

// TestReportedDamage expects no judge to be asked about disks whose damage the pool has reported, where a fault put it there.
func TestReportedDamage(t *testing.T) {
	for name, struck := range map[string]bool{"the fault's": true, "not the fault's": false} {
		s := rotting(t, "v0")
		if !struck {
			s.trial.resolved.Fault = nil
			s.trial.resolved.Workload = s.trial.resolved.Workload[2:]
		}
		permanent, err := filepath.Abs("../zfs/status/testdata/status/permanent.txt")
		if err != nil {
			t.Fatal(err)
		}
		s.guest.Program("zpool", `[ "$1" != status ] || cat `+permanent)
		asked := 0
		s.trial.bench.Judge = judged(func(_ context.Context, subject judge.Subject) ([]string, error) {
			asked++
			if subject.Pool != "tank" || !slices.Equal(subject.Disks, s.machine.Data) || subject.Keys.Login != s.guest.Login {
				t.Errorf("asked about %+v", subject)
			}
			select {
			case <-s.machine.Done():
			default:
				t.Error("asked about the disks of a machine that runs")
			}
			return nil, nil
		})
		r := s.run(func() {})
		// The pool names other files than the one that was hit, which is worse than damage that it reports.
		if want := []trial.Outcome{trial.Detected, trial.Corrupt}[len(r.Injections)]; r.Outcome != want || (asked == 0) != struck {
			t.Errorf("%s: %s because %q, asked %d times", name, r.Outcome, r.Reason, asked)
		}
	}
	if onDisks([]trial.Injection{{Disk: "v0", Withheld: true}, {Target: "spa"}}) || !onDisks([]trial.Injection{{Target: "spa"}, {Disk: "v0"}}) {
		t.Error("a fault is on a disk if one of its strikes is, and was not withheld")
	}
}

type judged func(context.Context, judge.Subject) ([]string, error)

func (j judged) Judge(ctx context.Context, s judge.Subject) ([]string, error) { return j(ctx, s) }

// TestBrokenOff cancels a trial wherever it may stand: the bundle is gone then, and the machine closed.
func TestBrokenOff(t *testing.T) {
	until := func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}
	for name, script := range map[string]func(s *stage, ctx context.Context, cancel func()) func(){
		"fork": func(s *stage, ctx context.Context, cancel func()) func() {
			s.forks = func(int, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
				cancel()
				return nil, until(ctx)
			}
			return nil
		},
		"forked": func(s *stage, _ context.Context, cancel func()) func() {
			s.forks = func(int, *machine.Checkpoint, machine.ForkOptions) (machine.Machine, error) {
				cancel()
				return s.machine, nil
			}
			return nil
		},
		"before": func(s *stage, ctx context.Context, cancel func()) func() {
			s.trial.before = func(context.Context, machine.Machine) ([]trial.Injection, error) {
				cancel()
				return nil, until(ctx)
			}
			return nil
		},
		"connect": func(s *stage, _ context.Context, cancel func()) func() {
			s.machine.OnDial = func(ctx context.Context, _ int) (net.Conn, error) {
				cancel()
				return nil, until(ctx)
			}
			return nil
		},
		"workload": func(s *stage, _ context.Context, cancel func()) func() {
			s.trial.resolved.Workload = hanging(s)
			return func() { s.reached(); cancel() }
		},
		"linger": func(s *stage, _ context.Context, cancel func()) func() {
			s.trial.spec.Watch = 24 * time.Hour
			s.guest.Program("zpool", `[ "$1" != status ] || { cat `+healthyPool(s.t)+"; echo here >"+s.fifo+"; }")
			return func() { s.reached(); cancel() }
		},
		"settle": func(s *stage, _ context.Context, cancel func()) func() {
			s.trial.fork.Scale, s.trial.resolved.Limit = 1e5, time.Hour // there are hours for the message that must come
			s.trial.resolved.Workload = []scenarios.Step{{Run: "echo here >" + s.fifo + "; exit 3"}}
			return func() { s.reached(); cancel() }
		},
		"judge": func(s *stage, _ context.Context, cancel func()) func() {
			s.trial.bench.Judge = judged(func(ctx context.Context, _ judge.Subject) ([]string, error) {
				cancel()
				return nil, until(ctx)
			})
			return nil
		},
		"judged": func(s *stage, _ context.Context, cancel func()) func() {
			s.trial.bench.Judge = judged(func(context.Context, judge.Subject) ([]string, error) {
				cancel()
				return []string{"leaked"}, nil
			})
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := newStage(t, nil, func(*stage) []scenarios.Step { return []scenarios.Step{{Sync: true}} })
			s.programs()
			play := script(s, ctx, cancel)
			if play == nil {
				play = func() {}
			}
			s.keep = func(*scenarios.Scenario, trial.Result) bool {
				t.Error("asked whether to keep the disks of a trial that counts for nothing")
				return true
			}
			r, err := s.do(ctx, play)
			if !errors.Is(err, context.Canceled) {
				t.Errorf("the error is %v", err)
			}
			if _, err := os.Stat(r.Bundle); r.Bundle == "" || !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the bundle %q is there, %v", r.Bundle, err)
			}
			if name == "fork" { // there was no machine
				return
			}
			select {
			case <-s.machine.Done():
			default:
				t.Error("the machine runs on")
			}
		})
	}
}
