package ondisk

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
)

// saTable says how the attributes of a file system's objects lie in their bonus and spill (module/zfs/sa.c).
type saTable struct {
	sizes   map[uint16]uint16 // by attribute, 0: the size varies
	numbers map[string]uint16
	layouts map[uint16][]uint16 // the attributes in their order
}

const (
	saMagic     = 0x2f505a
	maxAttr     = 1 << 12
	maxLayouts  = 1 << 14
	saHeadFixed = 6 // bytes of the header before the sizes
)

// loadSA reads registration and layouts, from the object that the master node names.
func loadSA(ctx context.Context, os *ObjSet, id uint64) (*saTable, error) {
	master, err := os.ZAP(ctx, id)
	if err != nil {
		return nil, err
	}
	t := &saTable{sizes: map[uint16]uint16{}, numbers: map[string]uint16{}, layouts: map[uint16][]uint16{}}
	err = eachUnder(ctx, os, master, "REGISTRY", func(e *ZAPEntry) error {
		v := e.Uint64()
		number := uint16(bits(v, 0, 16))
		t.sizes[number], t.numbers[e.Name] = uint16(bits(v, 24, 16)), number
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = eachUnder(ctx, os, master, "LAYOUTS", func(e *ZAPEntry) error {
		number, err := strconv.ParseUint(e.Name, 10, 16)
		if err != nil || len(t.layouts) > maxLayouts || e.NumInts > maxAttr {
			return corrupt("attribute layout %q", e.Name)
		}
		var attrs []uint16
		for _, a := range e.Uint64s() {
			attrs = append(attrs, uint16(a))
		}
		t.layouts[uint16(number)] = attrs
		return nil
	})
	return t, err
}

func eachUnder(ctx context.Context, os *ObjSet, master *ZAP, name string, do func(*ZAPEntry) error) error {
	e, err := master.Lookup(ctx, name)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	z, err := os.ZAP(ctx, e.Uint64())
	if err != nil {
		return err
	}
	for e, err := range z.All(ctx) {
		if err != nil {
			return err
		}
		if err := do(&e); err != nil {
			return err
		}
	}
	return nil
}

// attribute finds an attribute in a bonus or spill: nil if it is not there.
func (t *saTable) attribute(p []byte, order binary.ByteOrder, name string) ([]byte, error) {
	number, ok := t.numbers[name]
	if !ok || len(p) < saHeadFixed {
		return nil, nil
	}
	if order.Uint32(p) != saMagic {
		return nil, corrupt("attributes with magic %#x", order.Uint32(p))
	}
	info := order.Uint16(p[4:])
	layout, head := info&(1<<10-1), int(info>>10)*8
	attrs, ok := t.layouts[layout]
	if !ok || head < saHeadFixed || head > len(p) {
		return nil, corrupt("attributes with layout %d and a header of %d bytes", layout, head)
	}
	at, variable := head, saHeadFixed
	for _, a := range attrs {
		size := int(t.sizes[a])
		if size == 0 {
			if variable+2 > head {
				return nil, corrupt("attributes of layout %d without sizes", layout)
			}
			size = int(order.Uint16(p[variable:]))
			variable += 2
		}
		if at+size > len(p) {
			return nil, corrupt("attributes of layout %d in %d bytes", layout, len(p))
		}
		if a == number {
			return p[at : at+size], nil
		}
		at = (at + size + 7) &^ 7
	}
	return nil, nil
}

// number finds a 64-bit attribute of an object, in its bonus or its spill.
func (t *saTable) number(ctx context.Context, o *Object, name string) (uint64, error) {
	if o.bonusEncrypted {
		return 0, fmt.Errorf("%v: %w", o, ErrEncrypted)
	}
	p, order := o.Bonus, o.Order
	a, err := t.attribute(p, order, name)
	if err == nil && a == nil && o.Spill != nil {
		var block Block
		if block, err = o.Set.pool.Read(ctx, *o.Spill); err == nil {
			order = block.Order
			a, err = t.attribute(block.Data, order, name)
		}
	}
	if err == nil && len(a) < 8 {
		err = fmt.Errorf("attribute %s: %w", name, ErrNotFound)
	}
	if err != nil {
		return 0, fmt.Errorf("%v: %w", o, err)
	}
	return order.Uint64(a), nil
}
