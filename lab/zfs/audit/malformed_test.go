package audit_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

// prop sets bits of the word of a block pointer that has them all.
func prop(low, n uint, value uint64) func(*ondisk.BlkPtr) {
	return func(b *ondisk.BlkPtr) { b.Prop = b.Prop&^((1<<n-1)<<low) | value<<low }
}

// What a block pointer or a dnode says and cannot be is found, though nobody reads what it leads to.
func TestMalformed(t *testing.T) {
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "live"))
	sound := ondisktest.Open(t, ondisktest.Dir(t, "", "live"), "live")
	data, embedded, dnodes := places(t, sound)
	pointer := func(at ondisk.Position, edit func(*ondisk.BlkPtr)) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			_, err := w.Pointer(t.Context(), at, func(b *ondisk.BlkPtr) error { edit(b); return nil })
			return err
		}
	}
	dnode := func(at int, value byte) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			_, err := w.DNode(t.Context(), embedded.ObjSet, embedded.Object, func(block []byte, _ binary.ByteOrder) error { block[at] = value; return nil })
			return err
		}
	}
	for _, tt := range []struct {
		want string
		do   func(*ondisk.Writer) error
	}{
		{"type 83", pointer(data, prop(48, 8, 83))},
		{"a DMU dnode", pointer(data, prop(48, 8, uint64(ondisk.TypeDNode)))},
		{"a ZIL intent log", pointer(data, prop(48, 8, uint64(ondisk.TypeIntentLog)))},
		{"level 3, at level 0", pointer(data, prop(56, 5, 3))},
		{"compression function 4", pointer(data, prop(32, 7, 4))},
		{"compression function 17", pointer(data, prop(32, 7, 17))},
		{"checksum function 1", pointer(data, prop(40, 8, 1))},
		{"checksum function 15", pointer(data, prop(40, 8, 15))},
		{"33554432 bytes", pointer(data, prop(0, 16, 0xffff))},
		{"33554432 bytes on disk", pointer(data, prop(16, 16, 0xffff))},
		{"for padding", pointer(data, func(b *ondisk.BlkPtr) { b.Pad[0] |= 1 << 62 })},
		{"for padding", pointer(data, func(b *ondisk.BlkPtr) { b.Pad[1] |= 1 })},
		{"kind 1", pointer(embedded, prop(40, 8, 1))},
		{"113 embedded bytes", pointer(embedded, prop(25, 7, 112))},
		{"deduplicated or encrypted", pointer(embedded, prop(62, 1, 1))},
		{"deduplicated or encrypted", pointer(embedded, prop(61, 1, 1))},
		{"a dnode of type 54", dnode(0, 54)},
		{"indirect blocks of 2^96 bytes", dnode(1, 96)},
		{"a bonus of type 202", dnode(4, 202)},
		{"a dnode with checksum function 15", dnode(5, 15)},
		{"a dnode with compression function 17", dnode(6, 17)},
		{"a free dnode that is not empty", func(w *ondisk.Writer) error {
			_, err := w.Block(t.Context(), dnodes, func(block []byte, _ binary.ByteOrder) error {
				for at := 0; at < len(block); at += ondisk.DNodeSlot * (int(block[at+12]) + 1) {
					if at > 0 && block[at] == ondisk.TypeNone {
						block[at+12] = 3 // slots that a walk would leave out
						return nil
					}
				}
				return errors.New("no dnode is free")
			})
			return err
		}},
	} {
		t.Run(tt.want, func(t *testing.T) {
			r := run(t, changed(t, devices, "live", tt.do), audit.Options{Workers: 2})
			if !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool {
				return f.Kind == audit.Malformed && strings.Contains(f.Detail, tt.want) && len(f.Owners) == 1 && f.Owners[0].Dataset == "live"
			}) {
				t.Errorf("not found: %v", r.Findings)
			}
			for i := range r.Findings {
				t.Log(&r.Findings[i])
			}
		})
	}
	// The bit that 2.4 has for moved blocks is none of the padding.
	r := run(t, changed(t, devices, "live", pointer(data, func(b *ondisk.BlkPtr) { b.Pad[0] |= 1 << 63 })), audit.Options{Workers: 2})
	if !r.Clean() {
		t.Errorf("a rewritten block: %v", r.Findings)
	}
}

// places are those of a file's data block, of a file that is embedded, and of a block of dnodes with free ones.
func places(t *testing.T, p *ondisk.Pool) (data, embedded, dnodes ondisk.Position) {
	t.Helper()
	err := p.Visit(t.Context(), &ondisk.Visitor{Workers: 1, Block: func(r ondisk.Ref, b ondisk.BlkPtr) error {
		at := ondisk.Position{ObjSet: r.ObjSet, Object: r.Object, Level: r.Level, BlkID: r.BlkID}
		switch {
		case r.ObjSet != 54 || r.Kind != ondisk.RefTree || r.Level > 0:
		case r.Object == ondisk.MetaDNode:
			dnodes = at
		case b.Type() == ondisk.TypePlainFile && b.Embedded():
			embedded = at
		case b.Type() == ondisk.TypePlainFile && data.ObjSet == 0:
			data = at
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return data, embedded, dnodes
}

// changed is a pool in memory with a change.
func changed(t *testing.T, devices []ondisk.Device, name string, do func(*ondisk.Writer) error) *ondisk.Pool {
	t.Helper()
	w, err := ondisk.NewWriter(t.Context(), devices, ondisk.InPlace, ondisk.Options{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	if err := do(w); err != nil {
		t.Fatal(err)
	}
	return w.Pool()
}

// Small books that nobody but OpenZFS looks into are looked at, too.
func TestStrangeBooks(t *testing.T) {
	block := func(set, object, id uint64, edit func(block []byte, order binary.ByteOrder)) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			_, err := w.Block(t.Context(), ondisk.Position{ObjSet: set, Object: object, BlkID: id}, func(p []byte, order binary.ByteOrder) error {
				edit(p, order)
				return nil
			})
			return err
		}
	}
	object := func(p *ondisk.Pool, name string) uint64 {
		id, err := p.ObjectOf(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	const entry = 64 // the first one of a micro ZAP, and the size of each: value, collision differentiator, name
	live := ondisktest.Open(t, ondisktest.Dir(t, "", "live"), "live")
	logs, err := live.LogSpaceMaps(t.Context())
	if err != nil || len(logs) == 0 {
		t.Fatal("no log", err)
	}
	sets, err := live.Datasets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	root, err := live.DSLDir(t.Context(), sets[0].Dir)
	if err != nil {
		t.Fatal(err)
	}
	bonus := func(p *ondisk.Pool, object uint64, word int) func(*ondisk.Writer) error {
		return func(w *ondisk.Writer) error {
			o, err := p.MOS.Object(t.Context(), object)
			if err != nil {
				return err
			}
			_, err = w.Bonus(t.Context(), o, func(words []uint64) error { words[word] ^= 1 << 60; return nil })
			return err
		}
	}
	freeing := ondisktest.Open(t, ondisktest.Dir(t, "", "freeing"), "freeing")
	dataset := func(name string) uint64 {
		sets, err := freeing.Datasets(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(sets, func(d *ondisk.DSLDataset) bool { return d.Name == name })
		if i < 0 {
			t.Fatal("no", name)
		}
		return sets[i].ID
	}
	removed := ondisktest.Open(t, ondisktest.Dir(t, "", "removed"), "removed")
	var obsolete *ondisk.SpaceMap
	for _, v := range removed.VDevs {
		if s, err := removed.ObsoleteSpaceMap(t.Context(), v); err == nil && s != nil && s.Length > 0 {
			obsolete = s
		}
	}
	if obsolete == nil {
		t.Fatal("no obsolete space map")
	}
	for _, tt := range []struct {
		name, pool string
		do         func(*ondisk.Writer) error
		kind       audit.Kind
		want       string
	}{
		{
			"collision differentiator", "live", block(0, object(live, "features_for_read"), 0, func(p []byte, order binary.ByteOrder) {
				order.PutUint32(p[entry+8:], 1<<16)
			}), audit.Assertion, "collision differentiator 0x10000",
		},
		{
			"no salt", "live", block(0, object(live, "features_for_read"), 0, func(p []byte, order binary.ByteOrder) {
				order.PutUint64(p[8:], 0)
			}), audit.Assertion, "has no salt for its hash",
		},
		{
			"name without end", "live", block(0, object(live, "features_for_read"), 0, func(p []byte, _ binary.ByteOrder) {
				for at := len(p) - entry; at > 0; at -= entry { // a free one: an unknown feature that is not active
					if p[at+14] == 0 {
						copy(p[at+14:at+entry], strings.Repeat("x", entry))
						return
					}
				}
			}), audit.Malformed, "does not end",
		},
		{
			"hash of a name", "live", block(0, 1, leafOf(t, live, 1), func(p []byte, order binary.ByteOrder) {
				const chunk, entry = 24, 252
				for at := 48 + len(p)/32*2; at < len(p); at += chunk {
					if p[at] == entry {
						order.PutUint64(p[at+16:], order.Uint64(p[at+16:])^1<<40)
						return
					}
				}
			}), audit.BrokenTable, "table of type object directory: ZAP object 1 of object set 0: broken table: no lookup finds entry",
		},
		{
			"place of a directory", "live", bonus(live, sets[1].Dir, 2), audit.Unreadable, fmt.Sprintf("DSL directory %d is found in", sets[1].Dir),
		},
		{
			"place of a dataset", "live", bonus(live, sets[1].ID, 0), audit.Unreadable, fmt.Sprintf("DSL dataset %d is found in directory %d", sets[1].ID, sets[1].Dir),
		},
		{
			"snapshot before", "freeing", bonus(freeing, dataset("freeing/a@2"), 1), audit.SnapshotChain, "which it says is the snapshot before it, is none",
		},
		{
			"txg of the snapshot before", "freeing", bonus(freeing, dataset("freeing/a"), 2), audit.SnapshotChain, "freeing/a@5, the snapshot before it, is of txg",
		},
		{
			"dataset after", "freeing", bonus(freeing, dataset("freeing/a@2"), 3), audit.SnapshotChain, "which does not come after it",
		},
		{
			"snapshot after what is none", "freeing", bonus(freeing, dataset("freeing/a"), 3), audit.SnapshotChain, "what is no snapshot has object",
		},
		{
			"snapshots and clones", "freeing", bonus(freeing, dataset("freeing/a@1"), 5), audit.SnapshotChain, "2 datasets come after it or are clones of it, it says",
		},
		{
			"txg of no snapshot", "freeing", bonus(freeing, dataset("freeing/$ORIGIN@$ORIGIN"), 2), audit.SnapshotChain, "no snapshot is before it, in txg",
		},
		{
			"snapshot of another", "freeing", func(w *ondisk.Writer) error {
				head, err := freeing.MOS.Object(t.Context(), dataset("freeing/a"))
				if err != nil {
					return err
				}
				_, err = w.Bonus(t.Context(), head, func(words []uint64) error { words[1] = dataset("freeing/lists@1"); return nil })
				return err
			}, audit.SnapshotChain, "is neither before it nor what it is a clone of",
		},
		{
			"no $FREE", "live", func(w *ondisk.Writer) error {
				_, err := w.Pointer(t.Context(), ondisk.Position{Object: root.ChildDirs}, func(b *ondisk.BlkPtr) error {
					name := bytes.Index(b.Encode(), []byte("FREE")) // embedded, and compressed
					if name < 0 {
						return errors.New("no name in it")
					}
					raw := b.Encode()
					raw[name] = 'T'
					var err error
					*b, err = ondisk.DecodeBlkPtr(raw)
					return err
				})
				return err
			}, audit.Unreadable, "there is no $FREE",
		},
		{
			"hole birth", "live", block(0, object(live, "feature_enabled_txg"), 0, func(p []byte, _ binary.ByteOrder) {
				p[strings.Index(string(p), "com.delphix:hole_birth")]++
			}), audit.Malformed, "hole_birth is active",
		},
		{
			"txg of a log", "live", block(0, logs[0].Object, 0, func(p []byte, order binary.ByteOrder) {
				order.PutUint64(p, order.Uint64(p)^1<<4) // the first entry tells of the txg, in its lower bits
			}), audit.SpaceMapAccounting, "has entries of txg",
		},
		{
			"obsolete space map", "removed", block(0, obsolete.Object.ID, 0, func(p []byte, order binary.ByteOrder) {
				for at := 0; at < int(obsolete.Length); at += 8 {
					switch w := order.Uint64(p[at:]); w >> 62 {
					case 2: // tells of a txg
					case 3: // of two words
						order.PutUint64(p[at+8:], order.Uint64(p[at+8:])|1<<50)
						return
					default:
						order.PutUint64(p[at:], w|1<<56)
						return
					}
				}
			}), audit.OutsideMetaslab, "beyond the end of the removed vdev",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			devices := ondisktest.Images(t, ondisktest.Dir(t, "", tt.pool))
			r := run(t, changed(t, devices, tt.pool, tt.do), audit.Options{Workers: 2})
			if !slices.ContainsFunc(r.Findings, func(f audit.Finding) bool { return f.Kind == tt.kind && strings.Contains(f.Detail, tt.want) }) {
				t.Error("not found")
			}
			for i := range r.Findings {
				t.Log(&r.Findings[i])
			}
		})
	}
}

// A pool with an active feature that nobody here knows is refused, also when readers need not know it.
func TestUnknownFeature(t *testing.T) {
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "live"))
	p := changed(t, devices, "live", func(w *ondisk.Writer) error {
		id, err := w.Pool().ObjectOf(t.Context(), "features_for_write")
		if err != nil {
			return err
		}
		_, err = w.Block(t.Context(), ondisk.Position{Object: id}, func(p []byte, _ binary.ByteOrder) error {
			copy(p[strings.Index(string(p), "com.delphix:log_spacemap"):], "com.delphix:new_spacemap")
			return nil
		})
		return err
	})
	_, err := audit.Pool(t.Context(), p, audit.Options{TempDir: t.TempDir()})
	var refused *ondisk.UnsupportedError
	if !errors.As(err, &refused) || !strings.Contains(refused.What, "com.delphix:new_spacemap") {
		t.Errorf("%v", err)
	}
}

// A leaf of a table in which a lookup goes astray is named; the entries are read all the same.
func TestBrokenTable(t *testing.T) {
	const (
		chunk = 24
		entry = 252
		free  = 253
	)
	devices := ondisktest.Images(t, ondisktest.Dir(t, "", "cloned"))
	sound := ondisktest.Open(t, ondisktest.Dir(t, "", "cloned"), "cloned")
	tables, err := sound.BRTs(t.Context())
	if err != nil || len(tables) == 0 {
		t.Fatal("no table", err)
	}
	for _, tt := range []struct {
		name string
		edit func(table, chunks []byte, head []byte, order binary.ByteOrder)
	}{
		{"chain to nowhere", func(table, _, _ []byte, order binary.ByteOrder) { order.PutUint16(table, 0x3518) }},
		{"chain that is cut", func(table, _, _ []byte, order binary.ByteOrder) {
			for at := 0; at < len(table); at += 2 {
				if order.Uint16(table[at:]) != 0xffff {
					order.PutUint16(table[at:], 0xffff)
					return
				}
			}
		}},
		{"chain of another hash", func(table, _, _ []byte, order binary.ByteOrder) {
			for at := 0; at < len(table)-2; at += 2 {
				if a, b := order.Uint16(table[at:]), order.Uint16(table[at+2:]); a != b {
					order.PutUint16(table[at:], b)
					order.PutUint16(table[at+2:], a)
					return
				}
			}
		}},
		{"circle", func(_, chunks, _ []byte, order binary.ByteOrder) {
			for at := 0; at < len(chunks); at += chunk {
				if chunks[at] == entry {
					order.PutUint16(chunks[at+2:], uint16(at/chunk))
					return
				}
			}
		}},
		{"free chunk in use", func(_, chunks, head []byte, order binary.ByteOrder) {
			for at := 0; at < len(chunks); at += chunk {
				if chunks[at] == entry {
					order.PutUint16(head[34:], uint16(at/chunk))
					return
				}
			}
		}},
		{"free chunks that are forgotten", func(_, chunks, _ []byte, order binary.ByteOrder) {
			for at := 0; at < len(chunks); at += chunk {
				if chunks[at] == free && order.Uint16(chunks[at+22:]) != 0xffff {
					order.PutUint16(chunks[at+22:], 0xffff)
					return
				}
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := changed(t, devices, "cloned", func(w *ondisk.Writer) error {
				_, err := w.Block(t.Context(), ondisk.Position{Object: tables[0].EntriesObject, BlkID: leafOf(t, sound, tables[0].EntriesObject)}, func(p []byte, order binary.ByteOrder) error {
					start := 48 + len(p)/32*2
					tt.edit(p[48:start], p[start:start+((len(p)-2*(len(p)/32))/chunk-2)*chunk], p, order)
					return nil
				})
				return err
			})
			r := run(t, p, audit.Options{Workers: 2})
			if len(r.Findings) != 1 || r.Findings[0].Kind != audit.BrokenTable || r.Incomplete {
				t.Errorf("incomplete: %v", r.Incomplete)
			}
			for i := range r.Findings {
				t.Log(&r.Findings[i])
			}
		})
	}
}

// leafOf is a block with entries of a table in the MOS.
func leafOf(t *testing.T, p *ondisk.Pool, object uint64) uint64 {
	t.Helper()
	o, err := p.MOS.Object(t.Context(), object)
	if err != nil {
		t.Fatal(err)
	}
	for id := uint64(1); id <= o.MaxBlkID; id++ {
		block, err := o.Block(t.Context(), id)
		if err == nil && block.Order.Uint64(block.Data) == 1<<63 && block.Order.Uint16(block.Data[30:]) > 2 {
			return id
		}
	}
	t.Fatal("no leaf with entries")
	return 0
}
