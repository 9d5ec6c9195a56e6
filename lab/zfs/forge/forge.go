// Package forge makes pools that are wrong in one known way and have valid checksums everywhere: the damage that a bug or a
// bad memory leaves, which no scrub sees. Each forgery has a name, picks its victim by a seed or as it is told, and says
// what it has changed. Nothing here knows the code of ZFS; how it reacts is in README.md.
package forge

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
)

// Options say what is hit. What is not said is chosen by the seed.
type Options struct {
	Seed uint64
	// Metaslab limits forgeries of space maps to one metaslab.
	Metaslab *Metaslab
	// Dataset and File limit forgeries of what files own; File is a path in the dataset. Deadlists are those of the dataset
	// and of its snapshots, or of the one snapshot that is named.
	Dataset, File string
}

// Metaslab names one, by the index of its top-level vdev and its own there.
type Metaslab struct{ VDev, ID uint64 }

// Forgery is a way to forge a pool.
type Forgery struct {
	Name string
	// Doc says what it makes.
	Doc  string
	make func(context.Context, *forger) error
}

// Record is what a forgery has done.
type Record struct {
	Forgery string `json:"forgery"`
	Pool    string `json:"pool"`
	// TXG is that of the uberblock that has the forged content.
	TXG  uint64 `json:"txg"`
	Seed uint64 `json:"seed"`
	// Effect says in a sentence what is wrong now.
	Effect  string   `json:"effect"`
	Changes []Change `json:"changes"`
}

// Change is ondisk's, to be written as JSON.
type Change ondisk.Change

// MarshalJSON writes bytes in hexadecimal and addresses as zdb does.
func (c Change) MarshalJSON() ([]byte, error) {
	dvas := make([]string, 0, len(c.DVAs))
	for _, d := range c.DVAs {
		dvas = append(dvas, d.String())
	}
	return json.Marshal(struct {
		ondisk.Position
		Before string   `json:"before"`
		After  string   `json:"after"`
		DVAs   []string `json:"dvas"`
	}{c.Position, hex.EncodeToString(c.Before), hex.EncodeToString(c.After), dvas})
}

// ErrNothing says that the pool has nothing for a forgery.
var ErrNothing = errors.New("the pool has nothing for this forgery")

// All are the forgeries, in the order of what they change.
func All() []Forgery {
	all := []Forgery{
		{"none", "nothing: one space map is written again as it is, for a control", func(ctx context.Context, f *forger) error { return f.none(ctx) }},
	}
	all = append(all, spaceMapForgeries()...)
	return append(all, referenceForgeries()...)
}

func (f *forger) none(ctx context.Context) error {
	c, err := f.candidates(ctx)
	if err != nil {
		return err
	}
	for _, m := range c {
		if m.Object == 0 {
			continue
		}
		err := f.try(ctx, func() error {
			_, err := f.w.Block(ctx, ondisk.Position{Object: m.Object}, noEdit)
			return err
		})
		if err == nil {
			f.effect = fmt.Sprintf("space map %d was written again as it was", m.Object)
			return nil
		}
	}
	return f.nothing("a space map")
}

// Find gives the forgery with a name.
func Find(name string) (Forgery, error) {
	var names []string
	for _, f := range All() {
		if f.Name == name {
			return f, nil
		}
		names = append(names, f.Name)
	}
	return Forgery{}, fmt.Errorf("no forgery is named %q; there are %s", name, strings.Join(names, ", "))
}

// Make does the forgery in the writer's memory; Commit of the writer writes it. ErrNothing says that there is no victim in
// this pool, or none that could be changed where it lies. After an error nothing has changed.
func (f Forgery) Make(ctx context.Context, w *ondisk.Writer, o Options) (Record, error) {
	run := &forger{w: w, options: o, random: rand.New(rand.NewPCG(o.Seed, 0))}
	err := w.Atomically(func() error { return f.make(ctx, run) })
	if err != nil {
		return Record{}, fmt.Errorf("forge %s: %w", f.Name, err)
	}
	return Record{
		Forgery: f.Name, Pool: w.Pool().Name, TXG: w.Pool().Uberblock.TXG, Seed: o.Seed, Effect: run.effect, Changes: run.changes,
	}, nil
}

// forger is one run of a forgery.
type forger struct {
	w       *ondisk.Writer
	options Options
	random  *rand.Rand
	effect  string
	changes []Change
	reason  error // why the last candidate was not taken
}

func (f *forger) done(all ...ondisk.Change) {
	for _, c := range all {
		f.changes = append(f.changes, Change(c))
	}
}

// nothing is the error when no candidate was left.
func (f *forger) nothing(what string) error {
	if f.reason != nil {
		return fmt.Errorf("%w: it needs %s that can be changed where it lies; the last one tried: %w", ErrNothing, what, f.reason)
	}
	return fmt.Errorf("%w: it needs %s", ErrNothing, what)
}

// try does a change, all of it or nothing, and remembers why not.
func (f *forger) try(ctx context.Context, do func() error) error {
	before := len(f.changes)
	err := f.w.Atomically(do)
	if err != nil {
		f.changes, f.reason = f.changes[:before], err
	}
	return errors.Join(err, ctx.Err())
}
