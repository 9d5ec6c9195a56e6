package guest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// ErrNoParameter says that the guest's version of a module has no such parameter.
var ErrNoParameter = errors.New("no such module parameter")

// Exit statuses of setParameter for what is no trouble of the guest.
const (
	statusNoModule    = 81
	statusNoParameter = 82
)

// SetParameter sets a parameter of a loaded kernel module, like zfs and metaslab_force_ganging.
func (g *Guest) SetParameter(ctx context.Context, module, name, value string) error {
	folder := path.Join("/sys/module", module)
	file := path.Join(folder, "parameters", name)
	_, err := g.Run(ctx, fmt.Sprintf("test -d %s || exit %d; test -e %s || { cat %s/version >&2; exit %d; }; printf %%s %s >%s",
		shellescape.Quote(folder), statusNoModule, shellescape.Quote(file), shellescape.Quote(folder), statusNoParameter, shellescape.Quote(value), shellescape.Quote(file)))
	var exit *ExitError
	if errors.As(err, &exit) {
		switch exit.Status {
		case statusNoModule:
			return fmt.Errorf("set %s=%s: module %s is not loaded", name, value, module)
		case statusNoParameter:
			return fmt.Errorf("set %s=%s: %w: %s %s has no %s", name, value, ErrNoParameter, module, exit.Stderr, name)
		}
	}
	if err != nil {
		return fmt.Errorf("set %s=%s of module %s: %w", name, value, module, err)
	}
	return nil
}

// Symbols gives the addresses of kernel symbols, those of modules included. A name that is missing or stands for several
// addresses is an error: a compiler may have split or inlined a static function.
func (g *Guest) Symbols(ctx context.Context, names ...string) (map[string]uint64, error) {
	if len(names) == 0 {
		return map[string]uint64{}, nil
	}
	// The list has 5 MB and the network is emulated, so the guest filters it. -F and -w are fast and find a little more
	// than asked for. The status says only whether anything was found.
	words := []string{"grep", "-wF"}
	for _, name := range names {
		words = append(words, "-e", name)
	}
	output, err := g.Run(ctx, shellescape.QuoteCommand(words)+" /proc/kallsyms || test $? = 1")
	if err != nil {
		return nil, fmt.Errorf("read kernel symbols: %w", err)
	}
	return parseSymbols(string(output.Stdout), names)
}

// parseSymbols reads lines like "ffffffffc07ff3b0 t zio_free_sync\t[zfs]".
func parseSymbols(text string, names []string) (map[string]uint64, error) {
	found := map[string]uint64{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 3 || !slices.Contains(names, fields[2]) {
			continue
		}
		name := fields[2]
		addr, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("kernel symbol in %q: %w", line, err)
		}
		if addr == 0 {
			return nil, fmt.Errorf("kernel symbol %s: the kernel hides addresses (kptr_restrict)", name)
		}
		if other, twice := found[name]; twice && other != addr {
			return nil, fmt.Errorf("kernel symbol %s is at %#x and at %#x", name, other, addr)
		}
		found[name] = addr
	}
	var missing []string
	for _, name := range names {
		if _, ok := found[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("no kernel symbol %s", strings.Join(missing, ", "))
	}
	return found, nil
}
