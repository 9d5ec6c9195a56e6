package scenarios

import (
	"encoding/hex"
	gopath "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var (
	code      = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.]*(\+0x[0-9a-f]+)?|0x[0-9a-f]{1,16})$`)
	txg       = regexp.MustCompile(`^txg( |\+)[1-9][0-9]{0,17}$`)
	path      = regexp.MustCompile(`^&?[A-Za-z_](\("[^"]*"\)|\([0-9, ]*\)|"[^"]*"|->|[A-Za-z0-9_.\[\]*:/@+-])*$`)
	class     = regexp.MustCompile(`^[a-z][a-z0-9-]*(:[A-Za-z_][A-Za-z0-9_ ]*)?$`)
	registers = strings.Fields("rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip")
)

const (
	codeMeans = "a function, function+0x12 or an address"
	pathMeans = "the path of a place in memory"
	pathLike  = "blkptr.blk_dva[0]"
	mostBits  = 8 * 8 << 10 // of one strike: a row
)

// faults are the kinds by their words.
var faults = []struct {
	word   string
	decode func(*decoder, *node, Machine, *Fault)
}{
	{"blkptr-dva-flip", func(d *decoder, n *node, _ Machine, f *Fault) { f.BlkptrDVAFlip = d.decodeDVAFlip(n) }},
	{"vdev-bitrot", func(d *decoder, n *node, m Machine, f *Fault) { f.VdevBitrot = d.decodeBitrot(n, m) }},
	{"vdev", func(d *decoder, n *node, m Machine, f *Fault) { f.Vdev = d.decodeVdev(n, m) }},
	{"forge", func(d *decoder, n *node, _ Machine, f *Fault) { f.Forge = d.decodeForge(n) }},
	{"memory", func(d *decoder, n *node, _ Machine, f *Fault) { f.Memory = d.decodeMemory(n) }},
	{"register", func(d *decoder, n *node, _ Machine, f *Fault) { f.Register = d.decodeRegister(n) }},
	{"hold", func(d *decoder, n *node, m Machine, f *Fault) { f.Hold = d.decodeHold(n, m) }},
	{"device", func(d *decoder, n *node, m Machine, f *Fault) { f.Device = d.decodeDevice(n, m) }},
}

func (d *decoder) decodeFault(n *node, m Machine) *Fault {
	words := make([]string, len(faults))
	for i, kind := range faults {
		words[i] = kind.word
	}
	f := d.fields(n, "fault", "fault: {memory: {at: now, class: zfs, flip: {bits: 1}}}", words...)
	if f.n == nil {
		return nil
	}
	if len(f.n.entries) != 1 {
		d.errorf(f.n.line, "fault has %d kinds", "write exactly one of %s", len(f.n.entries), either(words))
	}
	for _, kind := range faults {
		if f.has(kind.word) {
			out := &Fault{}
			kind.decode(d, f.vals[kind.word], m, out)
			return out
		}
	}
	return nil
}

func (d *decoder) decodeDVAFlip(n *node) *BlkptrDVAFlip {
	f := d.fields(n, "blkptr-dva-flip", "fault: {blkptr-dva-flip: {at: zio_free_sync, after: 8}}", "at", "after")
	return &BlkptrDVAFlip{
		At:    f.match("at", identity, "the name of a kernel function", "zio_free_sync"),
		After: f.integer("after", "8", 0, 1_000_000),
	}
}

func (d *decoder) decodeBitrot(n *node, m Machine) *VdevBitrot {
	f := d.fields(n, "vdev-bitrot", "fault: {vdev-bitrot: {disks: [v0], extents: 16, bytes: 64}}", "disks", "extents", "bytes")
	return &VdevBitrot{
		Disks:   d.decodeDisks(f, m),
		Extents: f.integer("extents", "16", 1, 100_000),
		Bytes:   f.integer("bytes", "64", 1, 4096),
	}
}

func (d *decoder) decodeMemory(n *node) *MemoryFault {
	f := d.fields(n, "memory", "fault: {memory: {at: zio_free_sync, target: blkptr.blk_dva[0], flip: {bits: 1}}}",
		"at", "hit", "when", "rate", "target", "class", "part", "flip", "stuck", "write", "copy", "row", "ecc")
	v := &MemoryFault{ECC: "none"}
	if f.has("rate") {
		v.Rate = d.decodeRate(f)
	} else {
		v.Trigger = d.decodeTrigger(f)
	}
	if f.has("ecc") {
		v.ECC = d.oneOf(f.vals["ecc"], f.name("ecc"), "none", "secded", "chipkill")
	}
	switch f.one("target: "+pathLike, "target", "class", "part") {
	case "target":
		v.Targets = d.decodeTargets(f.vals["target"])
	case "class":
		v.Class = f.match("class", class, "the name of a class of memory", "arc-data-dirty")
	case "part":
		d.decodePart(f, v)
		return v
	}
	how := f.one("flip: {bits: 1}", "flip", "stuck", "write", "copy", "row")
	d.decodeDamage(f, how, v)
	d.checkMemory(f, how, v)
	return v
}

// modes are the parts of a memory module that fail together.
var modes = []string{"bit", "word", "column", "row", "bank", "banks", "ranks", "burst"}

// decodePart decodes a part of a memory module, which stands in place of a target and of what is done to it.
func (d *decoder) decodePart(f fields, v *MemoryFault) {
	for _, key := range []string{"flip", "stuck", "write", "copy", "row"} {
		if f.has(key) {
			d.errorf(f.n.entry(key).line, "%s stands beside part, which says what is wrong", "take one of them out", f.name(key))
		}
	}
	p := d.fields(f.vals["part"], "part", "part: {preset: jaguar-ddr2}", "preset", "mode", "lasting", "every")
	v.Part = &Part{Every: 10 * time.Millisecond}
	switch p.one("preset: jaguar-ddr2", "preset", "mode") {
	case "preset":
		v.Part.Preset = d.oneOf(p.vals["preset"], p.name("preset"), "jaguar-ddr2")
		if p.has("lasting") {
			d.errorf(p.n.entry("lasting").line, "lasting of part is drawn by the preset", "take it out, or write mode: row")
		}
	case "mode":
		v.Part.Mode = d.oneOf(p.vals["mode"], p.name("mode"), modes...)
		if p.has("lasting") {
			v.Part.Lasting = d.boolean(p.vals["lasting"], p.name("lasting"))
		}
		if v.Rate != nil {
			d.errorf(f.n.entry("rate").line, "rate of memory: how often a %s fails is known of a preset alone", "write preset: jaguar-ddr2 in part, or at: in place of rate", v.Part.Mode)
		}
	}
	if p.has("every") {
		v.Part.Every = p.duration("every", "10ms")
	}
}

// checkMemory finds what does not go together.
func (d *decoder) checkMemory(f fields, how string, v *MemoryFault) {
	switch {
	case v.Rate != nil && how != "flip" && how != "row" && how != "":
		d.errorf(f.n.entry(how).line, "%s of memory does not come at a rate", "write flip: {bits: 1}, or at: in place of rate", how)
	case v.ECC != "none" && v.ECC != "" && (how == "write" || how == "copy"):
		d.wrong(f.vals["ecc"], "ecc of memory: what is written wrong gets the right check bits, so ECC has no part in %s", "write ecc: none", how)
	case v.Class != "" && how == "copy":
		d.errorf(f.n.entry("class").line, "copy of memory has a class and no place", "write target: with the path of what is overwritten")
	case len(v.Targets) > 1 && how != "write" && how != "" && (v.Flip == nil || v.Flip.Bit == nil):
		d.errorf(f.n.entry("target").line, "target of memory is a list, whose members are to be hit alike", "write flip: {bit: 9} or write, or one target")
	case v.Class == "kernel-text" && (how == "stuck" || how == "row"):
		d.errorf(f.n.entry(how).line, "%s of memory cannot damage code", "write flip: {bits: 1}", how)
	}
}

// decodeTargets decodes a list of paths. One value with blanks between paths will do, so that a var can hold it; paths
// have commas in them, so words will not do.
func (d *decoder) decodeTargets(n *node) (all []string) {
	const what = "target of memory"
	items := n.items
	if n.kind != list {
		items = []*node{n}
	}
	for _, item := range items {
		s, ok := d.text(item, what, pathLike)
		if !ok {
			return nil
		}
		for _, p := range paths(s) {
			if !path.MatchString(p) {
				d.wrong(item, "%s: %q is not %s", "write for example %s", what, p, pathMeans, pathLike)
			}
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		d.errorf(n.line, "%s is an empty list", "write target: %s", what, pathLike)
	}
	return all
}

// paths parts what blanks part, those behind commas excepted, which are inside of brackets.
func paths(text string) (all []string) {
	for _, word := range strings.Fields(text) {
		if n := len(all); n > 0 && strings.HasSuffix(all[n-1], ",") {
			all[n-1] += " " + word
			continue
		}
		all = append(all, word)
	}
	return all
}

// decodeDamage decodes what is done to the target.
func (d *decoder) decodeDamage(f fields, how string, v *MemoryFault) {
	switch how {
	case "flip":
		v.Flip = d.decodeFlip(f.vals[how])
	case "stuck":
		f := d.fields(f.vals[how], how, "stuck: {bit: 9, value: 1, every: 10ms}", "bit", "value", "every")
		v.Stuck = &Stuck{Bit: f.bit(), Value: f.integer("value", "1", 0, 1), Every: f.duration("every", "10ms")}
	case "write":
		f := d.fields(f.vals[how], how, `write: {bytes: "00ff"}`, "bytes")
		v.Write = &WriteBytes{Bytes: f.text("bytes", `"00ff"`)}
		if _, err := hex.DecodeString(v.Write.Bytes); err != nil {
			d.wrong(f.vals["bytes"], "bytes of write: %q is not in hexadecimal, two digits a byte", `write for example "00ff"`, v.Write.Bytes)
		}
	case "copy":
		f := d.fields(f.vals[how], how, "copy: {from: "+pathLike+"}", "from")
		v.Copy = &Copy{From: f.match("from", path, pathMeans, pathLike)}
	case "row":
		f := d.fields(f.vals[how], how, "row: {bits: 8}", "bits")
		v.Row = &Row{Bits: f.integer("bits", "8", 1, mostBits)}
	}
}

func (d *decoder) decodeFlip(n *node) *Flip {
	f := d.fields(n, "flip", "flip: {bits: 1}", "bits", "adjacent", "bit")
	if bit := f.bit(); bit != nil {
		for _, key := range []string{"bits", "adjacent"} {
			if f.has(key) {
				d.errorf(f.n.entry(key).line, "%s stands beside bit, which is one bit and no other", "take one of them out", f.name(key))
			}
		}
		return &Flip{Bits: 1, Bit: bit}
	}
	v := &Flip{Bits: f.integer("bits", "1", 1, mostBits)}
	if f.has("adjacent") {
		v.Adjacent = d.boolean(f.vals["adjacent"], f.name("adjacent"))
	}
	return v
}

// decodeRate decodes a rate, which stands in place of a trigger.
func (d *decoder) decodeRate(f fields) *Rate {
	for _, key := range []string{"at", "hit", "when"} {
		if f.has(key) {
			d.errorf(f.n.entry(key).line, "%s stands beside rate, which strikes at random", "take one of them out", f.name(key))
		}
	}
	part := f.has("part")
	f = d.fields(f.vals["rate"], "rate", "rate: {fit_per_mbit: 0.065, time_scale: 1e12}", "fit_per_mbit", "time_scale")
	r := &Rate{TimeScale: f.positive("time_scale", "1e12")}
	switch {
	case !part:
		r.FITPerMbit = f.positive("fit_per_mbit", "0.065")
	case f.has("fit_per_mbit"):
		d.errorf(f.n.entry("fit_per_mbit").line, "fit_per_mbit of rate is what the preset of part knows", "take it out")
	}
	return r
}

// decodeTrigger decodes at, hit and when of a fault.
func (d *decoder) decodeTrigger(f fields) (t Trigger) {
	at, ok := d.text(f.need("at", "zio_free_sync"), f.name("at"), "at: zio_free_sync")
	_, hint := parseDuration(at)
	timed := at == "now" || hint == "" || txg.MatchString(at)
	if ok && !timed && !code.MatchString(at) {
		d.wrong(f.vals["at"], "at of %s: %q is no trigger", "write now, a duration like 2s, txg 42, txg+3, or %s", f.what, at, codeMeans)
	}
	t.At = at
	if timed && ok {
		for _, key := range []string{"hit", "when"} {
			if f.has(key) {
				d.errorf(f.n.entry(key).line, "%s goes with a place in code, not with %s", "write at: with a function, or take it out", f.name(key), at)
			}
		}
		return t
	}
	t.Hit = 1
	if f.has("hit") {
		t.Hit = f.integer("hit", "8", 1, 1_000_000)
	}
	if f.has("when") {
		t.When = d.settings(f.vals["when"], f.name("when"), "when: {txg: 42}")
		for _, p := range sortedKeys(t.When) {
			if !path.MatchString(p) {
				d.errorf(f.vals["when"].entry(p).line, "%s: %q is not %s", "write for example sm.sm_object: 37", f.name("when"), p, pathMeans)
			}
		}
	}
	return t
}

func (d *decoder) decodeRegister(n *node) *RegisterFault {
	f := d.fields(n, "register", "fault: {register: {at: space_map_write, argument: maptype, bit: 0}}",
		"at", "hit", "when", "argument", "register", "bit")
	v := &RegisterFault{Trigger: d.decodeTrigger(f), Bit: f.integer("bit", "0", 0, 63)}
	if v.At != "" && v.Hit == 0 {
		d.wrong(f.vals["at"], "at of register: what is in a register at a time is not known", "write %s", codeMeans)
	}
	switch f.one("argument: maptype", "argument", "register") {
	case "argument":
		v.Argument = f.match("argument", identity, "the name of a parameter", "maptype")
		if strings.Contains(v.At, "+") || strings.HasPrefix(v.At, "0x") {
			d.wrong(f.vals["argument"], "argument of register: registers hold arguments at the entry of a function only",
				"write register: rdx, or at: without an offset")
		}
	case "register":
		v.Register = d.oneOf(f.vals["register"], f.name("register"), registers...)
	}
	return v
}

// mostHeld keeps a CPU that is held from being taken for a lockup by the guest's kernel.
const mostHeld = 10 * time.Second

func (d *decoder) decodeHold(n *node, m Machine) *HoldFault {
	f := d.fields(n, "hold", "fault: {hold: {at: feature_sync, for: 500ms}}", "at", "hit", "when", "in", "arrivals", "for", "until")
	v := &HoldFault{For: f.duration("for", "500ms")}
	if f.has("in") {
		d.decodeAnywhere(f, v)
	} else if v.Trigger = d.decodeTrigger(f); v.At != "" && v.Hit == 0 {
		d.wrong(f.vals["at"], "at of hold: a CPU is held at a place in code", "write %s", codeMeans)
	}
	if v.For > mostHeld {
		d.wrong(f.vals["for"], "for of hold: the kernel takes a CPU that stands still for %s for one that is locked up", "write at most %s", v.For, mostHeld)
	}
	if f.has("until") {
		v.Until = f.match("until", code, codeMeans, "feature_do_action")
	}
	if m.CPUs == 1 {
		d.errorf(f.n.line, "hold needs a second CPU, which goes on meanwhile", "write cpus: 2 in machine")
	}
	return v
}

// decodeAnywhere decodes a place that is drawn, which stands in place of a trigger.
func (d *decoder) decodeAnywhere(f fields, v *HoldFault) {
	for _, key := range []string{"at", "hit", "when"} {
		if f.has(key) {
			d.errorf(f.n.entry(key).line, "%s stands beside in, which draws a place", "take one of them out", f.name(key))
		}
	}
	v.In = d.words(f.vals["in"], f.name("in"), "feature_*")
	for i, w := range v.In {
		if _, err := gopath.Match(w, ""); err != nil || !patternForm.MatchString(w) {
			d.wrong(f.vals["in"].at(i), "in of hold: %q is no pattern of functions' names", "write for example feature_*", w)
		}
	}
	v.Arrivals = f.integer("arrivals", "20", 1, 100_000)
}

var patternForm = regexp.MustCompile(`^[A-Za-z_*?\[][A-Za-z0-9_*?\[\]-]*$`)

// one is the key of several that is there. Exactly one must be.
func (f fields) one(example string, keys ...string) (key string) {
	if f.n == nil {
		return ""
	}
	for _, k := range keys {
		switch {
		case !f.has(k) || key == k:
		case key == "":
			key = k
		default:
			f.d.errorf(f.n.entry(k).line, "%s has %s and %s", "write exactly one of %s", f.what, key, k, either(keys))
		}
	}
	guessed := slices.ContainsFunc(keys, func(k string) bool { return f.guessed[k] })
	if key == "" && !guessed {
		f.d.errorf(f.n.line, "%s has none of %s", "write for example %s", f.what, strings.Join(keys, ", "), example)
	}
	return key
}

// bit is a bit's number if one is written.
func (f fields) bit() *int {
	if !f.has("bit") {
		return nil
	}
	bit := f.integer("bit", "9", 0, 1<<40)
	return &bit
}

// share is a number from 0 to 1.
func (f fields) share(key, example string) float64 {
	s, ok := f.d.text(f.need(key, example), f.name(key), key+": "+example)
	v, err := strconv.ParseFloat(s, 64)
	if ok && (err != nil || !(v >= 0 && v <= 1)) {
		f.d.wrong(f.vals[key], "%s: %q is no number from 0 to 1", "write for example %s", f.name(key), s, example)
	}
	return v
}

// positive is a number above 0, whole or not.
func (f fields) positive(key, example string) float64 {
	s, ok := f.d.text(f.need(key, example), f.name(key), key+": "+example)
	v, err := strconv.ParseFloat(s, 64)
	if ok && (err != nil || !(v > 0 && v <= 1e30)) {
		f.d.wrong(f.vals[key], "%s: %q is no number above 0", "write for example %s", f.name(key), s, example)
	}
	return v
}

// either is a choice in words.
func either(words []string) string {
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}
