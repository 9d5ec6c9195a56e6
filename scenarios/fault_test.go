package scenarios

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// withFault is the good file with another fault, which begins in line 33.
func withFault(t *testing.T, fault string) string {
	t.Helper()
	unused := change(t, good, "  sides: v0\n", "  sides: none\n", "run: echo $HOME $${HOME}", `run: "echo ${sides}"`)
	return change(t, unused, `  vdev-bitrot: {disks: "${sides}", extents: 16, bytes: 64}`, fault)
}

func number(n int) *int { return &n }

func TestFaults(t *testing.T) {
	at := func(at string) Trigger { return Trigger{At: at} }
	code := func(at string, hit int, when map[string]string) Trigger { return Trigger{At: at, Hit: hit, When: when} }
	for text, want := range map[string]Fault{
		`memory: {at: now, class: arc-data-dirty, flip: {bits: 3, adjacent: true}, ecc: chipkill}`: {Memory: &MemoryFault{
			Trigger: at("now"), Class: "arc-data-dirty", Flip: &Flip{Bits: 3, Adjacent: true}, ECC: "chipkill",
		}},
		`memory: {at: zio_free_sync, hit: 8, when: {txg: 42, spa.spa_name: tank}, target: "blkptr.blk_dva[0].dva_word[1]", flip: {bit: 9}, ecc: "${sides}"}`: {Memory: &MemoryFault{
			Trigger: code("zio_free_sync", 8, map[string]string{"txg": "42", "spa.spa_name": "tank"}),
			Targets: []string{"blkptr.blk_dva[0].dva_word[1]"}, Flip: &Flip{Bits: 1, Bit: number(9)}, ECC: "none",
		}},
		`memory: {at: txg+3, target: 'spa("tank").vdev[0].ms[*].ms_allocatable.seg[last].rs_end', stuck: {bit: 0, value: 1, every: 10ms}}`: {Memory: &MemoryFault{
			Trigger: at("txg+3"), Targets: []string{`spa("tank").vdev[0].ms[*].ms_allocatable.seg[last].rs_end`},
			Stuck: &Stuck{Bit: number(0), Value: 1, Every: 10 * time.Millisecond}, ECC: "none",
		}},
		`memory: {at: txg 42, class: "struct:dnode_t", row: {bits: 8}}`: {Memory: &MemoryFault{
			Trigger: at("txg 42"), Class: "struct:dnode_t", Row: &Row{8}, ECC: "none",
		}},
		`memory: {at: 2s, target: spa.spa_uberblock, write: {bytes: "00ff"}}`: {Memory: &MemoryFault{
			Trigger: at("2s"), Targets: []string{"spa.spa_uberblock"}, Write: &WriteBytes{"00ff"}, ECC: "none",
		}},
		`memory: {at: now, target: ["a.seg[3]", "a.dbuf(0, 2).seg[3].twin"], flip: {bit: 9}}`: {Memory: &MemoryFault{
			Trigger: at("now"), Targets: []string{"a.seg[3]", "a.dbuf(0, 2).seg[3].twin"}, Flip: &Flip{Bits: 1, Bit: number(9)}, ECC: "none",
		}},
		`memory: {at: now, target: "a->b[1]", copy: {from: "a->b[0]"}}`: {Memory: &MemoryFault{
			Trigger: at("now"), Targets: []string{"a->b[1]"}, Copy: &Copy{"a->b[0]"}, ECC: "none",
		}},
		`memory: {at: now, part: {mode: row, lasting: true, every: 5ms}, ecc: secded}`: {Memory: &MemoryFault{
			Trigger: at("now"), Part: &Part{Mode: "row", Lasting: true, Every: 5 * time.Millisecond}, ECC: "secded",
		}},
		`memory: {rate: {time_scale: 1e10}, part: {preset: jaguar-ddr2}}`: {Memory: &MemoryFault{
			Rate: &Rate{TimeScale: 1e10}, Part: &Part{Preset: "jaguar-ddr2", Every: 10 * time.Millisecond}, ECC: "none",
		}},
		`memory: {rate: {fit_per_mbit: 50000, time_scale: 1e4}, class: zfs, flip: {bits: 1}}`: {Memory: &MemoryFault{
			Rate: &Rate{50000, 1e4}, Class: "zfs", Flip: &Flip{Bits: 1}, ECC: "none",
		}},
		`vdev: {class: space-map, copies: all, garbage: {bytes: 512}}`: {Vdev: &VdevFault{
			Class: "space-map", Blocks: 1, AllCopies: true, Garbage: 512,
		}},
		`vdev: {class: file, dataset: tank/d, copies: one, blocks: 3, flip: {bits: 2}}`: {Vdev: &VdevFault{
			Class: "file", Dataset: "tank/d", Blocks: 3, Flip: 2,
		}},
		`vdev: {disk: v0, offset: 4194304, zero: {bytes: 4096}}`: {Vdev: &VdevFault{Disk: "v0", Offset: 4194304, Zero: 4096}},
		`register: {at: space_map_write, argument: maptype, bit: 0}`: {Register: &RegisterFault{
			Trigger: code("space_map_write", 1, nil), Argument: "maptype",
		}},
		`hold: {at: feature_sync, hit: 2, when: {refcount: 3}, for: 1s, until: feature_do_action}`: {Hold: &HoldFault{
			Trigger: Trigger{At: "feature_sync", Hit: 2, When: map[string]string{"refcount": "3"}}, For: time.Second, Until: "feature_do_action",
		}},
		`device: {disks: v0, do: torn-write, sectors: 3, op: write, class: uberblock, nth: 2, times: 1, probability: 0.5}`: {Device: &DeviceFault{
			Disks: []string{"v0"}, Do: "torn-write", Op: "write", Class: "uberblock", Nth: 2, Times: 1, Probability: 0.5,
			Sectors: 3, By: 1 << 20, Writes: 8, Late: 500 * time.Millisecond,
		}},
		`device: {disks: [v0, v1], do: power-cut, cache: 16MiB, keep: 0.25}`: {Device: &DeviceFault{
			Disks: []string{"v0", "v1"}, Do: "power-cut", Cache: 16 << 20, Keep: 0.25, Sectors: 1, By: 1 << 20, Writes: 8, Late: 500 * time.Millisecond,
		}},
		`hold: {in: [feature_*, "bpobj_*"], arrivals: 20, for: 1s}`: {Hold: &HoldFault{In: []string{"feature_*", "bpobj_*"}, Arrivals: 20, For: time.Second}},
		`register: {at: space_map_write+0x12, register: rdx, bit: 63}`: {Register: &RegisterFault{
			Trigger: code("space_map_write+0x12", 1, nil), Register: "rdx", Bit: 63,
		}},
	} {
		s, err := Parse("good.yaml", []byte(withFault(t, "  "+text)))
		if err != nil {
			t.Errorf("%s:\n%v", text, err)
			continue
		}
		got := *arm(t, s, "rot").Fault
		if !reflect.DeepEqual(got, want) {
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			t.Errorf("%s:\ngot  %s\nwant %s", text, a, b)
		}
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back Fault
		if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, got) {
			t.Errorf("%s does not come back from JSON: %v", data, err)
		}
		if kind, _, _ := strings.Cut(text, ":"); got.Kind() != kind {
			t.Errorf("kind %q, want %q", got.Kind(), kind)
		}
	}
}

func TestFaultErrors(t *testing.T) {
	for _, c := range []struct{ fault, want string }{
		{`memory: {at: now, class: zfs, flip: {bits: 1}, flop: 1}`, `memory has no key "flop"; write flip`},
		{`memory: {class: zfs, flip: {bits: 1}}`, `memory has no at; write at: zio_free_sync`},
		{`memory: {at: soon-ish, class: zfs, flip: {bits: 1}}`, `at of memory: "soon-ish" is no trigger; write now, a duration like 2s, txg 42, txg+3, or a function, function+0x12 or an address`},
		{`memory: {at: txg+0, class: zfs, flip: {bits: 1}}`, `at of memory: "txg+0" is no trigger; write now, a duration like 2s, txg 42, txg+3, or a function, function+0x12 or an address`},
		{`memory: {at: now, hit: 3, class: zfs, flip: {bits: 1}}`, `hit of memory goes with a place in code, not with now; write at: with a function, or take it out`},
		{`memory: {at: txg+3, when: {a: 1}, class: zfs, flip: {bits: 1}}`, `when of memory goes with a place in code, not with txg+3; write at: with a function, or take it out`},
		{`memory: {at: f, hit: 0, class: zfs, flip: {bits: 1}}`, `hit of memory: 0 is out of range; write 1 to 1000000`},
		{`memory: {at: f, when: {"a b": 1}, class: zfs, flip: {bits: 1}}`, `when of memory: "a b" is not the path of a place in memory; write for example sm.sm_object: 37`},
		{`memory: {at: now, part: {mode: row}, flip: {bits: 1}}`, `flip of memory stands beside part, which says what is wrong; take one of them out`},
		{`memory: {at: now, part: {preset: jaguar-ddr2, lasting: true}}`, `lasting of part is drawn by the preset; take it out, or write mode: row`},
		{`memory: {rate: {time_scale: 1}, part: {mode: row}}`, `rate of memory: how often a row fails is known of a preset alone; write preset: jaguar-ddr2 in part, or at: in place of rate`},
		{`memory: {rate: {fit_per_mbit: 1, time_scale: 1}, part: {preset: jaguar-ddr2}}`, `fit_per_mbit of rate is what the preset of part knows; take it out`},
		{`memory: {at: now, part: {preset: jaguar}}`, `preset of part: "jaguar" is unknown; write jaguar-ddr2`},
		{`memory: {at: now, part: {mode: rows}}`, `mode of part: "rows" is unknown; write row`},
		{`memory: {at: now, flip: {bits: 1}}`, `memory has none of target, class, part; write for example target: blkptr.blk_dva[0]`},
		{`memory: {at: now, clazz: zfs, flip: {bits: 1}}`, `memory has no key "clazz"; write class`},
		{`memory: {at: now, target: a, class: zfs, flip: {bits: 1}}`, `memory has target and class; write exactly one of target, class and part`},
		{`memory: {at: now, target: "a;b", flip: {bits: 1}}`, `target of memory: "a;b" is not the path of a place in memory; write for example blkptr.blk_dva[0]`},
		{`memory: {at: now, target: [a, b], flip: {bits: 1}}`, `target of memory is a list, whose members are to be hit alike; write flip: {bit: 9} or write, or one target`},
		{`memory: {at: now, target: [], flip: {bits: 1}}`, `target of memory is an empty list; write target: blkptr.blk_dva[0]`},
		{`memory: {at: now, class: ARC, flip: {bits: 1}}`, `class of memory: "ARC" is not the name of a class of memory; write for example arc-data-dirty`},
		{`memory: {at: now, class: zfs}`, `memory has none of flip, stuck, write, copy, row; write for example flip: {bits: 1}`},
		{`memory: {at: now, class: zfs, flip: {bits: 1}, row: {bits: 8}}`, `memory has flip and row; write exactly one of flip, stuck, write, copy and row`},
		{`memory: {at: now, class: zfs, flip: {bits: 0}}`, `bits of flip: 0 is out of range; write 1 to 65536`},
		{`memory: {at: now, class: zfs, flip: {bit: 1, bits: 2}}`, `bits of flip stands beside bit, which is one bit and no other; take one of them out`},
		{`memory: {at: now, class: zfs, stuck: {bit: 1, value: 2, every: 1s}}`, `value of stuck: 2 is out of range; write 0 to 1`},
		{`memory: {at: now, class: zfs, stuck: {value: 1}}`, `stuck has no every; write every: 10ms`},
		{`memory: {at: now, class: zfs, write: {bytes: 0xff}}`, `bytes of write: "0xff" is not in hexadecimal, two digits a byte; write for example "00ff"`},
		{`memory: {at: now, target: a, copy: {}}`, `copy has no from; write from: blkptr.blk_dva[0]`},
		{`memory: {at: now, class: zfs, copy: {from: a}}`, `copy of memory has a class and no place; write target: with the path of what is overwritten`},
		{`memory: {at: now, target: a, copy: {from: b}, ecc: secded}`, `ecc of memory: what is written wrong gets the right check bits, so ECC has no part in copy; write ecc: none`},
		{`memory: {at: now, class: kernel-text, row: {bits: 8}}`, `row of memory cannot damage code; write flip: {bits: 1}`},
		{`memory: {at: now, class: zfs, flip: {bits: 1}, ecc: raid}`, `ecc of memory: "raid" is unknown; write none, secded or chipkill`},
		{`memory: {at: now, class: zfs, flip: {bits: 1}, rate: {fit_per_mbit: 1, time_scale: 1}}`, `at of memory stands beside rate, which strikes at random; take one of them out`},
		{`memory: {class: zfs, write: {bytes: "00"}, rate: {fit_per_mbit: 1, time_scale: 1}}`, `write of memory does not come at a rate; write flip: {bits: 1}, or at: in place of rate`},
		{`memory: {class: zfs, flip: {bits: 1}, rate: {fit_per_mbit: 0, time_scale: 1}}`, `fit_per_mbit of rate: "0" is no number above 0; write for example 0.065`},
		{`memory: {class: zfs, flip: {bits: 1}, rate: {fit_per_mbit: 1}}`, `rate has no time_scale; write time_scale: 1e12`},
		{`vdev: {class: filez, copies: all, flip: {bits: 1}}`, `class of vdev: "filez" is unknown; write file`},
		{`vdev: {class: file, copies: both, flip: {bits: 1}}`, `copies of vdev: "both" is unknown; write one or all`},
		{`vdev: {class: file, flip: {bits: 1}}`, `vdev has no copies; write copies: all`},
		{`vdev: {copies: all, flip: {bits: 1}}`, `vdev has none of class, disk; write for example class: space-map`},
		{`vdev: {class: label, copies: all, dataset: tank/d, flip: {bits: 1}}`, `dataset of vdev: label does not belong to a dataset; take it out`},
		{`vdev: {class: file, copies: all}`, `vdev has none of flip, zero, garbage; write for example flip: {bits: 1}`},
		{`vdev: {class: file, copies: all, zero: {bytes: 131073}}`, `bytes of zero: 131073 is out of range; write 1 to 131072`},
		{`vdev: {class: file, copies: all, offset: 1, flip: {bits: 1}}`, `offset of vdev goes with a disk, not with a class; take it out, or write disk: in place of class`},
		{`vdev: {disk: v7, offset: 1, flip: {bits: 1}}`, `disk of vdev: "v7" is unknown; write v0`},
		{`vdev: {disk: v0, offset: 1, copies: all, flip: {bits: 1}}`, `copies of vdev goes with a class, not with a place on a disk; take it out, or write class: in place of disk`},
		{`device: {disks: v7, do: error}`, `disks of device: the machine has no disk "v7"; write v0`},
		{`device: {disks: v0, do: lose}`, `do of device: "lose" is unknown; write lost-write, torn-write, misdirected-write, reordered-write, stale-read, lying-flush, latency, error, gone, swapped or power-cut`},
		{`device: {disks: v0, do: error, late: 1s}`, `late of device goes with do: latency; take it out`},
		{`device: {disks: v0, do: swapped}`, `disks of device: two disks are swapped, not 1; write for example [v0, v1]`},
		{`device: {disks: [v0, v1], do: swapped, nth: 3}`, `nth of device is about requests, and swapped about a disk as it is; take it out`},
		{`device: {disks: v0, do: power-cut}`, `device has no cache, and without one the power takes nothing from a disk; write for example cache: 16MiB`},
		{`device: {disks: v0, do: error, keep: 0.5}`, `keep of device is for what is in the cache, and there is none; write cache: 16MiB beside it, or take it out`},
		{`device: {disks: v0, do: error, cache: 1MiB, keep: 2}`, `keep of device: "2" is no number from 0 to 1; write for example 0.5`},
		{`device: {disks: v0, do: error, probability: 0}`, `probability of device: with 0 no request is met; write for example 0.01`},
		{`device: {disks: v0, do: error, class: label, dataset: tank/d}`, `dataset of device goes with a class of what datasets have; take it out, or write class: file`},
		{`device: {disks: v0, do: latency, late: 2m}`, `late of device: 2m0s is longer than a trial waits; write at most 1m0s`},
		{`hold: {at: 2s, for: 1s}`, `at of hold: a CPU is held at a place in code; write a function, function+0x12 or an address`},
		{`hold: {in: "f[", arrivals: 2, for: 1s}`, `in of hold: "f[" is no pattern of functions' names; write for example feature_*`},
		{`hold: {in: f*, for: 1s}`, `hold has no arrivals; write arrivals: 20`},
		{`hold: {in: f*, at: g, arrivals: 2, for: 1s}`, `at of hold stands beside in, which draws a place; take one of them out`},
		{`hold: {at: f, for: 11s}`, `for of hold: the kernel takes a CPU that stands still for 11s for one that is locked up; write at most 10s`},
		{`hold: {at: f, for: 1s, until: txg+1}`, `until of hold: "txg+1" is not a function, function+0x12 or an address; write for example feature_do_action`},
		{`register: {at: now, register: rdx, bit: 1}`, `at of register: what is in a register at a time is not known; write a function, function+0x12 or an address`},
		{`register: {at: f, bit: 1}`, `register has none of argument, register; write for example argument: maptype`},
		{`register: {at: f, register: edx, bit: 1}`, `register of register: "edx" is unknown; write rdx`},
		{`register: {at: f, register: rdx, bit: 64}`, `bit of register: 64 is out of range; write 0 to 63`},
		{`register: {at: f+0x3, argument: a, bit: 0}`, `argument of register: registers hold arguments at the entry of a function only; write register: rdx, or at: without an offset`},
	} {
		_, err := Parse("good.yaml", []byte(withFault(t, "  "+c.fault)))
		if want := "good.yaml:33: " + c.want; errorText(err) != want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.fault, err, want)
		}
	}
}

// The fault examples of the README load.
func TestREADMEFaults(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		line, example := strings.CutPrefix(line, "    fault: {")
		line, whole := strings.CutSuffix(line, "}\n")
		if !example || !whole {
			continue
		}
		n++
		if _, err := Parse("good.yaml", []byte(withFault(t, "  "+strings.ReplaceAll(line, "${ecc}", "${sides}")))); err != nil {
			t.Errorf("%s:\n%v", line, err)
		}
	}
	if n < 4 {
		t.Errorf("%d examples were found", n)
	}
}
