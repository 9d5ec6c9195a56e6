package audit

import (
	"fmt"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// scene is a pool made of claims: one vdev with four metaslabs of 64 units of 4 KiB. Places are counted in units.
type scene struct {
	claims    []claim
	allocated [][2]uint64 // from, to
	kept      [][2]uint64 // by the space map of the checkpoint
	before    bool        // there is a checkpoint
}

const (
	unit      = 4096
	slabShift = 18
	slabUnits = 1 << slabShift / unit
	slabs     = 4
)

// at is a claim on n units; who tells blocks from each other.
func at(kind claimKind, from, n uint64, who uint32, change ...func(*claim)) claim {
	c := claim{kind: kind, offset: from * unit, size: uint32(n * unit >> sectorShift), print: who, extra: 5}
	for _, f := range change {
		f(&c)
	}
	return c
}

func tree(from, n uint64, who uint32, change ...func(*claim)) claim {
	return at(claimTree, from, n, who, change...)
}

func count(n uint64) func(*claim)       { return func(c *claim) { c.extra = n } }
func flagged(f claimFlags) func(*claim) { return func(c *claim) { c.flags = f } }
func of(n uint32) func(*claim)          { return func(c *claim) { c.of = n } }

// cloned is an entry of the block reference table for the block at unit 8.
func cloned(n uint64) claim { return claim{kind: claimBRT, offset: 8 * unit, extra: n} }

// judged are the findings of a scene, as kinds with places in units.
func (s *scene) judged(t *testing.T) (found []string) {
	t.Helper()
	v := &ondisk.VDev{Type: "file", AShift: 12, MetaslabShift: slabShift, ASize: slabs << slabShift}
	space := &vdevSpace{vdev: v, logged: map[uint64][]loggedEntry{}}
	for i := range uint64(slabs) {
		space.metaslabs = append(space.metaslabs, ondisk.Metaslab{VDev: v, ID: i, Start: i << slabShift, Size: 1 << slabShift})
	}
	for _, r := range s.allocated {
		space.logged[r[0]/slabUnits] = append(space.logged[r[0]/slabUnits], loggedEntry{offset: r[0] * unit, size: (r[1] - r[0]) * unit})
	}
	for _, r := range s.kept {
		space.kept = append(space.kept, ondisk.Piece{Offset: r[0] * unit, Size: (r[1] - r[0]) * unit})
	}
	pool := &ondisk.Pool{VDevs: []*ondisk.VDev{v}}
	a := &auditor{
		Options: Options{Workers: 2}, pool: pool, claims: newRuns(1<<20, t.TempDir()), spaces: []*vdevSpace{space},
		report: &Report{Omitted: map[Kind]uint64{}}, found: map[Kind]int{},
	}
	if s.before {
		a.before = pool
	}
	if err := a.claims.add(s.claims...); err != nil {
		t.Fatal(err)
	}
	if err := a.compare(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.finish()
	for _, f := range a.report.Findings {
		found = append(found, fmt.Sprintf("%s %d+%d", f.Kind, f.Offset/unit, f.Size/unit))
	}
	return found
}

func TestJudge(t *testing.T) {
	clone := func() []claim { return []claim{tree(8, 2, 1), tree(8, 2, 1)} } // two references to one block
	for name, c := range map[string]struct {
		scene
		want []string
	}{
		"nothing": {},
		"blocks side by side, up to the end of the vdev": {
			scene: scene{claims: []claim{tree(0, 4, 1), tree(4, 60, 2), tree(252, 4, 3)}, allocated: [][2]uint64{{0, 64}, {252, 256}}},
		},
		"leaked": {
			scene: scene{claims: []claim{tree(70, 4, 1)}, allocated: [][2]uint64{{64, 128}}},
			want:  []string{"leaked 64+6", "leaked 74+54"},
		},
		"free": {
			scene: scene{claims: []claim{tree(60, 4, 1), tree(64, 8, 2)}, allocated: [][2]uint64{{60, 62}, {66, 70}}},
			want:  []string{"free-but-referenced 62+2", "free-but-referenced 64+2", "free-but-referenced 70+2"},
		},
		"one block, two references": {
			scene: scene{claims: clone(), allocated: [][2]uint64{{8, 10}}},
			want:  []string{"allocated-twice 8+2"},
		},
		"two blocks at one place": {
			scene: scene{claims: []claim{tree(8, 2, 1), tree(8, 3, 2)}, allocated: [][2]uint64{{8, 11}}},
			want:  []string{"allocated-twice 8+2"},
		},
		"blocks that overlap, the first one over two others": {
			scene: scene{claims: []claim{tree(8, 8, 1), tree(9, 2, 2), tree(14, 4, 3)}, allocated: [][2]uint64{{8, 18}}},
			want:  []string{"allocated-twice 9+2", "allocated-twice 14+2"},
		},
		"a copy on another copy of the same block": {
			scene: scene{claims: []claim{tree(8, 2, 1), tree(8, 2, 1, flagged(secondary))}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"allocated-twice 8+2"},
		},
		"second copies count with the first": {
			scene: scene{
				claims:    append(clone(), tree(100, 2, 1, flagged(secondary)), tree(100, 2, 1, flagged(secondary)), cloned(1)),
				allocated: [][2]uint64{{8, 10}, {100, 102}},
			},
		},
		"cloned": {
			scene: scene{claims: append(clone(), cloned(1)), allocated: [][2]uint64{{8, 10}}},
		},
		"more clones than counted": {
			scene: scene{claims: append(clone(), tree(8, 2, 1), cloned(1)), allocated: [][2]uint64{{8, 10}}},
			want:  []string{"brt-count 8+2"},
		},
		"fewer clones than counted": {
			scene: scene{claims: append(clone(), cloned(2)), allocated: [][2]uint64{{8, 10}}},
			want:  []string{"brt-count 8+2"},
		},
		"clones of nothing": {
			scene: scene{claims: []claim{cloned(2)}},
			want:  []string{"brt-count 8+1"},
		},
		"deduplicated": {
			scene: scene{claims: append(clone(), at(claimDDT, 8, 2, 1, count(2))), allocated: [][2]uint64{{8, 10}}},
		},
		"deduplicated and cloned": {
			scene: scene{claims: append(clone(), tree(8, 2, 1), at(claimDDT, 8, 2, 1, count(2)), cloned(1)), allocated: [][2]uint64{{8, 10}}},
		},
		"an entry without references holds its space": {
			scene: scene{claims: []claim{at(claimDDT, 8, 2, 1, count(0))}, allocated: [][2]uint64{{8, 10}}},
		},
		"fewer references than the dedup table counts": {
			scene: scene{claims: append(clone(), at(claimDDT, 8, 2, 1, count(3))), allocated: [][2]uint64{{8, 10}}},
			want:  []string{"ddt-count 8+2"},
		},
		"more references than the dedup table counts": {
			scene: scene{claims: append(clone(), at(claimDDT, 8, 2, 1, count(1))), allocated: [][2]uint64{{8, 10}}},
			want:  []string{"ddt-count 8+2"},
		},
		"another block than the dedup table has": {
			scene: scene{claims: []claim{tree(8, 2, 2), at(claimDDT, 8, 2, 1, count(1))}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"allocated-twice 8+2", "ddt-count 8+2"},
		},
		"freed and in use": {
			scene: scene{claims: []claim{tree(8, 2, 1), at(claimPending, 8, 2, 1)}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"bpobj-entry 8+2"},
		},
		"freed twice": {
			scene: scene{claims: []claim{at(claimPending, 8, 2, 1), at(claimPending, 8, 2, 1)}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"bpobj-entry 8+2"},
		},
		"freed over another block": {
			scene: scene{claims: []claim{tree(8, 2, 1), at(claimPending, 9, 2, 2)}, allocated: [][2]uint64{{8, 11}}},
			want:  []string{"bpobj-entry 9+1"},
		},
		"on a deadlist, and on that of a clone": {
			scene: scene{
				claims:    []claim{tree(8, 2, 1), at(claimDeadlist, 8, 2, 1, of(1)), at(claimDeadlist, 8, 2, 1, of(2))},
				allocated: [][2]uint64{{8, 10}},
			},
		},
		"on a deadlist twice": {
			scene: scene{
				claims:    []claim{tree(8, 2, 1), at(claimDeadlist, 8, 2, 1, of(1)), at(claimDeadlist, 8, 2, 1, of(1))},
				allocated: [][2]uint64{{8, 10}},
			},
			want: []string{"deadlist-entry 8+2"},
		},
		"on a deadlist with another birth": {
			scene: scene{claims: []claim{tree(8, 2, 1), at(claimDeadlist, 8, 2, 1, count(4))}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"deadlist-entry 8+2"},
		},
		"on a deadlist, and free": {
			scene: scene{claims: []claim{at(claimDeadlist, 8, 2, 1)}},
			want:  []string{"deadlist-entry 8+2"},
		},
		"on a deadlist, and nowhere else": {
			scene: scene{claims: []claim{at(claimDeadlist, 8, 2, 1)}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"deadlist-entry 8+2", "leaked 8+2"},
		},
		"shared with a snapshot": {
			scene: scene{claims: []claim{tree(8, 2, 1, of(7)), at(claimShared, 8, 2, 1, of(7))}, allocated: [][2]uint64{{8, 10}}},
		},
		"shared with a snapshot that has it elsewhere": {
			scene: scene{claims: []claim{tree(8, 2, 1, of(7)), at(claimShared, 8, 2, 1, of(8))}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"allocated-twice 8+2"},
		},
		"shared with a snapshot that does not have it": {
			scene: scene{claims: []claim{at(claimShared, 8, 2, 1, of(8))}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"leaked 8+2", "wrong-birth 8+2"},
		},
		"shared with nobody, and free": {
			scene: scene{claims: []claim{at(claimShared, 8, 2, 1, of(8))}},
			want:  []string{"free-but-referenced 8+2"},
		},
		"another block on a deadlist": {
			scene: scene{claims: []claim{tree(8, 2, 1), at(claimDeadlist, 8, 2, 2)}, allocated: [][2]uint64{{8, 10}}},
			want:  []string{"deadlist-entry 8+2"},
		},
		"two references, and a deadlist has both": {
			scene: scene{
				claims:    append(clone(), cloned(1), at(claimDeadlist, 8, 2, 1), at(claimDeadlist, 8, 2, 1)),
				allocated: [][2]uint64{{8, 10}},
			},
		},
		"across the end of a metaslab": {
			scene: scene{claims: []claim{tree(62, 4, 1)}, allocated: [][2]uint64{{62, 64}, {64, 66}}},
			want:  []string{"bad-address 62+4", "leaked 62+2", "leaked 64+2"},
		},
		"beyond the last metaslab": {
			scene: scene{claims: []claim{tree(256, 1, 1), tree(1<<40, 1, 1), at(claimPending, 300, 1, 1), at(claimDeadlist, 300, 1, 1)}},
			want:  []string{"bad-address 256+1", "bad-address 1099511627776+1", "bpobj-entry 300+1", "deadlist-entry 300+1"},
		},
		"in no whole units": {
			scene: scene{claims: []claim{tree(8, 2, 1, func(c *claim) { c.offset += 512 })}, allocated: [][2]uint64{{8, 11}}},
			want:  []string{"bad-address 8+2", "leaked 8+3"},
		},
		"shared with the checkpoint": {
			scene: scene{claims: []claim{tree(8, 2, 1), tree(8, 2, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{8, 10}}},
		},
		"in the checkpoint alone": {
			scene: scene{
				claims: []claim{tree(8, 2, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{8, 10}}, kept: [][2]uint64{{8, 10}},
			},
		},
		"in the checkpoint alone, and not known to its space map": {
			scene: scene{
				claims: []claim{tree(8, 4, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{8, 12}}, kept: [][2]uint64{{8, 10}},
			},
			want: []string{"leaked 10+2"},
		},
		"in use, and freed with the checkpoint": {
			scene: scene{
				claims: []claim{tree(8, 2, 1), tree(8, 2, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{8, 10}},
				kept: [][2]uint64{{8, 10}},
			},
			want: []string{"free-but-referenced 8+2"},
		},
		"freed with the checkpoint twice": {
			scene: scene{
				claims: []claim{tree(8, 2, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{8, 10}},
				kept: [][2]uint64{{8, 10}, {9, 10}},
			},
			want: []string{"freed-twice-in-space-map 9+1"},
		},
		"written over what the checkpoint has": {
			scene: scene{
				claims: []claim{tree(8, 4, 1, flagged(inCheckpoint)), tree(10, 4, 2)}, before: true, allocated: [][2]uint64{{8, 14}},
				kept: [][2]uint64{{8, 10}},
			},
			want: []string{"allocated-twice 10+2"},
		},
		"written from before what the checkpoint has": {
			scene: scene{
				claims: []claim{tree(6, 4, 2), tree(8, 4, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{6, 12}},
				kept: [][2]uint64{{10, 12}},
			},
			want: []string{"allocated-twice 8+2"},
		},
		"another block where one of the checkpoint is": {
			scene: scene{
				claims: []claim{tree(8, 2, 2), tree(8, 2, 1, flagged(inCheckpoint))}, before: true, allocated: [][2]uint64{{8, 10}},
			},
			want: []string{"allocated-twice 8+2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.judged(t); !slices.Equal(got, c.want) {
				t.Errorf("found %q, not %q", got, c.want)
			}
		})
	}
}
