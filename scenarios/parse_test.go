package scenarios

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/ops"
)

// good is a file without errors that uses most of the format. Test cases change a line or two of it; the line numbers
// are the file's own.
const good = `name: good
question: Does it?
claim: "a claim"
cause: disk
cost: fast
machine: {cpus: 2, memory: 1GiB, disks: {v0: 512MiB, v1: 512MiB}}
vars:
  sides: v0
  label: first
pool:
  name: tank
  layout: mirror v0 v1
  options: {ashift: 9}
  properties: {compression: off, dedup: on}
prepare:
  - create: tank/d
  - write: {file: /tank/d/f%02d, size: 512KiB, content: "${label}", count: 4}
  - sync
workload:
  - parameter: {zfs_recover: 1}
  - arm
  - together:
      - churn: {dataset: tank/d, files: 20, for: 5s}
      - snapshot-storm: {dataset: tank/d, for: 10s, keep: 5}
      - auto-snapshot: {label: frequent, keep: 31, times: 3}
  - snapshot: tank/d@s1
  - remove: [/tank/d/f00, /tank/d/f01]
  - destroy: tank/d@s1
  - run: echo $HOME $${HOME}
  - scrub
  - verify
fault:
  vdev-bitrot: {disks: "${sides}", extents: 16, bytes: 64}
arms:
  - name: rot
  - name: no-rot
    control: true
    withhold: true
  - name: other-label
    control: true
    vars: {label: second}
    trials: 5
trials: 10
limit: 60s
expect:
  verdict: does not reproduce
  rate: 0.5
  outcomes: {rot: healed}
`

// change replaces the first of each pair by the second; the first must be there once.
func change(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if n := strings.Count(text, pairs[i]); n != 1 {
			t.Fatalf("%q stands %d times in the text, want 1", pairs[i], n)
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return text
}

func TestGoodFile(t *testing.T) {
	s, err := Parse("dir/good.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.ForArm("other-label")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Prepare[1].Write.Content; got != "second" {
		t.Errorf("content of arm other-label is %q, want second", got)
	}
	if got := r.Pool.Properties["dedup"]; got != "on" {
		t.Errorf("dedup is %q: on must stay a word", got)
	}
	if r.Arm.Trials != 5 || s.Arms[0].Trials != 10 {
		t.Errorf("trials are %d and %d, want 5 and 10", r.Arm.Trials, s.Arms[0].Trials)
	}
	text := change(t, good, "files: 20, for: 5s", "files: 20, writes: 9", "for: 10s, keep: 5", "snapshots: 7, keep: 5")
	if s, err = Parse("dir/good.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if steps := mustArm(t, s, "other-label").Workload[2].Together; steps[0].Churn.Writes != 9 || steps[1].SnapshotStorm.Snapshots != 7 || steps[0].String() != "churn tank/d 9 writes" {
		t.Errorf("%v", steps)
	}
	if got := r.Workload[6].Run; got != "echo $HOME ${HOME}" {
		t.Errorf("run is %q: $${ must become ${", got)
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		edit []string // pairs of old and new text
		want []string // the whole error, line by line
	}{
		{"unknown key", []string{"question:", "qestion:"}, []string{
			`good.yaml:2: a scenario has no key "qestion"; write question`,
		}},
		{"unknown key of a step", []string{"size: 512KiB, content", "size: 512KiB, contents"}, []string{
			`good.yaml:17: write has no key "contents"; write content`,
		}},
		{"unknown key, nothing near", []string{"size: 512KiB", "size: 512KiB, zzz: 1"}, []string{
			`good.yaml:17: write has no key "zzz"; write file, size, content or count`,
		}},
		{"a version that is none", []string{"cost: fast", "cost: fast\nzfs: [2.3]"}, []string{
			`good.yaml:6: zfs: "2.3" is not a version of OpenZFS; write for example 2.3.2`,
		}},
		{"a limit that is none", []string{"cost: fast", "cost: fast\nzfs: {since: 2.3}"}, []string{
			`good.yaml:6: zfs: "2.3" is not a version of OpenZFS; write for example 2.3.2`,
		}},
		{"limits the wrong way round", []string{"cost: fast", "cost: fast\nzfs: {since: 2.3.10, until: 2.3.9}"}, []string{
			`good.yaml:6: zfs: 2.3.9 is before 2.3.10; write the older version as since`,
		}},
		{"versions that are none", []string{"  rate: 0.5\n", "  rate: 0.5\n  versions: {new: reproduces, 2.3.9..2.3.2: reproduces, 2.4.4: never, 2.4.5: {verdict: reproduces, outcome: panik}, 2.4.6: {rate: 0.1}}\n"}, []string{
			`good.yaml:48: versions of expect: "new" is neither a version nor a range; write 2.3.9, 2.3.3..2.3.6, 2.4.2.. or ..2.3.2`,
			`good.yaml:48: versions of expect: 2.3.2 is before 2.3.9; write the older version first`,
			`good.yaml:48: verdict of 2.4.4: "never" is unknown; write reproduces or does not reproduce`,
			`good.yaml:48: outcome of expect of 2.4.5: "panik" is unknown; write panic`,
			`good.yaml:48: expect of 2.4.6 has no verdict; write verdict: reproduces`,
		}},
		{"key twice", []string{"cost: fast", "cost: fast\ncost: nightly"}, []string{
			`good.yaml:6: the file has cost twice, first in line 5; write it once`,
		}},
		{"decimal unit", []string{"memory: 1GiB", "memory: 1GB"}, []string{
			`good.yaml:6: memory of machine: "1GB" is no size in KiB, MiB or GiB; write 1GiB`,
		}},
		{"short unit", []string{"size: 512KiB", "size: 512k"}, []string{
			`good.yaml:17: size of write: "512k" is no size in KiB, MiB or GiB; write 512KiB`,
		}},
		{"no unit", []string{"size: 512KiB", "size: 512"}, []string{
			`good.yaml:17: size of write: "512" is no size in KiB, MiB or GiB; write 512KiB, 512MiB or 512GiB`,
		}},
		{"fraction", []string{"memory: 1GiB", "memory: 1.5GiB"}, []string{
			`good.yaml:6: memory of machine: "1.5GiB" is no size in KiB, MiB or GiB; write 1536MiB`,
		}},
		{"size that is none", []string{"size: 512KiB", "size: big"}, []string{
			`good.yaml:17: size of write: "big" is no size in KiB, MiB or GiB; write 512KiB`,
		}},
		{"memory not in MiB", []string{"memory: 1GiB", "memory: 1000001KiB"}, []string{
			`good.yaml:6: memory of machine: 1000001KiB is not a whole number of MiB; write 977MiB`,
		}},
		{"disk too small", []string{"v1: 512MiB", "v1: 32MiB"}, []string{
			`good.yaml:6: disks of machine: 32MiB is below what zpool create takes; write at least 64MiB`,
		}},
		{"duration without unit", []string{"limit: 60s", "limit: 60"}, []string{
			`good.yaml:44: limit: "60" is no duration; write 60s`,
		}},
		{"duration in words", []string{"for: 5s", "for: 5 seconds"}, []string{
			`good.yaml:23: for of churn: "5 seconds" is no duration; write 5s`,
		}},
		{"a time and so many", []string{"files: 20, for: 5s", "files: 20, for: 5s, writes: 9"}, []string{
			`good.yaml:23: writes: it goes on for a time or for so many; write for or writes`,
		}},
		{"neither a time nor so many", []string{"for: 10s, keep: 5", "keep: 5"}, []string{
			`good.yaml:24: snapshot-storm has no for; write for: 20s`,
		}},
		{"negative duration", []string{"limit: 60s", "limit: -60s"}, []string{
			`good.yaml:44: limit: "-60s" is no duration; write 60s`,
		}},
		{"limit below the workload", []string{"limit: 60s", "limit: 10s"}, []string{
			`good.yaml:44: limit: 10s is not above the 10s that the workload's steps last; write at least 20s`,
		}},
		{"not a number", []string{"trials: 10", "trials: ten"}, []string{
			`good.yaml:43: trials: "ten" is no whole number; write for example 10`,
		}},
		{"number out of range", []string{"cpus: 2", "cpus: 0"}, []string{
			`good.yaml:6: cpus of machine: 0 is out of range; write 1 to 64`,
		}},
		{"list for a value", []string{"question: Does it?", "question: [Does, it?]"}, []string{
			`good.yaml:2: question is a list; write question: Does ... reproduce the panic?`,
		}},
		{"value for a mapping", []string{"options: {ashift: 9}", "options: ashift=9"}, []string{
			`good.yaml:13: options is a single value; write options: {ashift: 9}`,
		}},
		{"value for steps", []string{"run: echo $HOME $${HOME}", "together: sync"}, []string{
			`good.yaml:29: together is a single value; write a list of steps, for example - sync`,
		}},
		{"boolean of another language", []string{"    withhold: true", "    withhold: yes"}, []string{
			`good.yaml:38: withhold of arm: "yes" is neither true nor false; write true or false`,
		}},
		{"no value", []string{"question: Does it?", "question:"}, []string{
			`good.yaml:2: question has no value; write question: Does ... reproduce the panic?`,
		}},
		{"missing key", []string{"  layout: mirror v0 v1\n", ""}, []string{
			`good.yaml:11: pool has no layout; write layout: mirror v0 v1`,
		}},
		{"missing limit", []string{"limit: 60s\n", ""}, []string{
			`good.yaml:1: the scenario has no limit; write limit: 60s`,
		}},
		{"unknown choice", []string{"cause: disk", "cause: disc"}, []string{
			`good.yaml:4: cause: "disc" is unknown; write disk`,
		}},
		{"name is not the file's", []string{"name: good", "name: better"}, []string{
			`good.yaml:1: name: "better" is not the name of the file; write name: good, or call the file better.yaml`,
		}},
		{"unknown step", []string{"  - scrub", "  - scrubb"}, []string{
			`good.yaml:30: "scrubb" is no step; write scrub`,
		}},
		{"step that takes nothing", []string{"  - scrub", "  - scrub: tank"}, []string{
			`good.yaml:30: scrub is written in another way; write - scrub`,
		}},
		{"step that takes something", []string{"  - scrub", "  - write"}, []string{
			`good.yaml:30: write is written in another way; write - write: {file: /tank/f1, size: 512KiB, content: first}`,
		}},
		{"two steps in one", []string{"  - snapshot: tank/d@s1", "  - snapshot: tank/d@s1\n    destroy: tank/d@s1"}, []string{
			`good.yaml:26: a step of workload has 2 keys (snapshot, destroy); write one key a step, each after its own dash`,
		}},
		{"verify in prepare", []string{"  - create: tank/d\n", "  - create: tank/d\n  - verify\n"}, []string{
			`good.yaml:17: verify cannot stand in prepare; write it in the list of workload itself`,
		}},
		{"snapshot without name", []string{"snapshot: tank/d@s1", "snapshot: tank/d"}, []string{
			`good.yaml:26: snapshot: "tank/d" names no snapshot; write tank/d@name`,
		}},
		{"dataset of another pool", []string{"destroy: tank/d@s1", "destroy: tnk/d@s1"}, []string{
			`good.yaml:28: destroy: "tnk/d@s1" is not in the pool; write tank/d@s1`,
		}},
		{"the pool destroyed", []string{"destroy: tank/d@s1", "destroy: tank"}, []string{
			`good.yaml:28: destroy: "tank" is the whole pool; write the name of a snapshot, or of a dataset inside it`,
		}},
		{"file outside the pool", []string{"[/tank/d/f00, /tank/d/f01]", "[/tank/d/f00, /tmp/f01]"}, []string{
			`good.yaml:27: remove: "/tmp/f01" is not the path of a file in the pool; write for example /tank/f1`,
		}},
		{"count without pattern", []string{"f%02d", "f"}, []string{
			`good.yaml:17: file of write: "/tank/d/f" gives all 4 files one name; write for example /tank/d/f%02d`,
		}},
		{"pattern without count", []string{", count: 4", ""}, []string{
			`good.yaml:17: file of write: "/tank/d/f%02d" is a pattern but write has no count; write count: 16, or a name without %`,
		}},
		{"disk not of the machine", []string{"layout: mirror v0 v1", "layout: mirror v0 v2"}, []string{
			`good.yaml:12: layout of pool: "v2" is neither a word of zpool create nor a disk of the machine; write v0`,
		}},
		{"disk twice", []string{"layout: mirror v0 v1", "layout: mirror v0 v0"}, []string{
			`good.yaml:12: layout of pool: disk v0 stands there twice; write each disk once`,
		}},
		{"unknown fault", []string{"vdev-bitrot:", "vdev-bitrott:"}, []string{
			`good.yaml:33: fault has no key "vdev-bitrott"; write vdev-bitrot`,
		}},
		{"two clocks", []string{"v1: 512MiB}}", "v1: 512MiB}, clock: icount}"}, []string{
			`good.yaml:6: clock of machine: a guest that counts its time has one CPU; write cpus: 1`,
		}},
		{"another clock", []string{"v1: 512MiB}}", "v1: 512MiB}, clock: fast}"}, []string{
			`good.yaml:6: clock of machine: "fast" is unknown; write icount`,
			`good.yaml:6: clock of machine: a guest that counts its time has one CPU; write cpus: 1`,
		}},
		{"a disk that nobody serves", []string{"cpus: 2", "cpus: 1", "v1: 512MiB}}", "v1: 512MiB}, clock: icount}",
			"vdev-bitrot: {disks: \"${sides}\", extents: 16, bytes: 64}", "device: {disks: \"${sides}\", do: error}"}, []string{
			`good.yaml:33: the disks of a guest that counts its time are memory, which answers no requests; take clock out of machine, or write another fault than device`,
		}},
		{"half a page", []string{"cpus: 2", "cpus: 1", "v1: 512MiB}}", "v1: 65MiB}, clock: icount}"}, []string{
			`good.yaml:6: disks of machine: 65MiB is not a whole number of pages of 2MiB, as memory is; write 66MiB`,
		}},
		{"more disks than can be memory", []string{"cpus: 2", "cpus: 1", "v1: 512MiB}}", "v1: 512MiB, v2: 512MiB, v3: 512MiB, v4: 512MiB}, clock: icount}"}, []string{
			`good.yaml:6: disks of machine: a guest that counts its time has at most 4; write fewer`,
		}},
		{"a matrix alone, without a control arm", []string{good[strings.Index(good, "arms:"):strings.Index(good, "trials: 10")], "matrix: [{a: {}, b: {label: y}}]\n", "rot: healed", "a: healed"}, []string{
			`good.yaml:34: there is no control arm; write one with control: true, or no_control: "why there is nothing to take away"`,
		}},
		{"operations that are none", []string{"workload:\n", "workload:\n  - operations: |\n      sync\n      frob /tank/a\n"}, []string{
			`good.yaml:20: operations: line 2: there is no operation "frob"; write one of ` + strings.Join(ops.Words(), ", ") + `; write the lines as lab/ops/README.md has them`,
		}},
		{"no operations", []string{"workload:\n", "workload:\n  - operations: \"# nothing\"\n"}, []string{
			`good.yaml:20: operations: there is none; write - operations: "create tank/a"`,
		}},
		{"features that are none", []string{"workload:\n", "workload:\n  - generate: {count: 0, features: [dedupe], draw: 2}\n"}, []string{
			`good.yaml:20: count of generate: 0 is out of range; write 1 to 10000`,
			`good.yaml:20: features of generate: "dedupe" is unknown; write dedup`,
			`good.yaml:20: draw of generate: 2 is out of range; write 1 to 1`,
		}},
		{"no pool in the end", []string{"  - verify\n", "  - verify\n  - export\n"}, []string{
			`good.yaml:19: the workload ends without the pool, which is asked how it is afterwards; write - import, or take the last export out`,
		}},
		{"a matrix of nothing", []string{"arms:\n", "matrix: []\narms:\n"}, []string{
			`good.yaml:34: matrix is an empty list; write matrix: [{mirror: {}, single: {layout: v0}}, {one: {}, all: {copies: all}}]`,
		}},
		{"a matrix with one var in two axes", []string{"arms:\n", "matrix: [{a: {label: x}}, {b: {label: y}}]\narms:\n"}, []string{
			`good.yaml:34: matrix: both a and b set label; write each var in one axis`,
		}},
		{"a matrix with a bad name and a var of nobody", []string{"arms:\n", "matrix: [{A: {label: x}, b: {none: x}}]\narms:\n"}, []string{
			`good.yaml:34: matrix: "A" is not a name of lower-case letters, digits and dashes; write for example single`,
			`good.yaml:34: vars of arm b: none is not defined under vars of the scenario; write label or sides`,
		}},
		{"an arm that the matrix makes, too", []string{"arms:\n", "matrix: [{other-label: {label: x}}]\narms:\n"}, []string{
			`good.yaml:40: a second arm other-label, the first is in line 34; write another name`,
		}},
		{"no crontab", []string{"  - scrub", "  - cron: {for: 90s, jobs: {hourly: sh /root/life}}"}, []string{
			`good.yaml:30: jobs of cron: "hourly" with "sh /root/life" is no line of a crontab; write for example {"*/10 * * * *": sh /root/life}`,
		}},
		{"half a second of cron", []string{"  - scrub", "  - cron: {for: 1500ms}"}, []string{
			`good.yaml:30: for of cron: 1.5s is no whole number of seconds; write 2s`,
		}},
		{"held alone", []string{"cpus: 2", "cpus: 1", "vdev-bitrot: {disks: \"${sides}\", extents: 16, bytes: 64}", "hold: {at: f, for: 1s}"}, []string{
			`good.yaml:8: var sides is never used; write ${sides} where it belongs, or take it out`,
			`good.yaml:33: hold needs a second CPU, which goes on meanwhile; write cpus: 2 in machine`,
		}},
		{"one name for copies", []string{"  - scrub", "  - holds: {file: /tank/c/f, as: /tank/d/f%02d, count: 4}"}, []string{
			`good.yaml:30: file of holds: "/tank/c/f" gives all 4 files one name; write for example /tank/c/f%02d`,
		}},
		{"two faults", []string{"fault:\n", "fault:\n  blkptr-dva-flip: {at: zio_free_sync, after: 8}\n"}, []string{
			`good.yaml:33: fault has 2 kinds; write exactly one of blkptr-dva-flip, vdev-bitrot, vdev, forge, memory, register, hold and device`,
		}},
		{"fault never armed", []string{"  - arm\n", ""}, []string{
			`good.yaml:32: the workload never lets the fault strike; write - arm where it may`,
		}},
		{"fault armed twice", []string{"  - scrub", "  - arm"}, []string{
			`good.yaml:30: the fault is armed twice, first in line 21; write arm once`,
		}},
		{"undefined var", []string{`"${label}"`, `"${lable}"`}, []string{
			`good.yaml:9: var label is never used; write ${label} where it belongs, or take it out`,
			`good.yaml:17: ${lable} is not defined under vars; write label; write $${lable} for a plain one`,
		}},
		{"unused var", []string{`"${label}"`, `first`}, []string{
			`good.yaml:9: var label is never used; write ${label} where it belongs, or take it out`,
		}},
		{"var where none can be", []string{"limit: 60s", `limit: "${label}"`}, []string{
			`good.yaml:44: ${label} stands where vars cannot be used; write the value; pool, prepare, workload and fault can use vars`,
		}},
		{"var without end", []string{"run: echo $HOME $${HOME}", "run: echo ${HOME"}, []string{
			`good.yaml:29: "${HOME" has no closing brace; write ${name}, or $${ for a plain ${`,
		}},
		{"bad default of a var", []string{"sides: v0", "sides: v7"}, []string{
			`good.yaml:33: disks of vdev-bitrot: the machine has no disk "v7"; write v0 (${sides} by default)`,
		}},
		{"bad value of one arm", []string{"vars: {label: second}", `vars: {sides: "v0, v9"}`}, []string{
			`good.yaml:33: disks of vdev-bitrot: the machine has no disk "v9"; write v0 (${sides} in arm other-label)`,
		}},
		{"override of an undefined var", []string{"vars: {label: second}", "vars: {labels: second}"}, []string{
			`good.yaml:41: vars of arm other-label: labels is not defined under vars of the scenario; write label`,
		}},
		{"override that changes nothing", []string{"vars: {label: second}", "vars: {label: first}"}, []string{
			`good.yaml:39: arm other-label is the same as arm rot of line 35; write withhold: true, or vars: with the one thing that differs`,
			`good.yaml:41: vars of arm other-label: label is "first" already; write another value, or take it out`,
		}},
		{"second arm of a name", []string{"name: other-label", "name: rot"}, []string{
			`good.yaml:39: a second arm rot, the first is in line 35; write another name`,
		}},
		{"no control arm", []string{"  - name: no-rot\n    control: true\n    withhold: true\n", "", "    control: true\n    vars: {label", "    vars: {label"}, []string{
			`good.yaml:34: there is no control arm; write one with control: true, or no_control: "why there is nothing to take away"`,
		}},
		{"control arms and no_control", []string{"limit: 60s", "limit: 60s\nno_control: nothing"}, []string{
			`good.yaml:45: no_control stands beside a control arm; take one of them out`,
		}},
		{"control arms only", []string{"  - name: rot\n", "  - name: rot\n    control: true\n"}, []string{
			`good.yaml:34: every arm is a control arm; write one arm without control: true`,
		}},
		{"control arm that changes two vars", []string{"vars: {label: second}", "vars: {label: second, sides: v1}"}, []string{
			`good.yaml:39: control arm other-label changes more than one thing (label, sides); write a control arm for each of them`,
		}},
		{"control arm that changes a var and the strike", []string{"vars: {label: second}", "vars: {label: second}\n    withhold: true"}, []string{
			`good.yaml:39: control arm other-label changes more than one thing (label, withhold); write a control arm for each of them`,
		}},
		{"strike withheld from a fault arm", []string{"    control: true\n    withhold: true", "    withhold: true"}, []string{
			`good.yaml:36: arm no-rot withholds the fault but is no control arm; write control: true`,
		}},
		{"nothing to withhold", []string{"fault:\n  vdev-bitrot: {disks: \"${sides}\", extents: 16, bytes: 64}\n", "", "  sides: v0\n", "", "  - arm\n", ""}, []string{
			`good.yaml:32: arm no-rot withholds a fault that the scenario does not have; write fault:, or take withhold out`,
		}},
		{"unknown verdict", []string{"does not reproduce", "never"}, []string{
			`good.yaml:46: verdict of expect: "never" is unknown; write reproduces or does not reproduce`,
		}},
		{"rate above 1", []string{"rate: 0.5", "rate: 50"}, []string{
			`good.yaml:47: rate of expect: "50" is not above 0 and at most 1; write for example 0.5`,
		}},
		{"rate 0", []string{"rate: 0.5", "rate: 0"}, []string{
			`good.yaml:47: rate of expect: "0" is not above 0 and at most 1; write for example 0.5`,
		}},
		{"two kinds of hit", []string{"rate: 0.5", "rate: 0.5\n  signature: a@b\n  outcome: corrupt"}, []string{
			`good.yaml:49: expect has both signature and outcome; write the one that makes a trial a hit; outcomes can hold the other`,
		}},
		{"outcome of an unknown arm", []string{"outcomes: {rot: healed}", "outcomes: {rott: healed}"}, []string{
			`good.yaml:48: outcomes of expect: there is no arm "rott"; write rot`,
		}},
		{"unknown outcome", []string{"outcomes: {rot: healed}", "outcomes: {rot: heeled}"}, []string{
			`good.yaml:48: outcome of rot: "heeled" is unknown; write healed`,
		}},
		{"anchor", []string{"sides: v0", "sides: &x v0"}, []string{
			`good.yaml:8: scenarios use no YAML anchor; write the value out`,
			`good.yaml:8: sides of vars has no value; write sides: value`,
			`good.yaml:33: ${sides} is not defined under vars; write label; write $${sides} for a plain one`,
		}},
		{"not YAML", []string{"  name: tank\n", "\tname: tank\n"}, []string{
			"good.yaml:11: not YAML: found character '\t' that cannot start any token; write key: value lines, indented by spaces",
		}},
		{"two documents", []string{"trials: 10", "---\ntrials: 10"}, []string{
			`good.yaml:43: a second document; write one scenario a file`,
		}},
		{"several at once, by line", []string{"cost: fast", "cost: slow", "rate: 0.5", "rate: 2", "memory: 1GiB", "memory: 1GB"}, []string{
			`good.yaml:5: cost: "slow" is unknown; write fast or nightly`,
			`good.yaml:6: memory of machine: "1GB" is no size in KiB, MiB or GiB; write 1GiB`,
			`good.yaml:47: rate of expect: "2" is not above 0 and at most 1; write for example 0.5`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := Parse("good.yaml", []byte(change(t, good, c.edit...)))
			if err == nil {
				t.Fatal("no error")
			}
			if s != nil {
				t.Error("a scenario beside the error")
			}
			if got, want := err.Error(), strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			var one *Error
			if !errors.As(err, &one) || one.Line == 0 || one.File != "good.yaml" {
				t.Errorf("no *Error with file and line in %#v", err)
			}
		})
	}
}

func TestErrorsOfWholeFiles(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "x.yaml:1: the file is empty; write at least name: and what README.md lists as required"},
		{"comment", "# nothing\n", "x.yaml:1: the file is empty; write at least name: and what README.md lists as required"},
		{"list", "- a\n", "x.yaml:1: the file is a list; write name: value lines"},
		{"word", "hello\n", "x.yaml:1: the file is a single value; write name: value lines"},
		{"large", strings.Repeat("#", maxSource+1), "x.yaml:1: the file has 65537 bytes, more than a scenario can have; write at most 65536"},
	} {
		if _, err := Parse("x.yaml", []byte(c.text)); err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %s", c.name, err, c.want)
		}
	}
}

// FuzzParse wants every text to give either a scenario, all of whose arms resolve, or errors that name a line.
func FuzzParse(f *testing.F) {
	f.Add(good)
	files, err := embedded.ReadDir(".")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file.Name())
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	for _, text := range []string{"a: &a [*a]", "? [a]: b", "<<: {a: b}", "!!int a: 1", "a: |\n  b", "- - - -", "{a: {b: [}}", "\x00", "a: ${", "---\n---"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("good.yaml", []byte(text))
		if (s == nil) == (err == nil) {
			t.Fatalf("scenario %v and error %v", s, err)
		}
		if err != nil {
			joined, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("not joined: %v", err)
			}
			for _, e := range joined.Unwrap() {
				var one *Error
				if !errors.As(e, &one) || one.Line < 1 {
					t.Fatalf("no line in %v", e)
				}
			}
			return
		}
		for _, a := range s.Arms {
			r, err := s.ForArm(a.Name)
			if err != nil {
				t.Fatal(err)
			}
			r.PrepareKey()
		}
	})
}

func TestApplies(t *testing.T) {
	for _, c := range []struct {
		zfs string
		yes []string
		no  []string
	}{
		{"", []string{"2.1.11", "2.4.99-gabcdef"}, nil},
		{"[2.3.2, 2.4.4]", []string{"2.3.2", "2.4.4-gabcdef"}, []string{"2.3.3", "2.3.9-t012345"}},
		{"{since: 2.3.2}", []string{"2.3.2", "2.3.10", "2.4.0-gabcdef", "2.3.2:2.1.11"}, []string{"2.1.11", "2.3.1", "2.3.1:2.4.4"}},
		{"{until: 2.3.9}", []string{"2.1.11", "2.3.9"}, []string{"2.3.10", "2.4.4"}},
		{"{since: 2.3.2, until: 2.3.9}", []string{"2.3.2", "2.3.5", "2.3.9-rc1"}, []string{"2.3.1", "2.4.0"}},
	} {
		text := good
		if c.zfs != "" {
			text = strings.Replace(text, "cost: fast", "cost: fast\nzfs: "+c.zfs, 1)
		}
		s, err := Parse("good.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, version := range append(c.yes, c.no...) {
			if got, want := s.Applies(version), slices.Contains(c.yes, version); got != want {
				t.Errorf("zfs: %s applies to %s: %t", c.zfs, version, got)
			}
		}
	}
}
