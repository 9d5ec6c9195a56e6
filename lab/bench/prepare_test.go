package bench

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/images/source"
	"github.com/vdevil/vdevil/lab/checkpoint"
	"github.com/vdevil/vdevil/lab/fault"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/scenarios"
)

const text = `name: scripted
question: Does anything happen?
claim: "Nothing does."
cause: disk
cost: fast
machine: {cpus: 1, memory: 512MiB, disks: {v0: 128MiB}}
vars: {recordsize: 4k, command: "true"}
pool: {name: tank, layout: v0, properties: {recordsize: "${recordsize}"}}
prepare: [sync]
workload:
  - run: "${command}"
arms:
  - name: first
  - name: other-workload
    control: true
    vars: {command: "false"}
  - name: other-pool
    control: true
    vars: {recordsize: 8k}
trials: 1
limit: 20s
expect: {verdict: does not reproduce, rate: 0.5}
`

// site is a bench whose checkpoints are what a test says they are.
type site struct {
	*Bench
	guest   *guesttest.Server
	machine *scripttest.Machine
	// there are the stages whose checkpoints are found; all others are to be made.
	there []string
	note  string // beside a checkpoint of an instant
	forks []machine.ForkOptions
}

func newSite(t *testing.T, there ...string) *site {
	t.Helper()
	s := &site{guest: guesttest.New(t), machine: scripttest.New(t), there: there}
	s.machine.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return s.guest.Dial(ctx) }
	driver := &scripttest.Driver{OnFork: func(_ context.Context, _ *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
		s.forks = append(s.forks, o)
		return s.machine, nil
	}}
	s.Bench = &Bench{
		Driver: driver,
		Checkpoints: &checkpoint.Cache{
			Dir: t.TempDir(), Driver: driver, Kernels: &checkpoint.Kernels{}, Progress: func(string, time.Duration) {},
			Open: func(dir string) (*machine.Checkpoint, error) {
				if !slices.ContainsFunc(s.there, func(stage string) bool { return strings.Contains(filepath.Base(dir), "-"+stage+"-") }) {
					return nil, os.ErrNotExist
				}
				err := os.MkdirAll(dir, 0o700)
				if s.note != "" {
					err = errors.Join(err, os.WriteFile(filepath.Join(dir, "instant.json"), []byte(s.note), 0o600))
				}
				return &machine.Checkpoint{Dir: dir, Scale: 1}, err
			},
		},
		Image: func(_ context.Context, at trial.Image) (*images.Image, error) {
			if at.ID != "image" {
				return nil, errors.New("no image " + at.ID)
			}
			return &images.Image{ID: "image", OpenZFS: at.OpenZFS, LoginKey: s.guest.Login, HostKey: s.guest.Host}, nil
		},
	}
	return s
}

// specOf is one for this bench.
func specOf(arm string) trial.Spec {
	return trial.Spec{
		Version: trial.SpecVersion, Name: "scripted", Scenario: text, Arm: arm, Number: 1, Seed: 1, Image: "image", OpenZFS: "2.3.2", Driver: "scripted", Accel: "tcg",
	}
}

// TestPrepareRefuses expects a spec that this bench cannot do to be an error, before anything is forked.
func TestPrepareRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		there []string
		spec  func(*trial.Spec)
		want  string
	}{
		"another driver":      {nil, func(s *trial.Spec) { s.Driver = "qemu" }, "the trial is one for qemu with tcg, this lab has scripted with tcg"},
		"another accelerator": {nil, func(s *trial.Spec) { s.Accel = "kvm" }, "the trial is one for scripted with kvm, this lab has scripted with tcg"},
		"no scenario":         {nil, func(s *trial.Spec) { s.Scenario = "name: [" }, "the scenario in the spec of a trial: scripted.yaml"},
		"no arm":              {nil, func(s *trial.Spec) { s.Arm = "none" }, `scenario scripted has no arm "none"`},
		"no image":            {nil, func(s *trial.Spec) { s.Image = "other" }, "no image other"},
		"no boot":             {nil, func(*trial.Spec) {}, "boot a guest with OpenZFS 2.3.2"},
		"an image that never comes": {
			nil, func(s *trial.Spec) { s.Image, s.OpenZFS = "image:later", "2.3.2:2.4.4" }, "OpenZFS 2.4.4 is for what comes after a step reboot, and its workload has none: write --zfs 2.3.2",
		},
		"a strike at no time": {[]string{"booted"}, func(s *trial.Spec) { s.Strike = &trial.Strike{Trigger: scenarios.Trigger{At: "at noon"}} }, "at noon"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, c.there...)
			spec := specOf("first")
			c.spec(&spec)
			if one, err := s.Prepare(t.Context(), spec); err == nil || !strings.Contains(err.Error(), c.want) || len(s.forks) != 0 {
				t.Errorf("got %v, %v after %d forks", one, err, len(s.forks))
			}
		})
	}
}

// TestUnable expects a fault that the driver cannot do to be refused by name, before anything is forked.
func TestUnable(t *testing.T) {
	for want, fault := range map[string]string{
		"driver scripted cannot let others than its hypervisor serve disks, which its fault device needs": "device: {disks: v0, do: error}",
		"driver scripted cannot hold one CPU while others run, which its fault hold needs":                "hold: {at: f, for: 1s}",
		"driver scripted cannot report damaged memory to its guest, which its fault memory needs":         "memory: {at: now, class: ram, flip: {bits: 1}, ecc: secded}",
	} {
		s := newSite(t)
		s.Driver = &scripttest.Driver{Cannot: []machine.Ability{machine.ServesDisks, machine.HoldsCPUs, machine.ReportsMemory}}
		spec := specOf("first")
		spec.Scenario = strings.NewReplacer(
			"cpus: 1", "cpus: 2", "workload:\n", "fault: {"+fault+"}\nworkload:\n  - arm\n",
		).Replace(text)
		if _, err := s.Prepare(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) || len(s.forks) != 0 {
			t.Errorf("got %v after %d forks, want %q", err, len(s.forks), want)
		}
	}
}

// TestUnableClock expects the same of a clock.
func TestUnableClock(t *testing.T) {
	s := newSite(t)
	s.Driver = &scripttest.Driver{Cannot: []machine.Ability{machine.CountsTime}}
	spec := specOf("first")
	spec.Scenario = strings.Replace(text, "cpus: 1", "cpus: 1, clock: icount", 1)
	want := "driver scripted cannot count its guest's time in instructions, which its clock needs: it takes the driver qemu"
	if _, err := s.Prepare(t.Context(), spec); err == nil || !strings.Contains(err.Error(), want) || len(s.forks) != 0 {
		t.Errorf("got %v after %d forks, want %q", err, len(s.forks), want)
	}
}

// TestPrepare expects a trial that can be done at once, and its scenario to be read once.
func TestPrepare(t *testing.T) {
	s := newSite(t, "booted", "prepared")
	s.guest.Program("zpool", `[ "$1" != status ] || cat `+healthyPool(t))
	one, err := s.Prepare(t.Context(), specOf("first"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Prepare(t.Context(), specOf("other-workload"))
	if err != nil || other.scenario != one.scenario || other.resolved.Arm.Name != "other-workload" || other.fork.Dir != one.fork.Dir {
		t.Errorf("another arm of the same text: %+v, %v", other, err)
	}
	if _, err := s.Prepare(t.Context(), specOf("none")); err == nil || !strings.Contains(err.Error(), `no arm "none"`) {
		t.Errorf("an arm that a scenario that was read lacks: %v", err)
	}
	r, err := one.Do(t.Context(), Options{Bundle: filepath.Join(t.TempDir(), "bundle"), Repeat: "vdevil repeat", Next: 3})
	if err != nil || r.Outcome != trial.Masked || r.Arm != "first" || r.Repeat != "vdevil repeat" {
		t.Errorf("got %+v, %v", r, err)
	}
	want := machine.ForkOptions{For: "scripted on OpenZFS 2.3.2, first/1", Next: 3}
	if len(s.forks) != 1 || s.forks[0].For != want.For || s.forks[0].Next != want.Next || s.forks[0].Paused {
		t.Errorf("forked were %+v", s.forks)
	}
}

// TestPair expects a machine that comes after a reboot to run the second image of a pair.
func TestPair(t *testing.T) {
	s := newSite(t, "booted", "prepared")
	upgraded := guesttest.New(t) // which has keys of its own
	for _, g := range []*guesttest.Server{s.guest, upgraded} {
		g.Program("zpool", `[ "$1" != status ] || cat `+healthyPool(t))
		g.Program("install", "")
		g.Program("udevadm", "")
		g.Program("blockdev", "")
	}
	next := scripttest.New(t)
	next.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return upgraded.Dial(ctx) }
	first := s.Image
	s.Image = func(ctx context.Context, at trial.Image) (*images.Image, error) {
		if at == (trial.Image{ID: "later", OpenZFS: "2.4.4"}) {
			return &images.Image{ID: at.ID, OpenZFS: at.OpenZFS, LoginKey: upgraded.Login, HostKey: upgraded.Host}, nil
		}
		return first(ctx, at)
	}
	var of []string
	s.Driver = &scripttest.Driver{OnFork: func(_ context.Context, cp *machine.Checkpoint, _ machine.ForkOptions) (machine.Machine, error) {
		image, _, _ := strings.Cut(filepath.Base(cp.Dir), "-")
		if of = append(of, image); image == "later" {
			return next, nil
		}
		return s.machine, nil
	}}
	spec := specOf("first")
	spec.Scenario = strings.Replace(text, "workload:\n", "workload:\n  - reboot\n  - import\n", 1)
	spec.Image, spec.OpenZFS = "image:later", "2.3.2:2.4.4"
	one, err := s.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r, err := one.Do(t.Context(), Options{Bundle: filepath.Join(t.TempDir(), "bundle")})
	if err != nil || r.Outcome != trial.Masked || next.Dials() == 0 || !slices.Equal(of, []string{"image", "later"}) {
		t.Errorf("got %s because %q, %v, machines of %q", r.Outcome, r.Reason, err, of)
	}
}

// TestRefused expects a guest that refuses what the scenario prepares to make the trial invalid, with its reason, and other
// trouble while it is prepared to be an error.
func TestRefused(t *testing.T) {
	s := newSite(t, "booted")
	s.guest.Program("udevadm", "")
	s.guest.Program("install", "")
	s.guest.Program("zpool", `[ "$1" != create ] || { echo "invalid property 'recordsize'" >&2; exit 2; }`)
	one, err := s.Prepare(t.Context(), specOf("first"))
	if err != nil {
		t.Fatal(err)
	}
	bundle := filepath.Join(t.TempDir(), "bundle")
	r, err := one.Do(t.Context(), Options{Bundle: bundle})
	if err != nil || r.Outcome != trial.Invalid || !strings.Contains(r.Reason, "invalid property 'recordsize'") || len(s.forks) != 1 {
		t.Errorf("got %s because %q, %v after %d forks", r.Outcome, r.Reason, err, len(s.forks))
	}
	if names := evidence(t, r); slices.Contains(names, "console.log") || !slices.Contains(names, "spec.json") {
		t.Errorf("without a machine the bundle holds %q", names)
	}
	// A tree of which that is so cannot be tested.
	s = newSite(t, "booted")
	s.guest.Program("udevadm", "")
	s.guest.Program("install", "")
	s.guest.Program("zpool", `[ "$1" != create ] || { echo "invalid property 'recordsize'" >&2; exit 2; }`)
	packaged := s.Image
	s.Image = func(ctx context.Context, at trial.Image) (*images.Image, error) {
		img, err := packaged(ctx, at)
		img.Tree = &source.Tree{}
		return img, err
	}
	if one, err = s.Prepare(t.Context(), specOf("first")); err != nil {
		t.Fatal(err)
	}
	r, err = one.Do(t.Context(), Options{Bundle: filepath.Join(t.TempDir(), "bundle")})
	if err != nil || r.Outcome != trial.Invalid || !strings.Contains(r.Untestable, "invalid property 'recordsize'") {
		t.Errorf("of a tree: %s, untestable %q, %v", r.Outcome, r.Untestable, err)
	}
	s = newSite(t, "booted")
	s.guest.Program("udevadm", "")
	s.guest.Program("install", "")
	s.guest.Program("zpool", "")
	if _, err := s.Prepare(t.Context(), specOf("first")); err == nil || !strings.Contains(err.Error(), "prepare scripted for 2.3.2") {
		t.Errorf("a machine that cannot be frozen: %v", err)
	}
}

// TestGroup expects trials to be of one group where they start from the same checkpoint.
func TestGroup(t *testing.T) {
	s := newSite(t)
	group := func(change func(*trial.Spec)) string {
		spec := specOf("first")
		change(&spec)
		return s.Group(spec)
	}
	first := group(func(*trial.Spec) {})
	for name, c := range map[string]struct {
		change func(*trial.Spec)
		same   bool
	}{
		"number and seed": {func(s *trial.Spec) { s.Number, s.Seed = 2, 3 }, true},
		"workload":        {func(s *trial.Spec) { s.Arm = "other-workload" }, true},
		"pool":            {func(s *trial.Spec) { s.Arm = "other-pool" }, false},
		"image":           {func(s *trial.Spec) { s.Image = "other" }, false},
		"strike":          {func(s *trial.Spec) { s.Strike = &trial.Strike{} }, false},
		"no scenario":     {func(s *trial.Spec) { s.Scenario = "" }, false},
	} {
		if got := group(c.change); (got == first) != c.same {
			t.Errorf("%s: group %q and %q", name, got, first)
		}
	}
	strike := func(bit int) string { return group(func(s *trial.Spec) { s.Strike = &trial.Strike{Bit: bit} }) }
	if strike(1) != strike(2) {
		t.Error("strikes at different bits start from different checkpoints")
	}
}

// inTwoPieces is a structure of 16 bits whose halves lie in two pages, beginning at bit 4 of a byte.
func inTwoPieces() Structure {
	s := Structure{
		Path: "spa->spa_word", Type: "uint16_t", Size: 16, Shift: 4,
		Pieces: []kernel.Piece{{Virt: 0xffff880000000fff, Phys: 0x0f, Len: 1}, {Virt: 0xffff880000001000, Phys: 0x40, Len: 2}},
	}
	for range s.Size {
		s.Fields = append(s.Fields, "spa_word")
	}
	return s
}

// frozen is a bench that has the checkpoint of an instant at which two of a workload's steps had begun.
func frozen(t *testing.T, begun int) *site {
	t.Helper()
	s := newSite(t, "booted", "instant")
	s.machine.RAM = make([]byte, 0x100)
	note, err := json.Marshal(map[string]any{"begun": begun, "note": inTwoPieces()})
	if err != nil {
		t.Fatal(err)
	}
	s.note = string(note)
	return s
}

func strikeAt(bit int) trial.Spec {
	spec := specOf("first")
	spec.Strike = &trial.Strike{Target: "spa.spa_word", Trigger: scenarios.Trigger{At: "spa_sync", Hit: 2}, Bit: bit, Txgs: 2, Seed: 5}
	return spec
}

// TestStrike expects one bit of the machine's memory to be another before its CPUs run, and the record to say which.
func TestStrike(t *testing.T) {
	for bit, c := range map[int]struct {
		phys, virt uint64
		mask       byte
	}{
		0:  {0x0f, 0xffff880000000fff, 1 << 4},
		3:  {0x0f, 0xffff880000000fff, 1 << 7},
		4:  {0x40, 0xffff880000001000, 1},
		11: {0x40, 0xffff880000001000, 1 << 7},
		12: {0x41, 0xffff880000001001, 1},
		15: {0x41, 0xffff880000001001, 1 << 3},
	} {
		s := frozen(t, 1)
		log := filepath.Join(t.TempDir(), "log")
		s.guest.Program("zpool", `echo "$1" >>`+log+"\n"+`[ "$1" != status ] || cat `+healthyPool(t))
		one, err := s.Prepare(t.Context(), strikeAt(bit))
		if err != nil {
			t.Fatal(err)
		}
		r, err := one.Do(t.Context(), Options{Bundle: filepath.Join(t.TempDir(), "bundle")})
		if err != nil || r.Outcome != trial.Masked || len(r.Injections) != 1 || r.Control || !s.forks[0].Paused {
			t.Fatalf("bit %d: %s because %q, %v, forked %+v", bit, r.Outcome, r.Reason, err, s.forks)
		}
		in := r.Injections[0]
		if in.Phys != c.phys || in.Virt != c.virt || in.BitsChanged() != 1 || in.Before[0]^in.After[0] != c.mask || !strings.HasPrefix(in.Target, "spa->spa_word bit ") || in.Trigger != "hit 2 of spa_sync" {
			t.Errorf("bit %d: the record is %+v", bit, in)
		}
		for at, b := range s.machine.RAM {
			if want := map[uint64]byte{c.phys: c.mask}[uint64(at)]; b != want {
				t.Errorf("bit %d: at %#x is %#x, want %#x", bit, at, b, want)
			}
		}
		// The workload's only step had begun at the instant; as many txgs are synced as asked for, and one at the end of all trials.
		if text, err := os.ReadFile(log); err != nil || string(text) != "sync\nsync\nsync\nstatus\n" {
			t.Errorf("bit %d: the guest was told %q, %v", bit, text, err)
		}
	}
}

// TestStrikeWithheld expects a control to change nothing, and to be counted as one.
func TestStrikeWithheld(t *testing.T) {
	s := frozen(t, 0)
	s.guest.Program("zpool", `[ "$1" != status ] || cat `+healthyPool(t))
	spec := strikeAt(3)
	spec.Strike.Withhold = true
	one, err := s.Prepare(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	r, err := one.Do(t.Context(), Options{Bundle: filepath.Join(t.TempDir(), "bundle")})
	if err != nil || r.Outcome != trial.Masked || !r.Control || len(r.Injections) != 1 || !r.Injections[0].Withheld || r.Injections[0].BitsChanged() != 0 {
		t.Errorf("got %+v, %v", r, err)
	}
	if slices.ContainsFunc(s.machine.RAM, func(b byte) bool { return b != 0 }) {
		t.Error("memory was changed")
	}
}

// TestStrikeFails expects a bit that the structure lacks to be an error, and memory that is not there to make the trial invalid.
func TestStrikeFails(t *testing.T) {
	for _, bit := range []int{-1, 16} {
		if _, err := frozen(t, 0).Prepare(t.Context(), strikeAt(bit)); err == nil || !strings.Contains(err.Error(), "spa->spa_word has bits 0-15") {
			t.Errorf("bit %d: %v", bit, err)
		}
	}
	s := frozen(t, 0)
	s.machine.RAM = nil
	one, err := s.Prepare(t.Context(), strikeAt(0))
	if err != nil {
		t.Fatal(err)
	}
	r, err := one.Do(t.Context(), Options{Bundle: filepath.Join(t.TempDir(), "bundle")})
	if err != nil || r.Outcome != trial.Invalid || !strings.Contains(r.Reason, "no memory at physical 0xf") {
		t.Errorf("got %s because %q, %v", r.Outcome, r.Reason, err)
	}
	s = frozen(t, 0)
	s.note = "{"
	if _, err := s.Prepare(t.Context(), strikeAt(0)); err == nil || !strings.Contains(err.Error(), "is not whole, remove it") {
		t.Errorf("a damaged note: %v", err)
	}
	moment := fault.Moment{}
	moment.Scope.ZFS = nil
	if _, err := examine(&moment, "spa["); err == nil || !strings.Contains(err.Error(), "target spa[: column 5") {
		t.Errorf("a target that is none: %v", err)
	}
}

// TestExpectationOfVersion expects trials of several versions to know each what is expected on its own.
func TestExpectationOfVersion(t *testing.T) {
	b := &Bench{}
	elsewhere := strings.Replace(text, "rate: 0.5}", "rate: 0.5, versions: {2.3.9..: reproduces}}", 1)
	for _, c := range []struct {
		openzfs string
		want    scenarios.Verdict
	}{{"2.3.2", scenarios.DoesNotReproduce}, {"2.3.9", scenarios.Reproduces}, {"2.4.4-gabc", scenarios.Reproduces}, {"2.3.2", scenarios.DoesNotReproduce}} {
		s, _, err := b.resolve(trial.Spec{Name: "scripted", Scenario: elsewhere, Arm: "first", OpenZFS: c.openzfs})
		if err != nil || s.Expect.Verdict != c.want {
			t.Errorf("on %s: %v, %v; want %s", c.openzfs, s, err, c.want)
		}
	}
}
