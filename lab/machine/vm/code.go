package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vdevil/vdevil/lab/machine"
)

var _ machine.CodeTracer = (*vm)(nil)

// TraceCode has QEMU write a line for each block of code that it translates (trace event translate_block of accel/tcg/trace-events). It
// goes through a pipe: of a guest that runs for long the lines would fill the disk.
func (m *vm) TraceCode(ctx context.Context, see func(addr uint64)) (stop func(context.Context) error, err error) {
	pipe, err := m.codePipe()
	if err != nil {
		return nil, m.explain("trace code", err)
	}
	if err := m.logTo(ctx, m.code()); err != nil {
		pipe.Close()
		return nil, m.explain("trace code", err)
	}
	seen := make(chan error, 1)
	go func() { seen <- errors.Join(readCode(pipe, see), pipe.Close()) }()
	stop = func(ctx context.Context) error {
		err := m.logTo(ctx, os.DevNull) // which closes the pipe
		select {
		case <-m.done: // so it is closed, too
			err = nil
		default:
		}
		if err != nil {
			return m.explain("trace code", err)
		}
		select {
		case err = <-seen:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := m.traceBlocks(ctx); err != nil {
		return nil, errors.Join(err, stop(ctx))
	}
	return stop, nil
}

// codePipe makes the pipe and opens its end first: QEMU, which opens the other one, would wait for that.
func (m *vm) codePipe() (*os.File, error) {
	path := m.code()
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, fmt.Errorf("make %s: %w", path, err)
	}
	if err := m.driver.give(path); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// Reading blocks from now on, or else each line would wake the lab.
	if err := unix.SetNonblock(fd, false); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), path), nil
}

// logTo has QEMU write its log, which traces go to, to a file in place of the one before.
func (m *vm) logTo(ctx context.Context, path string) error {
	out, err := hmp(ctx, m.process, "logfile "+path)
	if out = strings.TrimSpace(out); err == nil && out != "" {
		err = errors.New(out)
	}
	return err
}

func (m *vm) traceBlocks(ctx context.Context) error {
	return m.execute(ctx, "trace-event-set-state", map[string]any{"name": "translate_block", "enable": true})
}

const (
	// lines is how much is read at once, in bytes: as much as a pipe holds.
	lines = 64 << 10
	// pause lets lines come together.
	pause = time.Millisecond
)

// readCode reads lines like "translate_block tb:0x7fde18000040, pc:0xffffffff81c00eb0, tb_code:0x7fde18000100".
func readCode(r io.Reader, see func(addr uint64)) error {
	buf := make([]byte, 0, lines)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		rest := buf
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			rest = after
			_, pc, ok := bytes.Cut(line, []byte(", pc:0x"))
			pc, _, more := bytes.Cut(pc, []byte(","))
			addr, err := strconv.ParseUint(string(pc), 16, 64)
			if !ok || !more || err != nil {
				continue // another thing that QEMU logs
			}
			see(addr)
		}
		buf = append(buf[:0], rest...)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(buf) == cap(buf): // a line as long as that is none of the trace
			buf = buf[:0]
		}
		if n < lines/2 {
			time.Sleep(pause)
		}
	}
}
