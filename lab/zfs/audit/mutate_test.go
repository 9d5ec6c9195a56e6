package audit_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// mutator changes pools at random, under good checksums: the configuration in the MOS, those of labels, uberblocks, and blocks
// of metadata.
type mutator struct {
	*rand.Rand
	blocks []ondisk.Position
}

// mutate makes one change and says which. An error means that it cannot be made, or that the pool cannot be opened any more.
func (m *mutator) mutate(t *testing.T, w *ondisk.Writer) (string, error) {
	t.Helper()
	switch m.IntN(8) {
	case 0, 1, 2:
		return m.mosConfig(t, w)
	case 3, 4:
		return m.labels(t, w)
	case 5:
		return m.uberblocks(t, w)
	case 6:
		return m.bonus(t, w)
	}
	return m.block(t, w)
}

func (m *mutator) mosConfig(t *testing.T, w *ondisk.Writer) (what string, err error) {
	t.Helper()
	err = changeConfig(t, w, func(packed []byte) (err error) {
		what, err = m.packed(packed)
		return err
	})
	return "MOS configuration: " + what, err
}

// labels changes the configuration in one label, in those of one device, or in all, each time in the same way.
func (m *mutator) labels(t *testing.T, w *ondisk.Writer) (string, error) {
	t.Helper()
	seed, which, index := m.Uint64(), m.IntN(3), m.IntN(4)
	var device, what string
	err := w.LabelConfigs(t.Context(), func(name string, l *ondisk.Label, packed []byte) (err error) {
		if device == "" && (m.IntN(3) == 0 || which == 2) {
			device = name
		}
		if which != 2 && name != device || which == 0 && l.Index != index {
			return nil
		}
		what, err = (&mutator{Rand: rand.New(rand.NewPCG(seed, 1))}).packed(packed)
		return err
	})
	if err == nil && what == "" {
		err = errors.New("nothing was changed")
	}
	return fmt.Sprintf("%s of %s: %s", [...]string{fmt.Sprintf("label %d", index), "the labels", "the labels of all devices"}[which], device, what), err
}

func (m *mutator) uberblocks(t *testing.T, w *ondisk.Writer) (string, error) {
	t.Helper()
	const words = ondisk.UberblockSize / 8
	newest := w.Pool().Uberblock
	word, all, seed := 1+m.IntN(words-1), m.IntN(4) == 0, m.Uint64()
	var what string
	err := w.LabelUberblocks(t.Context(), func(_ string, _ *ondisk.Label, s *ondisk.Slot, raw []byte) error {
		if !all && s.Uberblock.TXG != newest.TXG {
			return nil
		}
		before := newest.Order.Uint64(raw[8*word:])
		after := (&mutator{Rand: rand.New(rand.NewPCG(seed, 1))}).number(before)
		newest.Order.PutUint64(raw[8*word:], after)
		what = fmt.Sprintf("word %d of uberblocks (all: %v): %#x became %#x", word, all, before, after)
		return nil
	})
	return what, err
}

// bonus changes a word in the bonus of an object of the MOS: a directory, a dataset, a list, a space map.
func (m *mutator) bonus(t *testing.T, w *ondisk.Writer) (string, error) {
	t.Helper()
	var all []*ondisk.Object
	for o, err := range w.Pool().MOS.Objects(t.Context()) {
		if err != nil {
			return "", err
		}
		if len(o.Bonus) >= 8 {
			all = append(all, o)
		}
	}
	o := all[m.IntN(len(all))]
	var what string
	_, err := w.Bonus(t.Context(), o, func(words []uint64) error {
		i := m.IntN(len(words))
		before := words[i]
		words[i] = m.number(before)
		what = fmt.Sprintf("word %d of the bonus of object %d, %s: %#x became %#x", i, o.ID, ondisk.TypeName(o.BonusType), before, words[i])
		return nil
	})
	return what, err
}

// block changes bytes or words of a block of metadata, of any dataset.
func (m *mutator) block(t *testing.T, w *ondisk.Writer) (string, error) {
	t.Helper()
	at := m.blocks[m.IntN(len(m.blocks))]
	c, err := w.Block(t.Context(), at, func(block []byte, order binary.ByteOrder) error {
		for range 1 + m.IntN(8) {
			if m.IntN(2) == 0 {
				block[m.IntN(len(block))] = byte(m.Uint32())
				continue
			}
			p := block[m.IntN(len(block)/8)*8:]
			order.PutUint64(p, m.number(order.Uint64(p)))
		}
		return nil
	})
	return fmt.Sprintf("%v: from %#x on %d bytes", at, c.Offset, len(c.After)), err
}

// packed changes a packed list where it lies, and says what.
func (m *mutator) packed(p []byte) (what string, err error) {
	err = repacked(p, func(l *nvlist.List) { what = m.list(l) })
	return what, err
}

// list changes one pair of a list, or of one inside it.
func (m *mutator) list(l *nvlist.List) string {
	if len(l.Pairs) == 0 {
		l.Pairs = append(l.Pairs, nvlist.Pair{Name: "new", Type: nvlist.Uint64, Value: uint64(1)})
		return "a new pair"
	}
	i := m.IntN(len(l.Pairs))
	p := &l.Pairs[i]
	switch v := p.Value.(type) {
	case *nvlist.List:
		if m.IntN(8) > 0 {
			return p.Name + ": " + m.list(v)
		}
	case []*nvlist.List:
		if len(v) > 0 && m.IntN(8) > 0 {
			k := m.IntN(len(v))
			return fmt.Sprintf("%s[%d]: %s", p.Name, k, m.list(v[k]))
		}
	}
	name := p.Name
	switch m.IntN(8) {
	case 0:
		l.Pairs = slices.Delete(l.Pairs, i, i+1)
		return name + " is gone"
	case 1:
		p.Name = p.Name[:len(p.Name)-1] + "~"
		return fmt.Sprintf("%s is called %s", name, p.Name)
	case 2:
		return name + m.retype(p)
	}
	before := p.Value
	switch v := p.Value.(type) {
	case uint64:
		p.Value = m.number(v)
	case string:
		p.Value = m.text(v)
	case []*nvlist.List:
		p.Value = m.lists(v)
		return fmt.Sprintf("%s has %d elements instead of %d", name, len(p.Value.([]*nvlist.List)), len(v))
	case []uint64:
		if len(v) > 0 {
			v = slices.Clone(v)
			v[m.IntN(len(v))] ^= 1 << m.IntN(64)
		}
		p.Value = v
	default:
		l.Pairs = slices.Delete(l.Pairs, i, i+1)
		return name + " is gone"
	}
	return fmt.Sprintf("%s: %v became %v", name, before, p.Value)
}

// retype gives a pair a value of another type.
func (m *mutator) retype(p *nvlist.Pair) string {
	switch v := p.Value.(type) {
	case uint64:
		p.Type, p.Value = nvlist.String, fmt.Sprint(v)
	default:
		p.Type, p.Value = nvlist.Uint64, m.Uint64N(1<<20)
	}
	return fmt.Sprintf(" became %v of type %d", p.Value, p.Type)
}

func (m *mutator) lists(v []*nvlist.List) []*nvlist.List {
	v = slices.Clone(v)
	switch {
	case len(v) == 0:
		return append(v, &nvlist.List{})
	case m.IntN(3) == 0:
		return append(v, v[m.IntN(len(v))])
	case m.IntN(2) == 0 && len(v) > 1:
		slices.Reverse(v)
		return v
	}
	return slices.Delete(v, 0, 1)
}

// number is another one: near, far, or of those that mean something.
func (m *mutator) number(v uint64) uint64 {
	for {
		n := [...]uint64{v + 1, v - 1, 0, 1, 2, v ^ 1<<m.IntN(64), v ^ 1<<m.IntN(12), m.Uint64(), m.Uint64N(512), v << 1, 1<<64 - 1, 1 << 63}[m.IntN(12)]
		if n != v {
			return n
		}
	}
}

func (m *mutator) text(v string) string {
	words := []string{"", "mirror", "disk", "file", "root", "raidz", "hole", "missing", "replacing", "spare", "log", "tank", v + v, strings.ToUpper(v), "/nowhere"}
	for {
		if w := words[m.IntN(len(words))]; w != v {
			return w
		}
	}
}
