package fault

import (
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab/kernel"
)

func TestParseTrigger(t *testing.T) {
	for text, want := range map[string]Trigger{
		"now":                  {},
		"1m30s":                {After: 90 * time.Second},
		"txg 42":               {TXG: TXG{Number: 42}},
		"txg+3":                {TXG: TXG{Number: 3, Relative: true}},
		"zio_free_sync":        {At: "zio_free_sync"},
		"space_map_write+0x12": {At: "space_map_write+0x12"},
		"f.constprop.0":        {At: "f.constprop.0"},
		"0xffffffffc0a01230":   {At: "0xffffffffc0a01230"},
	} {
		got, err := ParseTrigger(text)
		if err != nil || got.String() != want.String() || got.Now() != (text == "now") {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
		if got.String() != text {
			t.Errorf("%s prints as %s", text, got)
		}
	}
	for _, text := range []string{"", "txg 0", "txg+0", "txg 99999999999999999999", "-2s", "zio free", "+0x12"} {
		if got, err := ParseTrigger(text); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
	full := Trigger{At: "f", Hit: 2, When: []Condition{{"a.b", "1"}, {"c", "x"}}}
	if want := "hit 2 of f when a.b = 1, c = x"; full.String() != want {
		t.Errorf("%s, want %s", full, want)
	}
}

// CheckPlaces wants functions that have no entry of their own to be refused.
func CheckPlaces(t *testing.T, types *kernel.Types) {
	k := kernel.New(nil, types, kernel.Layout{})
	for at, want := range map[string]string{
		"zio_execute_stack_check": "zio_execute_stack_check.constprop.0",
		"zio free":                "is no place in code",
	} {
		if _, err := findPlace(t.Context(), Site{}, k, at); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s in it", at, err, want)
		}
	}
	if p, err := findPlace(t.Context(), Site{}, k, "0xffffffffc0a01230"); err != nil || p.addr != 0xffffffffc0a01230 || p.fn != nil {
		t.Errorf("%+v, %v", p, err)
	}
}
