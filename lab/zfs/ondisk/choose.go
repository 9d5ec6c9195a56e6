package ondisk

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/printable"
)

// NoPoolError says that the devices that were given have no pool, not the one that was asked for, or several. All but the
// last are ErrNotFound.
type NoPoolError struct {
	// Asked is the name or the GUID that was asked for, empty if any would do.
	Asked string
	// There are the pools on the devices.
	There []PoolName
	// Spares and Caches serve pools that their labels do not name. Strangers have no label of a pool.
	Spares, Caches, Strangers []Device
}

// PoolName is what a pool is known by.
type PoolName struct {
	Name string
	GUID uint64
}

func (n PoolName) String() string { return fmt.Sprintf("%s (%d)", n.Name, n.GUID) }

func (e *NoPoolError) Error() string {
	var s strings.Builder
	switch {
	case len(e.There) > 0 && e.Asked == "":
		fmt.Fprintf(&s, "more than one pool on these devices, choose one: %v", e.There)
	case len(e.There) > 0:
		fmt.Fprintf(&s, "no pool %s on these devices, which have %v", e.Asked, e.There)
	case e.Asked != "":
		fmt.Fprintf(&s, "no pool on these devices, neither %s nor another", e.Asked)
	default:
		s.WriteString("no pool on these devices")
	}
	for _, l := range []struct {
		what    string
		devices []Device
	}{{"a hot spare", e.Spares}, {"a cache (L2ARC)", e.Caches}} {
		for _, d := range l.devices {
			fmt.Fprintf(&s, "; %s is %s, whose label does not say of which pool: name the devices that have the pool's data", d.Name, l.what)
		}
	}
	return s.String()
}

// Is says that the error is ErrNotFound, unless there are too many pools.
func (e *NoPoolError) Is(target error) bool {
	return target == ErrNotFound && (len(e.There) == 0 || e.Asked != "")
}

// States of a label (pool_state_t in include/sys/fs/zfs.h). Devices with the last two are no part of the pool's own space.
const (
	stateExported = 1
	stateSpare    = 3
	stateCache    = 4
)

// choose keeps the members of one pool.
func choose(members []*member, unused []Device, o Options) (chosen []*member, strangers []Device, err error) {
	none := &NoPoolError{Strangers: unused, Asked: printable.Line(o.Name)}
	if o.GUID != 0 {
		none.Asked = strconv.FormatUint(o.GUID, 10)
	}
	pools, there := map[uint64]string{}, map[uint64]string{}
	for _, m := range members {
		name, _ := m.config.String("name")
		state, _ := m.config.Uint64("state")
		switch {
		case m.poolGUID != 0:
			there[m.poolGUID] = name
		case state == stateSpare:
			none.Spares = append(none.Spares, m.device)
		case state == stateCache:
			none.Caches = append(none.Caches, m.device)
		default:
			none.Strangers = append(none.Strangers, m.device)
		}
		if m.poolGUID == 0 || o.GUID != 0 && m.poolGUID != o.GUID || o.Name != "" && name != printable.Line(o.Name) {
			strangers = append(strangers, m.device)
			continue
		}
		pools[m.poolGUID] = name
		chosen = append(chosen, m)
	}
	if len(pools) == 1 {
		return chosen, strangers, nil
	}
	if len(pools) > 1 {
		there, none.Asked = pools, "" // those of one name are told apart by GUID
	}
	for guid, name := range there {
		none.There = append(none.There, PoolName{name, guid})
	}
	slices.SortFunc(none.There, func(a, b PoolName) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.GUID, b.GUID)) })
	return nil, nil, none
}
