package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// retryLock is how often a taken lock is tried again: flock(2) can wait, but not for a context.
const retryLock = 50 * time.Millisecond

// Holder is who holds a lock, as far as the lock's file tells.
type Holder struct {
	PID     int // 0 when the file does not tell
	Command string
}

func (h Holder) String() string {
	switch h.PID {
	case 0:
		return "an unknown process"
	case os.Getpid():
		return "this process"
	}
	return fmt.Sprintf("process %d (%s)", h.PID, h.Command)
}

// LockedError says that somebody else holds a lock.
type LockedError struct {
	Path   string
	Holder Holder
}

func (e *LockedError) Error() string {
	s := fmt.Sprintf("%s holds the lock %s: wait until it ends", e.Holder, e.Path)
	if e.Holder.PID != 0 && e.Holder.PID != os.Getpid() {
		s += fmt.Sprintf(" or end it (kill %d)", e.Holder.PID)
	}
	return s
}

// Lock takes the lock file path, creating it and its directory, and waits for it until ctx ends; the error then is both
// the context's and a *LockedError. waiting, if not nil, is called once when somebody else holds the lock. The kernel
// drops a lock with the process that holds it, so none is ever stale; the file stays.
func Lock(ctx context.Context, path string, waiting func(Holder)) (unlock func(), err error) {
	unlock, err = TryLock(path)
	var locked *LockedError
	if !errors.As(err, &locked) {
		return unlock, err
	}
	if waiting != nil {
		who := locked.Holder
		if who.PID == 0 { // it has the lock for less than it takes to write a name
			select {
			case <-time.After(retryLock):
				who = holder(path)
			case <-ctx.Done():
			}
		}
		waiting(who)
	}
	l := newFlock(path)
	if _, err := l.TryLockContext(ctx, retryLock); err != nil {
		if ctx.Err() != nil {
			return nil, errors.Join(ctx.Err(), &LockedError{Path: path, Holder: holder(path)})
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return held(l)
}

// TryLock takes a lock as Lock does, but does not wait: the error is a *LockedError when somebody else holds it.
func TryLock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	l := newFlock(path)
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	if !ok {
		return nil, &LockedError{Path: path, Holder: holder(path)}
	}
	return held(l)
}

func newFlock(path string) *flock.Flock {
	return flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
}

// held writes the holder's name into the file of a lock just taken.
func held(l *flock.Flock) (unlock func(), err error) {
	path := l.Path()
	text := fmt.Sprintf("%d\n%s\n", os.Getpid(), strings.Join(os.Args, " "))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), l.Close())
	}
	// Closing the file drops the lock whether or not close reports an error.
	return func() { _ = l.Close() }, nil
}

// holder reads a lock's file. The holder may be writing it just now: then it is unknown.
func holder(path string) Holder {
	b, err := os.ReadFile(path)
	if err != nil {
		return Holder{}
	}
	first, rest, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return Holder{}
	}
	return Holder{PID: pid, Command: strings.TrimSpace(rest)}
}
