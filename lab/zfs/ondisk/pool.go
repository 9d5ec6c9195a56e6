package ondisk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/vdevil/vdevil/lab/printable"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/compress"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// Options say how a pool is opened.
type Options struct {
	// Name or GUID choose among several pools; empty and 0 take the only one.
	Name string
	GUID uint64
	// TXG opens the pool as it was: the newest uberblock that is not younger. 0 takes the newest there is. What was
	// freed since may have been overwritten, which checksums tell.
	TXG uint64
	// CacheBytes bounds the cache of metadata blocks, 0 for 64 MiB.
	CacheBytes int64
	// Work is how much reading may cost, in units of about 0.2 µs, before it ends with ErrExcess; 0 is 2048 for each 512
	// bytes of the devices, and 2^29, more than any pool needs that OpenZFS made.
	Work int64
	// Workers is how many blocks are decompressed with Zstandard at once, 0 for 1.
	Workers int
}

const defaultCache = 64 << 20

// Pool is an open pool at one transaction group. It is safe for concurrent use.
type Pool struct {
	Name string
	GUID uint64
	// Uberblock is the one that the pool was opened with, Uberblocks all different ones that its labels hold, the
	// newest first.
	Uberblock  Uberblock
	Uberblocks []Uberblock
	// Config is the configuration in the MOS, Label the newest one in a label, which tells who had the pool last: its
	// state (0 imported, 1 exported, 2 destroyed), hostid and hostname.
	Config, Label *nvlist.List
	// VDevs are the top-level vdevs by ID, those that were removed included; nil where there is a gap.
	VDevs []*VDev
	// Missing are the leaves for which no device was given, Unused the devices that are no part of the pool.
	Missing []*VDev
	Unused  []Device
	// Notes are sentences about the devices that were given: which was given twice, which is too small or lacks labels.
	Notes []string
	// Features are the active ones, and those that are enabled with count 0, by their full names.
	Features map[string]uint64
	// Deflate says that sums of space leave out parity and padding, as since version 3 (spa_deflate).
	Deflate bool
	MOS     *ObjSet
	// Directory is object 1 of the MOS, where everything begins.
	Directory *ZAP

	room    uint64
	work    *atomic.Int64 // what is left; nil: there is no end to it
	members []*member     // the devices that were selected
	hasher  *checksum.Hasher
	decoder *compress.Decoder
	cache   *cache
	second  *atomic.Uint64 // see SecondTries
}

// Open assembles a pool from devices in any order, some of which may be missing, damaged or strangers. A member may be
// a partition of a device. An error means that the MOS cannot be read; what is wrong with vdevs shows when something on
// them is read.
func Open(ctx context.Context, devices []Device, o Options) (*Pool, error) {
	members, unused := findMembers(ctx, devices)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	members, strangers, err := choose(members, unused, o)
	if err != nil {
		return nil, err
	}
	o.Work = cmp.Or(o.Work, maxWork(devices))
	var failed error
	for _, selected := range selections(members) {
		p, err := assemble(ctx, selected, o)
		if err == nil {
			for i := range devices {
				p.room += devices[i].room()
			}
			p.Unused = slices.Concat(unused, strangers)
			p.Notes = append(noteDoubles(members, selected), p.Notes...)
			return p, nil
		}
		if failed == nil {
			failed = err
		}
	}
	var lacking *LackingError
	if errors.As(failed, &lacking) {
		lacking.Strangers = slices.Concat(unused, strangers)
	}
	return nil, failed
}

// assemble opens the pool that one device for each member make.
func assemble(ctx context.Context, members []*member, o Options) (*Pool, error) {
	decoder, err := compress.NewDecoder(o.Workers)
	if err != nil {
		return nil, err
	}
	p := &Pool{
		GUID: members[0].poolGUID, members: members, hasher: checksum.NewHasher(checksum.Salt{}), decoder: decoder,
		cache: newCache(cmp.Or(o.CacheBytes, defaultCache)), second: new(atomic.Uint64), work: new(atomic.Int64),
	}
	p.work.Store(o.Work)
	newest := members[0]
	for _, m := range members {
		if m.txg > newest.txg {
			newest = m
		}
	}
	p.Name, _ = newest.config.String("name")
	p.Label = newest.config
	if err := p.open(ctx, members, newest, o.TXG); err != nil {
		return nil, fmt.Errorf("open pool %s: %w", p.Name, err)
	}
	return p, nil
}

// findMembers reads the labels of devices, and of the partitions of those that have no labels themselves.
func findMembers(ctx context.Context, devices []Device) (members []*member, unused []Device) {
	for _, d := range devices {
		m, err := readMember(ctx, d)
		if err == nil {
			members = append(members, m)
			continue
		}
		parts, _ := Partitions(ctx, d) // a table that cannot be read is none
		found := len(members)
		for _, part := range parts {
			if m, err := readMember(ctx, part); err == nil {
				members = append(members, m)
			}
		}
		if len(members) == found {
			unused = append(unused, d)
		}
	}
	return members, unused
}

func (p *Pool) open(ctx context.Context, members []*member, newest *member, txg uint64) error {
	if active, ok := newest.config.List("features_for_read"); ok {
		// Names are all there is: that one is listed says that it is active.
		features := map[string]uint64{}
		for _, f := range active.Pairs {
			features[printable.Line(f.Name)] = 1
		}
		if err := checkFeatures(features); err != nil {
			return err
		}
	}
	if err := p.chooseUberblock(members, txg); err != nil {
		return err
	}
	if err := p.treeOfLabels(members); err != nil {
		return err
	}
	p.attach(members)
	err := p.openMOS(ctx)
	if err == nil { // small blocks of a raidz may be whole on fewer devices than large ones
		err = p.treeOfMOS(ctx)
	}
	if err != nil {
		return cmp.Or(ctx.Err(), p.Lacking(), err)
	}
	p.attach(members)
	for v := range p.vdevs() {
		if v.Leaf() && v.Device == nil {
			p.Missing = append(p.Missing, v)
		}
	}
	p.noteDevices(members)
	p.loadMappings(ctx)
	p.loadBias(ctx)
	return ctx.Err()
}

// Versions of pools: the last with a number, and the one that has features (include/sys/fs/zfs.h).
const (
	lastVersion    = 28
	featureVersion = 5000
	raidz2Version  = 3 // SPA_VERSION_RAIDZ2: before it there was one parity, and nobody had to say so
	raidz3Version  = 17
)

func (p *Pool) chooseUberblock(members []*member, txg uint64) error {
	for _, m := range members {
		for _, l := range m.labels {
			for _, s := range l.Ring {
				p.Uberblocks = append(p.Uberblocks, s.Uberblock)
			}
		}
	}
	slices.SortFunc(p.Uberblocks, func(a, b Uberblock) int { return b.compare(&a) })
	p.Uberblocks = slices.CompactFunc(p.Uberblocks, func(a, b Uberblock) bool { return a.compare(&b) == 0 })
	for _, u := range p.Uberblocks {
		if txg == 0 || u.TXG <= txg {
			p.Uberblock = u
			if u.Version == 0 || u.Version > lastVersion && u.Version != featureVersion {
				return unsupported("pool version %d", u.Version)
			}
			return nil
		}
	}
	if len(p.Uberblocks) == 0 {
		return fmt.Errorf("%w: an uberblock with a good checksum", ErrNotFound)
	}
	e := &TXGError{TXG: txg}
	for _, u := range p.Uberblocks {
		e.Left = append(e.Left, u.TXG)
	}
	slices.Sort(e.Left)
	e.Left = slices.Compact(e.Left)
	return e
}

// TXGError says that the labels have no uberblock of a txg, nor one before it. It is ErrNotFound.
type TXGError struct {
	TXG uint64
	// Left are the txgs that there are uberblocks of, ascending.
	Left []uint64
}

func (e *TXGError) Error() string {
	var list []string
	for i := 0; i < len(e.Left); i++ {
		from := e.Left[i]
		for i+1 < len(e.Left) && e.Left[i+1] == e.Left[i]+1 {
			i++
		}
		text := strconv.FormatUint(from, 10)
		if to := e.Left[i]; to != from {
			text = fmt.Sprintf("%d-%d", from, to)
		}
		list = append(list, text)
	}
	return fmt.Sprintf("no uberblock of txg %d or before is left; there are those of txg %s", e.TXG, strings.Join(list, ", "))
}

// Is says that the error is ErrNotFound.
func (e *TXGError) Is(target error) bool { return target == ErrNotFound }

// maxVDevs is how many top-level vdevs a pool may have.
const maxVDevs = 1 << 16

// treeOfLabels makes the tree as far as the labels tell it: each knows its own top-level vdev.
func (p *Pool) treeOfLabels(members []*member) error {
	txgs := map[uint64]uint64{}
	p.VDevs = nil
	for _, m := range members {
		tree, ok := m.config.List("vdev_tree")
		if !ok {
			continue // a spare or a cache
		}
		id, _ := tree.Uint64("id")
		if have, ok := txgs[id]; ok && have >= m.txg {
			continue
		}
		if err := p.addTop(tree); err != nil {
			return err
		}
		txgs[id] = m.txg
	}
	return nil
}

func (p *Pool) addTop(c *nvlist.List) error {
	v, err := newVDev(c, 0)
	if err != nil {
		return err
	}
	if v.ID >= maxVDevs {
		return corrupt("vdev %d", v.ID)
	}
	for uint64(len(p.VDevs)) <= v.ID {
		p.VDevs = append(p.VDevs, nil)
	}
	p.VDevs[v.ID] = v
	for w := range v.All() {
		w.pool = p
		if w.problem == nil && w.unsaidParity && p.Uberblock.Version >= raidz2Version {
			w.problem = corrupt("vdev %d is a raidz that does not say of how many parities", w.ID)
		}
		w.AShift = v.AShift // of members it is what the top-level vdev has
	}
	v.noMapping = corrupt("the mapping of removed vdev %d is not loaded", v.ID)
	if v.Type == vdevIndirect {
		v.problem = v.noMapping
	}
	return nil
}

// Exported says whether the pool was opened as an export has left it: there is no transaction group that had not been synced.
func (p *Pool) Exported() bool {
	state, _ := p.Label.Uint64("state")
	return state == stateExported && p.Uberblock.TXG == p.Uberblocks[0].TXG
}

// vdevs are all of the tree, at whatever depth.
func (p *Pool) vdevs() iter.Seq[*VDev] {
	return func(yield func(*VDev) bool) {
		for _, v := range p.VDevs {
			if v != nil && !v.all(yield) {
				return
			}
		}
	}
}

func (p *Pool) openMOS(ctx context.Context) error {
	var err error
	if p.MOS, err = p.OpenObjSet(ctx, p.Uberblock.Root, 0); err != nil {
		return fmt.Errorf("MOS of txg %d: %w", p.Uberblock.TXG, err)
	}
	const directory = 1 // DMU_POOL_DIRECTORY_OBJECT
	if p.Directory, err = p.MOS.ZAP(ctx, directory); err != nil {
		return err
	}
	if err := p.readFeatures(ctx); err != nil {
		return err
	}
	deflate, err := p.ObjectOf(ctx, "deflate")
	if err != nil && !isNotFound(err) {
		return err
	}
	p.Deflate = deflate != 0
	salt, err := p.Directory.Lookup(ctx, "org.illumos:checksum_salt")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var s checksum.Salt
	if len(salt.Value) != len(s) || salt.IntSize != 1 {
		return corrupt("a checksum salt of %d bytes", len(salt.Value))
	}
	copy(s[:], salt.Value)
	p.hasher = checksum.NewHasher(s)
	return nil
}

func (p *Pool) readFeatures(ctx context.Context) error {
	p.Features = map[string]uint64{}
	for _, list := range []string{"features_for_read", "features_for_write"} {
		z, err := p.zapOf(ctx, list)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		found := map[string]uint64{}
		for e, err := range z.All(ctx) {
			if errors.Is(err, ErrBrokenTable) {
				continue // the entries are there
			}
			if err != nil {
				return err
			}
			name := printable.Line(e.Name)
			found[name], p.Features[name] = e.Uint64(), e.Uint64()
		}
		if list == "features_for_read" {
			if err := checkFeatures(found); err != nil {
				return err
			}
		}
	}
	return nil
}

// ObjectOf is the number that the pool's directory has under a name.
func (p *Pool) ObjectOf(ctx context.Context, name string) (uint64, error) {
	e, err := p.Directory.Lookup(ctx, name)
	return e.Uint64(), err
}

func (p *Pool) zapOf(ctx context.Context, name string) (*ZAP, error) {
	id, err := p.ObjectOf(ctx, name)
	if err != nil {
		return nil, err
	}
	return p.MOS.ZAP(ctx, id)
}

// maxConfig bounds the configuration in the MOS, in bytes.
const maxConfig = 16 << 20

// treeOfMOS replaces the tree by that of the configuration in the MOS, which knows all vdevs.
func (p *Pool) treeOfMOS(ctx context.Context) error {
	id, err := p.ObjectOf(ctx, "config")
	if err != nil {
		return err
	}
	o, err := p.MOS.Object(ctx, id)
	if err != nil {
		return err
	}
	size := o.bonusWords()
	if len(size) == 0 || size[0] > maxConfig {
		return corrupt("a configuration of %d bytes", size)
	}
	packed, _, err := o.readAll(ctx, size[0], o.filled)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if p.Config, err = nvlist.Decode(packed); err != nil {
		return corrupt("configuration: %w", err)
	}
	root, ok := p.Config.List("vdev_tree")
	if !ok {
		return corrupt("a configuration without vdevs")
	}
	tops, _ := root.Lists("children")
	p.VDevs = nil
	for _, c := range tops {
		if err := p.addTop(c); err != nil {
			return err
		}
	}
	return nil
}

// loadMappings reads the mappings of removed vdevs, and of the one that is being removed. One may lie on a vdev that was removed
// later, so they are tried until nothing changes; one that cannot be read is told by whoever needs it.
func (p *Pool) loadMappings(ctx context.Context) {
	for again := true; again; {
		again = false
		for _, v := range p.VDevs {
			if v == nil || v.Type != vdevIndirect && !v.Removing() || v.noMapping == nil {
				continue
			}
			if v.noMapping = v.loadMapping(ctx, p.MOS); v.noMapping == nil {
				again = true
			}
			if v.Type == vdevIndirect {
				v.problem = v.noMapping
			}
		}
	}
}

// loadBias reads what each top-level vdev is for. Where that cannot be read it stays unknown: nothing depends on it.
func (p *Pool) loadBias(ctx context.Context) {
	for _, v := range p.VDevs {
		if v == nil || v.TopZAP == 0 || v.Bias != "" {
			continue
		}
		z, err := p.MOS.ZAP(ctx, v.TopZAP)
		if err != nil {
			continue
		}
		if e, err := z.Lookup(ctx, "org.zfsonlinux:allocation_bias"); err == nil {
			v.Bias = cString(e.Value)
		}
	}
}

// cString is what is before the first zero, made printable.
func cString(p []byte) string {
	if i := slices.Index(p, 0); i >= 0 {
		p = p[:i]
	}
	return printable.Line(string(p))
}
