package ondisk

import (
	"errors"
	"fmt"
)

// What is wrong with a pool, a block or a structure. The errors of this package wrap one of these or an
// *UnsupportedError; all others come from devices and contexts.
var (
	// ErrChecksum says that no copy of a block, and no reconstruction of one, has the checksum that is expected.
	ErrChecksum = errors.New("checksum mismatch")
	// ErrBrokenTable says that a ZAP has entries that no lookup finds, or chains that lead nowhere.
	ErrBrokenTable = errors.New("broken table")
	// ErrMissing says that a device that is needed was not given.
	ErrMissing = errors.New("device missing")
	// ErrCorrupt says that what was read, with a good checksum or none, cannot be what it should be.
	ErrCorrupt = errors.New("corrupt")
	// ErrEncrypted says that the content is encrypted; keys are never asked for.
	ErrEncrypted = errors.New("encrypted")
	// ErrNotFound says that there is no such object or entry.
	ErrNotFound = errors.New("not found")
	// ErrRedacted says that the block was left out when its dataset was received (redacted send).
	ErrRedacted = errors.New("redacted")
)

// UnsupportedError names what a pool uses and this package cannot read.
type UnsupportedError struct{ What string }

func (e *UnsupportedError) Error() string { return "not supported: " + e.What }

func unsupported(format string, args ...any) error {
	return &UnsupportedError{What: fmt.Sprintf(format, args...)}
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrCorrupt}, args...)...)
}

func brokenTable(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrBrokenTable}, args...)...)
}

// OfPool says whether an error is about the pool, damage for example, and not trouble of whoever reads it: a device that
// fails, a context that ends, a disk without space for temporary files. What the package does not support is neither.
func OfPool(err error) bool {
	for _, own := range []error{ErrChecksum, ErrBrokenTable, ErrMissing, ErrCorrupt, ErrEncrypted, ErrNotFound, ErrRedacted} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

func isNotFound(err error) bool { return errors.Is(err, ErrNotFound) }
