package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
)

const (
	pageSize = 4 << 10
	// chunk is what one question about an address settles. RAM blocks of a PC begin and end at multiples of 2 MiB,
	// except in the first MiB, where ROMs are mapped over it.
	chunk  = 2 << 20
	lowRAM = chunk
)

// memory reaches the guest's memory through the memory of the QEMU process: with no stop of the guest, in any
// alignment, and in the fork's private copy of a page.
type memory struct {
	monitor Monitor
	file    *os.File
	refused error // why there is no file; of no interest to a machine whose memory nobody asks for

	mu    sync.Mutex
	hosts map[uint64]uint64 // guest-physical start of a chunk, or of a low page, to the address in the process
}

// OpenMemory opens the memory of a process, once for as long as it lives. The caller knows the number to be the process's
// own yet: a child that nobody has waited for, or one that is seen to be alive afterwards. The descriptor stays with the
// address space that it was opened for (mem_open in fs/proc/base.c of Linux). When that is gone there is nothing to read
// or to write, whoever has got the number since.
func OpenMemory(pid int) (*os.File, error) {
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("memory of the QEMU process (doctor tells what ptrace_scope allows): %w", err)
	}
	return f, nil
}

func (m *memory) close() {
	if m.file != nil {
		m.file.Close()
	}
}

func (m *memory) read(ctx context.Context, addr uint64, p []byte) error {
	return m.each(ctx, addr, p, (*os.File).ReadAt)
}

func (m *memory) write(ctx context.Context, addr uint64, p []byte) error {
	return m.each(ctx, addr, p, (*os.File).WriteAt)
}

// each does the transfer piece by piece, a piece being what lies in one chunk.
func (m *memory) each(ctx context.Context, addr uint64, p []byte, do func(*os.File, []byte, int64) (int, error)) error {
	if m.refused != nil {
		return m.refused
	}
	for len(p) > 0 {
		base, size := unit(addr)
		host, err := m.host(ctx, base)
		if err != nil {
			return err
		}
		n := min(uint64(len(p)), base+size-addr)
		if _, err := do(m.file, p[:n], int64(host+addr-base)); err != nil {
			return memoryError(err)
		}
		p, addr = p[n:], addr+n
	}
	return nil
}

// memoryError says what it means that there is nothing to read or to write.
func memoryError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrClosed) {
		return errors.New("the QEMU process has ended, and its memory with it")
	}
	return err
}

// hmp runs a line of the human monitor and returns what it prints. A command that fails says so in its text only.
func hmp(ctx context.Context, m Monitor, line string) (string, error) {
	var out string
	err := m.Execute(ctx, "human-monitor-command", map[string]string{"command-line": line}, &out)
	if err != nil {
		return "", fmt.Errorf("%q: %w", line, err)
	}
	return out, nil
}

func unit(addr uint64) (base, size uint64) {
	size = chunk
	if addr < lowRAM {
		size = pageSize
	}
	return addr &^ (size - 1), size
}

// host asks QEMU where it keeps the guest-physical address base.
func (m *memory) host(ctx context.Context, base uint64) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.hosts[base]; ok {
		return h, nil
	}
	// The answer is: Host virtual address for 0x1000 (ram) is 0x7f12c0001000.
	out, err := hmp(ctx, m.monitor, fmt.Sprintf("gpa2hva %#x", base))
	if err != nil {
		return 0, err
	}
	h, err := lastNumber(out, " is ")
	if err != nil {
		return 0, fmt.Errorf("no memory at physical %#x: %w", base, err)
	}
	if m.hosts == nil {
		m.hosts = map[uint64]uint64{}
	}
	m.hosts[base] = h
	return h, nil
}

func (m *memory) translate(ctx context.Context, cpu int, virt uint64) (uint64, error) {
	var out string
	err := m.monitor.Execute(ctx, "human-monitor-command", map[string]any{
		"command-line": fmt.Sprintf("gva2gpa %#x", virt), "cpu-index": cpu,
	}, &out)
	if err != nil {
		return 0, fmt.Errorf("translate %#x on CPU %d: %w", virt, cpu, err)
	}
	// The answer is: gpa: 0x3f12000.
	phys, err := lastNumber(out, "gpa: ")
	if err != nil {
		return 0, fmt.Errorf("translate %#x on CPU %d: %w", virt, cpu, err)
	}
	return phys, nil
}

// lastNumber parses what stands behind the mark in an answer of the human monitor, which words its errors as it likes.
func lastNumber(answer, mark string) (uint64, error) {
	_, number, ok := strings.Cut(answer, mark)
	if !ok {
		return 0, errors.New(strings.TrimSpace(answer))
	}
	return strconv.ParseUint(strings.TrimSpace(number), 0, 64)
}
