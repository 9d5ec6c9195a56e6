package fault

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/kernel"
)

// place is an instruction of the guest's kernel.
type place struct {
	name string
	addr uint64
	// fn is the function whose entry it is, nil elsewhere and where arguments are not known.
	fn *kernel.Func
}

var codeForm = regexp.MustCompile(`^(?:([A-Za-z_][A-Za-z0-9_.]*)(?:\+(0x[0-9a-f]+))?|(0x[0-9a-f]+))$`)

// Address is that of a place in code. The guest may be asked, so it must run.
func (s Site) Address(ctx context.Context, at string) (uint64, error) {
	k, err := s.Kernel(ctx)
	if err != nil {
		return 0, err
	}
	p, err := findPlace(ctx, s, k, at)
	return p.addr, err
}

// findPlace finds a place in code by its name. A function that the compiler split is refused: calls of it that go
// elsewhere would be missed without notice.
func findPlace(ctx context.Context, s Site, k *kernel.Kernel, at string) (place, error) {
	m := codeForm.FindStringSubmatch(at)
	if m == nil {
		return place{}, fmt.Errorf("%q is no place in code; write a function, function+0x12 or an address", at)
	}
	name, offset, addr := m[1], m[2], m[3]
	p := place{name: at}
	var err error
	if addr != "" {
		p.addr, err = strconv.ParseUint(addr, 0, 64)
		return p, err
	}
	fn, err := k.Types().Func(name)
	switch {
	case err == nil:
		if p.addr, err = k.Addr(name); err != nil {
			return place{}, err
		}
	case errors.Is(err, kernel.ErrUnknown), strings.Contains(name, "."), offset != "":
		// A function of the kernel itself, or one that was named as the compiler named it.
		symbols, err := s.Guest.Symbols(ctx, name)
		if err != nil {
			return place{}, err
		}
		p.addr = symbols[name]
	default:
		return place{}, fmt.Errorf("stop at %s: %w; write a function that calls it, or the compiler's name for it, where arguments are not known", name, err)
	}
	if offset != "" {
		n, err := strconv.ParseUint(offset, 0, 32)
		p.addr += n
		return p, err
	}
	if fn == nil {
		return p, nil
	}
	if elsewhere := slices.DeleteFunc(slices.Clone(fn.Clones), func(c string) bool { return strings.Contains(c, ".cold") }); len(elsewhere) > 0 {
		return place{}, fmt.Errorf("stop at %s: the compiler split it, calls may go to %s instead; write that, where arguments are not known, a function that calls it, or %s+0x0 if some of the calls will do",
			name, strings.Join(elsewhere, ", "), name)
	}
	p.fn = fn
	return p, nil
}
