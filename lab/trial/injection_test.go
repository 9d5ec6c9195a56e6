package trial

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// struck is an injection without a field that is empty.
func struck() Injection {
	return Injection{
		Fault: "memory", Time: time.Date(2025, 6, 1, 12, 0, 0, 1, time.UTC), Target: `spa("tank")->spa_root_vdev`, Trigger: "hit 3 of spa_sync when txg = 42", Hit: 3,
		Arguments: map[string]string{"spa": "0xffff888000000000"}, Withheld: true, Virt: 0xffff888000000001, Phys: 0x1000,
		Disk: "v0", Offset: 512, File: "/tank/<a>&b", Before: Bytes{0, 0xff}, After: Bytes{1, 0x7f}, ECC: "detected", SECDED: "silent", Amiss: true, Reapplied: 2, Effect: "a->b",
	}
}

// TestInjectionRoundTrip expects every field to survive the JSON form, beside the number of changed bits.
func TestInjectionRoundTrip(t *testing.T) {
	whole := reflect.ValueOf(struck())
	for i := range whole.NumField() {
		if whole.Field(i).IsZero() {
			t.Errorf("%s is empty: struck lacks it", whole.Type().Field(i).Name)
		}
	}
	for _, in := range []Injection{struck(), {}} {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var got Injection
		if err := json.Unmarshal(text, &got); err != nil || !reflect.DeepEqual(got, normal(in)) {
			t.Errorf("%s came back as %+v, %v", text, got, err)
		}
		var extra struct {
			BitsChanged *int `json:"bits_changed"`
		}
		if err := json.Unmarshal(text, &extra); err != nil || extra.BitsChanged == nil || *extra.BitsChanged != in.BitsChanged() {
			t.Errorf("no number of changed bits in %s, %v", text, err)
		}
	}
}

// normal is an injection as it is read: no bytes are an empty text.
func normal(in Injection) Injection {
	if in.Before == nil {
		in.Before, in.After = Bytes{}, Bytes{}
	}
	return in
}

// TestInjectionIsReadable expects people to find in the JSON form the paths that they know, and bytes in hexadecimal.
func TestInjectionIsReadable(t *testing.T) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	if err := enc.Encode([]Injection{struck()}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`->spa_root_vdev"`, `"/tank/<a>&b"`, `"before":"00ff"`, `"after":"017f"`, `"bits_changed":2`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %s in %s", want, &text)
		}
	}
}

func TestBitsChanged(t *testing.T) {
	for _, c := range []struct {
		before, after Bytes
		want          int
	}{
		{nil, nil, 0},
		{Bytes{1, 2, 3}, Bytes{1, 2, 3}, 0},
		{Bytes{0, 0}, Bytes{0, 0x80}, 1},
		{Bytes{0xff, 0x0f}, Bytes{0, 0xf0}, 16},
		{Bytes{0xff, 0xff}, Bytes{0}, 8}, // what has no counterpart did not change
	} {
		if got := (Injection{Before: c.before, After: c.after}).BitsChanged(); got != c.want {
			t.Errorf("%x to %x: %d bits, want %d", c.before, c.after, got, c.want)
		}
	}
}

func TestBytesRefuse(t *testing.T) {
	for _, text := range []string{`"0"`, `"zz"`, `[1, 2]`} {
		var b Bytes
		if err := json.Unmarshal([]byte(text), &b); err == nil {
			t.Errorf("%s was read as %x", text, b)
		}
	}
}
