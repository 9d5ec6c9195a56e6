package trial

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/scenarios"
)

// whole is a spec without a field that is empty.
func whole() Spec {
	return Spec{
		Version: SpecVersion, Name: "scripted", Scenario: scripted, Arm: "fault", Number: 7, Seed: 1<<64 - 2, Image: "2.3.2-a-b", OpenZFS: "2.3.2",
		Driver: "qemu", Accel: "kvm", Watch: 90 * time.Second,
		Strike: &Strike{
			Target: "spa.vdev[0]->ms[1]", Trigger: scenarios.Trigger{At: "spa_sync", Hit: 3, When: map[string]string{"txg": "42"}}, Txgs: 2, Bit: 9, Withhold: true, Seed: 5,
		},
		Cut: &Cut{States: 8, Lying: true, Cache: 1 << 20, Promises: time.Second, Record: "a"},
	}
}

const scripted = `name: scripted
question: Does anything happen?
claim: "Nothing does."
cause: disk
cost: fast
machine: {cpus: 1, memory: 512MiB, disks: {v0: 128MiB}}
vars: {size: 4KiB}
pool: {name: tank, layout: v0}
prepare:
  - write: {file: /tank/f, size: "${size}", content: first}
workload: [sync]
arms:
  - name: small
  - name: large
    control: true
    vars: {size: 1MiB}
trials: 1
limit: 20s
expect: {verdict: does not reproduce, rate: 0.5, outcomes: {small: masked, large: masked}}
`

// each visits all fields of a value that have no fields of their own. What a visit changes is put back.
func each(v reflect.Value, path string, visit func(path string, field reflect.Value)) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			each(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	case reflect.Pointer:
		each(v.Elem(), path, visit)
	default:
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		visit(path, v)
		v.Set(was)
	}
}

// changed gives a field another value.
func changed(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch {
	case v.Kind() == reflect.String:
		v.SetString(v.String() + "x")
	case v.CanInt():
		v.SetInt(v.Int() + 1)
	case v.CanUint():
		v.SetUint(v.Uint() + 1)
	case v.Kind() == reflect.Bool:
		v.SetBool(!v.Bool())
	case v.Type() == reflect.TypeFor[map[string]string]():
		v.Set(reflect.ValueOf(map[string]string{"txg": "43"}))
	default:
		t.Fatalf("%s is a %s, of which the test has no other value", path, v.Type())
	}
}

// TestIDs expects an ID to tell apart specs that differ in any one field, and to be the same for ever: stores go by it.
func TestIDs(t *testing.T) {
	s := whole()
	s.Scenario = "name: scripted\n" // the ID is pinned, this test's scenario is not
	const pinned = "728734ddf41039a721c72452b73355c2"
	if got := s.ID(); got != pinned {
		t.Errorf("the ID is %s, want %s", got, pinned)
	}
	seen := map[string]string{s.ID(): "none"}
	each(reflect.ValueOf(&s), "spec", func(path string, field reflect.Value) {
		if field.IsZero() {
			t.Errorf("%s is empty: whole lacks it", path)
		}
		changed(t, path, field)
		if other := seen[s.ID()]; other != "" {
			t.Errorf("a change of %s gives the ID that a change of %s gives", path, other)
		}
		seen[s.ID()] = path
	})
	if s.Strike = nil; seen[s.ID()] != "" {
		t.Error("without its strike a spec has the ID of one with it")
	}
}

// TestImages expects a pair to be told apart, and one image to be both.
func TestImages(t *testing.T) {
	one, two := Image{"2.3.2-a-b", "2.3.2"}, Image{"tree-c", "2.4.99-gabc"}
	pair := one.Then(two)
	if first, later := (Spec{Image: pair.ID, OpenZFS: pair.OpenZFS}).Images(); first != one || later != two {
		t.Errorf("of %v: %v, %v", pair, first, later)
	}
	if first, later := whole().Images(); first != one || later != one {
		t.Errorf("of one: %v, %v", first, later)
	}
}

// TestSpecRoundTrip expects every field to survive the JSON form, in a spec with all of them and in one with few.
func TestSpecRoundTrip(t *testing.T) {
	scenario := whole()
	scenario.Strike, scenario.Watch = nil, 0
	for _, s := range []Spec{whole(), scenario} {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseSpec(text)
		if err != nil || !reflect.DeepEqual(got, s) || got.ID() != s.ID() {
			t.Errorf("%s came back as %+v, %v", text, got, err)
		}
	}
}

func TestParseSpecRefuses(t *testing.T) {
	good, err := json.Marshal(whole())
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(old, with string) string {
		text := strings.Replace(string(good), old, with, 1)
		if text == string(good) {
			t.Fatalf("%s is not in %s", old, good)
		}
		return text
	}
	for name, c := range map[string]struct{ text, want string }{
		"no JSON":                       {"name: scripted", "read spec: invalid character"},
		"nothing":                       {"", "read spec: unexpected end"},
		"two specs":                     {string(good) + string(good), "read spec: invalid character"},
		"no version":                    {replaced(`"version":1,`, ""), "it has version 0, this vdevil knows 1"},
		"a later version":               {replaced(`"version":1`, `"version":2`), "it has version 2, this vdevil knows 1: use the one that wrote it"},
		"a later version, other fields": {`{"version": 3, "arm": ["a", "b"]}`, "it has version 3"},
		"an unknown field":              {replaced(`"seed"`, `"speed":2,"seed"`), `read spec: json: unknown field "speed"`},
		"an unknown field of a strike":  {replaced(`"bit"`, `"bits":2,"bit"`), `read spec: json: unknown field "bits"`},
		"a wrong type":                  {replaced(`"number":7`, `"number":"seven"`), "read spec: json: cannot unmarshal string"},
		"a seed that is too large":      {replaced(`18446744073709551614`, `18446744073709551616`), "read spec: json: cannot unmarshal number"},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := ParseSpec([]byte(c.text)); err == nil || !strings.HasPrefix(err.Error(), "read spec: ") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %+v, %v; want %s", s, err, c.want)
			}
		})
	}
}

// TestResolve expects the scenario in a spec to be read, and the arm's own values in it.
func TestResolve(t *testing.T) {
	for arm, size := range map[string]int64{"small": 4 << 10, "large": 1 << 20} {
		s, r, err := Spec{Name: "scripted", Scenario: scripted, Arm: arm}.Resolve()
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != "scripted" || r.Scenario != "scripted" || r.Arm.Name != arm || r.Arm.Control != (arm == "large") || r.Prepare[0].Write.Size != size {
			t.Errorf("arm %s: %+v of %s", arm, r, s.Name)
		}
	}
	for name, c := range map[string]struct {
		spec Spec
		want string
	}{
		"another arm": {Spec{Name: "scripted", Scenario: scripted, Arm: "none"}, "none"},
		"no scenario": {Spec{Name: "edited", Scenario: "name: edited\nquest: x\n", Arm: "a"}, "the scenario in the spec of a trial: edited.yaml"},
	} {
		if _, _, err := c.spec.Resolve(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTitle(t *testing.T) {
	if got, want := whole().Title(), "scripted on OpenZFS 2.3.2, fault/7"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCrash expects a crash to be what stops the kernel, and nothing else.
func TestCrash(t *testing.T) {
	var crashes []Outcome
	for _, o := range Outcomes() {
		if o.Crash() {
			crashes = append(crashes, o)
		}
	}
	if got := fmt.Sprint(crashes); got != "[panic oops hang]" {
		t.Errorf("crashes are %s", got)
	}
}
