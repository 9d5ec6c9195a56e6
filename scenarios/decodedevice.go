package scenarios

import (
	"slices"
	"time"
)

// deviceActions are the ways of a disk to misbehave, with the keys that each of them takes beside those of which requests.
var deviceActions = []struct {
	word string
	keys []string
	// whole ones are done to a disk as it is, not to requests.
	whole bool
}{
	{word: "lost-write"},
	{word: "torn-write", keys: []string{"sectors"}},
	{word: "misdirected-write", keys: []string{"by"}},
	{word: "reordered-write", keys: []string{"writes"}},
	{word: "stale-read"},
	{word: "lying-flush"},
	{word: "latency", keys: []string{"late"}},
	{word: "error"},
	{word: "gone", keys: []string{"for"}},
	{word: "swapped", whole: true},
	{word: "power-cut", whole: true},
}

// whichRequests are the keys that say which requests an action is done to.
var whichRequests = []string{"op", "class", "dataset", "nth", "times", "probability"}

const mostLate = time.Minute

func (d *decoder) decodeDevice(n *node, m Machine) *DeviceFault {
	f := d.fields(n, "device", "fault: {device: {disks: v0, do: lost-write, nth: 20, times: 1}}", append([]string{
		"disks", "do", "sectors", "by", "writes", "late", "for", "cache", "keep",
	}, whichRequests...)...)
	v := &DeviceFault{Disks: d.decodeDisks(f, m), Sectors: 1, By: 1 << 20, Writes: 8, Late: 500 * time.Millisecond}
	words := make([]string, len(deviceActions))
	for i, a := range deviceActions {
		words[i] = a.word
	}
	v.Do = d.oneOf(f.need("do", "lost-write"), f.name("do"), words...)
	if m.Clock == Counted {
		d.errorf(n.line, "the disks of a guest that counts its time are memory, which answers no requests", "take clock out of machine, or write another fault than device")
	}
	d.decodeAction(f, v)
	d.decodeWhich(f, v)
	if f.has("cache") {
		v.Cache = f.size("cache", "16MiB")
	} else if v.Do == "power-cut" {
		d.errorf(f.n.line, "device has no cache, and without one the power takes nothing from a disk", "write for example cache: 16MiB")
	}
	if f.has("keep") {
		v.Keep = f.share("keep", "0.5")
		if !f.has("cache") {
			d.errorf(f.n.entry("keep").line, "keep of device is for what is in the cache, and there is none", "write cache: 16MiB beside it, or take it out")
		}
	}
	d.checkDevice(f, v)
	return v
}

// decodeDisks decodes a list of the machine's disks.
func (d *decoder) decodeDisks(f fields, m Machine) []string {
	disks := d.words(f.need("disks", "[v0]"), f.name("disks"), "[v0]")
	for i, disk := range disks {
		if !slices.Contains(m.Names(), disk) {
			d.wrong(f.vals["disks"].at(i), "%s: the machine has no disk %q", "%s", f.name("disks"), disk, instead(disk, m.Names()))
		} else if slices.Contains(disks[:i], disk) {
			d.wrong(f.vals["disks"].at(i), "%s: %s stands there twice", "write each disk once", f.name("disks"), disk)
		}
	}
	return disks
}

// decodeAction decodes what goes with one action or another. With a var for the action it is there for those that take it.
func (d *decoder) decodeAction(f fields, v *DeviceFault) {
	if f.has("sectors") {
		v.Sectors = f.integer("sectors", "1", 1, 1<<16)
	}
	if f.has("by") {
		v.By = f.size("by", "1MiB")
	}
	if f.has("writes") {
		v.Writes = f.integer("writes", "8", 1, 1_000_000)
	}
	if f.has("late") {
		if v.Late = f.duration("late", "500ms"); v.Late > mostLate {
			d.wrong(f.vals["late"], "late of device: %s is longer than a trial waits", "write at most %s", v.Late, mostLate)
		}
	}
	if f.has("for") {
		v.For = f.duration("for", "10s")
	}
}

// decodeWhich decodes which requests are met.
func (d *decoder) decodeWhich(f fields, v *DeviceFault) {
	if f.has("op") {
		v.Op = d.oneOf(f.vals["op"], f.name("op"), "read", "write", "flush", "trim", "zero")
	}
	if f.has("class") {
		v.Class = d.oneOf(f.vals["class"], f.name("class"), vdevClasses...)
	}
	if f.has("dataset") {
		v.Dataset = d.dataset(f.vals["dataset"], f.name("dataset"), "tank/d")
		if v.Class != "" && !slices.Contains(inDatasets, v.Class) && len(references(f.vals["class"].text)) == 0 || !f.has("class") {
			d.wrong(f.vals["dataset"], "dataset of device goes with a class of what datasets have", "take it out, or write class: file")
		}
	}
	if f.has("nth") {
		v.Nth = f.integer("nth", "20", 1, 1_000_000_000)
	}
	if f.has("times") {
		v.Times = f.integer("times", "1", 1, 1_000_000_000)
	}
	if f.has("probability") {
		if v.Probability = f.share("probability", "0.01"); v.Probability == 0 && v.Do != "" {
			d.wrong(f.vals["probability"], "probability of device: with 0 no request is met", "write for example 0.01")
		}
	}
}

// checkDevice finds what does not go together.
func (d *decoder) checkDevice(f fields, v *DeviceFault) {
	if f.n == nil || v.Do == "" {
		return
	}
	chosen := len(references(f.vals["do"].text)) > 0 // by a var: the keys are for other arms
	for _, a := range deviceActions {
		for _, key := range a.keys {
			if f.has(key) && a.word != v.Do && !chosen {
				d.errorf(f.n.entry(key).line, "%s goes with do: %s", "take it out", f.name(key), a.word)
			}
		}
		if a.word != v.Do {
			continue
		}
		for _, key := range whichRequests {
			if a.whole && f.has(key) && !chosen {
				d.errorf(f.n.entry(key).line, "%s is about requests, and %s about a disk as it is", "take it out", f.name(key), a.word)
			}
		}
	}
	if v.Do == "swapped" && v.Disks != nil && len(v.Disks) != 2 {
		d.wrong(f.vals["disks"], "disks of device: two disks are swapped, not %d", "write for example [v0, v1]", len(v.Disks))
	}
}
