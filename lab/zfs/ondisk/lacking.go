package ondisk

import (
	"fmt"
	"slices"
	"strings"
)

// LackingError says that a pool cannot be read for want of devices. It is ErrMissing.
type LackingError struct {
	VDevs []Lacking
	// OnlyLog is a log vdev when no other was given.
	OnlyLog *VDev
	// Strangers are the devices that were given and are no members of the pool.
	Strangers []Device
}

// Lacking is a top-level vdev that cannot be read.
type Lacking struct {
	ID uint64
	// VDev is nil when no device tells more of it than that it exists.
	VDev *VDev
	// Of the Of devices below the vdev some are Missing, and Need of these are needed.
	Need, Of int
	Missing  []*VDev
}

func (e *LackingError) Error() string {
	all := make([]string, len(e.VDevs))
	for i := range e.VDevs {
		all[i] = e.VDevs[i].String()
	}
	text := "it lacks devices: " + strings.Join(all, "; ")
	if e.OnlyLog != nil {
		text += fmt.Sprintf("; only a log device of it, vdev %d, was given", e.OnlyLog.ID)
	}
	return text
}

// Is says that the error is ErrMissing.
func (e *LackingError) Is(target error) bool { return target == ErrMissing }

// maxNamed is how many devices a message names.
const maxNamed = 16

func (l *Lacking) String() string {
	if l.VDev == nil {
		return fmt.Sprintf("vdev %d, of which nothing was given", l.ID)
	}
	names := make([]string, 0, maxNamed)
	for _, v := range l.Missing[:min(len(l.Missing), maxNamed)] {
		names = append(names, fmt.Sprintf("%v (GUID %d)", v, v.GUID))
	}
	if more := len(l.Missing) - len(names); more > 0 {
		names = append(names, fmt.Sprintf("%d others", more))
	}
	use := ""
	if l.VDev.Log {
		use = "log "
	}
	list := strings.Join(names, ", ")
	switch {
	case l.VDev.Leaf():
		return fmt.Sprintf("%svdev %d is %s", use, l.ID, list)
	case l.Need == len(l.Missing):
		return fmt.Sprintf("%svdev %d (%v) needs %s", use, l.ID, l.VDev, list)
	}
	return fmt.Sprintf("%svdev %d (%v) has %d of its %d members and needs %d more of %s", use, l.ID, l.VDev, l.Of-len(l.Missing), l.Of, l.Need, list)
}

// Lacking is an error that says which devices are needed to read the whole pool, and which were given and are not what they
// should be; nil if the pool can be read. It wraps a *LackingError.
func (p *Pool) Lacking() error {
	lacking := p.lacking()
	if lacking == nil {
		return nil
	}
	err := error(lacking)
	for _, short := range p.shorts() {
		err = fmt.Errorf("%w; %w", err, short)
	}
	return err
}

func (p *Pool) lacking() *LackingError {
	count := uint64(len(p.VDevs))
	if p.Config == nil { // then the vdevs are those of which a label was found
		children, _ := p.Label.Uint64("vdev_children")
		count = max(count, min(children, maxVDevs))
	}
	holes, _ := p.Label.Uint64s("hole_array")
	e := &LackingError{}
	var given []*VDev
	for id := range count {
		if id >= uint64(len(p.VDevs)) || p.VDevs[id] == nil {
			if p.Config == nil && !slices.Contains(holes, id) {
				e.VDevs = append(e.VDevs, Lacking{ID: id})
			}
			continue
		}
		v := p.VDevs[id]
		given = append(given, v)
		if need, missing := v.lacks(); v.Concrete() && need > 0 {
			e.VDevs = append(e.VDevs, Lacking{ID: id, VDev: v, Need: need, Of: v.devices(), Missing: missing})
		}
	}
	if len(e.VDevs) == 0 {
		return nil
	}
	if p.Config == nil && !slices.ContainsFunc(given, func(v *VDev) bool { return !v.Log }) && len(given) > 0 {
		e.OnlyLog = given[0]
	}
	return e
}

// devices is how many leaves are below a vdev, or 1 for a leaf.
func (v *VDev) devices() (n int) {
	for w := range v.All() {
		if w.Leaf() {
			n++
		}
	}
	return n
}

// lacks is how many more devices are needed to read a vdev, and which are missing below it.
func (v *VDev) lacks() (need int, missing []*VDev) {
	if v.Leaf() {
		if v.Device != nil {
			return 0, nil
		}
		return 1, []*VDev{v}
	}
	var needs []int // of each child
	for _, c := range v.Children {
		n, m := c.lacks()
		needs, missing = append(needs, n), append(missing, m...)
	}
	enough := min(1, len(v.Children)) // of a mirror or what is like one: distributed spares have no children and no device
	if v.Parity > 0 {
		enough = len(v.Children) - v.Parity
	}
	slices.Sort(needs)
	for _, n := range needs[:min(max(enough, 0), len(needs))] {
		need += n
	}
	return need, missing
}
