// Command helper does operations in a guest, one after the other, and says how each went. It takes nothing but the standard library and
// package churn, so that it can be compiled wherever there is Go.
//
// A request is a line of JSON on its input, an answer one on its output. With an argument it does that load instead, see load.go.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// request is what guest.Request is on the other side.
type request struct {
	Do      string     `json:"do"`
	Path    string     `json:"path"`
	From    string     `json:"from"`
	Offset  int64      `json:"offset"`
	At      int64      `json:"at"` // in From
	Size    int64      `json:"size"`
	Seed    uint64     `json:"seed"`
	Label   string     `json:"label"`
	Byte    string     `json:"byte"`
	Value   string     `json:"value"`
	Command [][]string `json:"command"`
}

type answer struct {
	// Error is why it was refused, Errno the number of that if it was a system call, Status that of a command.
	Error  string `json:"error,omitempty"`
	Errno  int    `json:"errno,omitempty"`
	Status int    `json:"status,omitempty"`
	// Sum is the SHA-256 of what was read, in hexadecimal.
	Sum string `json:"sum,omitempty"`
}

func main() {
	if len(os.Args) == 2 && os.Args[1] == "line" {
		fmt.Fprintln(os.Stderr, "helper:", serveLine())
		os.Exit(1)
	}
	if len(os.Args) == 2 {
		var l load
		err := json.Unmarshal([]byte(os.Args[1]), &l)
		if err == nil {
			err = l.run()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "helper:", err)
			os.Exit(1)
		}
		return
	}
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), json.NewEncoder(os.Stdout)
	requests := json.NewDecoder(in)
	for requests.More() {
		var r request
		if err := requests.Decode(&r); err != nil {
			fmt.Fprintln(os.Stderr, "helper:", err)
			os.Exit(2)
		}
		if err := out.Encode(answered(r)); err != nil {
			os.Exit(1) // nobody listens
		}
	}
}

func answered(r request) answer {
	if r.Do != "read" {
		return told(do(r))
	}
	sum, err := read(r.Path)
	a := told(err)
	a.Sum = sum
	return a
}

// read gives the SHA-256 of a file.
func read(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%x", sha256.Sum256(data)), nil
}

func told(err error) (a answer) {
	if err == nil {
		return a
	}
	a.Error = err.Error()
	var errno syscall.Errno
	var exit *exec.ExitError
	switch {
	case errors.As(err, &errno):
		a.Errno = int(errno)
	case errors.As(err, &exit):
		a.Status = exit.ExitCode()
	}
	return a
}

func do(r request) error {
	switch r.Do {
	case "write":
		return withFile(r.Path, os.O_CREATE, func(f *os.File) error {
			_, err := f.WriteAt(content(r), r.Offset)
			return err
		})
	case "map":
		return withFile(r.Path, 0, func(f *os.File) error { return throughMapping(f, r) })
	case "truncate":
		return withFile(r.Path, os.O_CREATE, func(f *os.File) error { return f.Truncate(r.Size) })
	case "punch":
		const keepSize, punchHole = 1, 2
		return withFile(r.Path, 0, func(f *os.File) error {
			return call("fallocate", syscall.Fallocate(int(f.Fd()), keepSize|punchHole, r.Offset, r.Size))
		})
	case "reflink":
		return withTwo(r, reflink)
	case "copy":
		return withTwo(r, func(to, from *os.File) error { return copyRange(to, from, r) })
	case "rename":
		return os.Rename(r.From, r.Path)
	case "link":
		return os.Link(r.From, r.Path)
	case "remove":
		return os.Remove(r.Path)
	case "xattr":
		return call("setxattr", syscall.Setxattr(r.Path, "user."+r.Label, content(r), 0))
	case "fsync":
		return withFile(r.Path, 0, (*os.File).Sync)
	case "put": // a parameter of a module
		return os.WriteFile(r.Path, []byte(r.Value), 0)
	case "begin-sync":
		return beginSync(r)
	case "run":
		return run(r.Command)
	}
	return fmt.Errorf("no operation %q", r.Do)
}

func call(name string, err error) error {
	if err != nil {
		return os.NewSyscallError(name, err)
	}
	return nil
}

func withFile(path string, flag int, use func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR|flag, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(use(f), f.Close())
}

func withTwo(r request, use func(to, from *os.File) error) error {
	from, err := os.Open(r.From)
	if err != nil {
		return err
	}
	defer from.Close()
	has, err := from.Stat()
	if err != nil {
		return err
	}
	// It would be emptied before it is read.
	if to, err := os.Stat(r.Path); err == nil && os.SameFile(has, to) {
		return &os.PathError{Op: r.Do, Path: r.Path, Err: syscall.EINVAL}
	}
	return withFile(r.Path, os.O_CREATE, func(to *os.File) error { return use(to, from) })
}

// reflink makes a file share all blocks of another one and end where that ends, as cp --reflink=always does.
func reflink(to, from *os.File) error {
	const ficlone = 0x40049409
	if err := to.Truncate(0); err != nil {
		return err
	}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, to.Fd(), ficlone, from.Fd()); errno != 0 {
		return call("ioctl FICLONE", errno)
	}
	return nil
}

func copyRange(to, from *os.File, r request) error {
	const copyFileRange = 326 // of x86-64, which has the only guests
	in, out := r.At, r.Offset
	for left := r.Size; left > 0; {
		n, _, errno := syscall.Syscall6(copyFileRange, from.Fd(), uintptr(unsafe.Pointer(&in)), to.Fd(), uintptr(unsafe.Pointer(&out)), uintptr(left), 0)
		switch {
		case errno != 0:
			return call("copy_file_range", errno)
		case n == 0: // the end of the file
			return nil
		}
		left -= int64(n)
	}
	return nil
}

// throughMapping writes to a file by memory. Behind its end there is none to write to.
func throughMapping(f *os.File, r request) error {
	if has, err := f.Stat(); err != nil || has.Size() < r.Offset+r.Size || r.Size == 0 {
		return errors.Join(err, &os.PathError{Op: r.Do, Path: r.Path, Err: syscall.EINVAL})
	}
	page := int64(os.Getpagesize())
	first := r.Offset / page * page
	m, err := syscall.Mmap(int(f.Fd()), first, int(r.Offset+r.Size-first), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return call("mmap", err)
	}
	copy(m[r.Offset-first:], content(r))
	_, _, errno := syscall.Syscall(syscall.SYS_MSYNC, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), syscall.MS_SYNC)
	if errno != 0 {
		err = call("msync", errno)
	}
	return errors.Join(err, call("munmap", syscall.Munmap(m)))
}

// content is what oracle.Content gives for the same seed and label, or one byte again and again.
func content(r request) []byte {
	if r.Byte != "" {
		return bytes.Repeat([]byte(r.Byte[:1]), int(r.Size))
	}
	key := sha256.Sum256(append(binary.LittleEndian.AppendUint64(nil, r.Seed), r.Label...))
	data := make([]byte, r.Size)
	_, _ = rand.NewChaCha8(key).Read(data) // never fails
	return data
}

// beginSync runs a command that syncs a pool, and goes on so many microseconds after another transaction group was opened.
func beginSync(r request) error {
	before, err := openTxg(r.Path)
	if err != nil {
		return err
	}
	c := exec.CommandContext(context.Background(), r.Command[0][0], r.Command[0][1:]...) // it may end after this process
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		now, err := openTxg(r.Path)
		if err != nil {
			return err
		}
		if now != before {
			time.Sleep(time.Duration(r.Size) * time.Microsecond)
			return nil
		}
		select {
		case err := <-ended:
			return err
		case <-time.After(50 * time.Microsecond):
		}
	}
}

// openTxg is the number of the last line.
func openTxg(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	txg, _, _ := strings.Cut(text[strings.LastIndexByte(text, '\n')+1:], " ")
	return txg, nil
}

// run does commands, each with the output of the one before for its input, and fails with the first that fails.
func run(commands [][]string) error {
	all := make([]*exec.Cmd, len(commands))
	said := make([]bytes.Buffer, len(commands))
	for i, c := range commands {
		all[i] = exec.CommandContext(context.Background(), c[0], c[1:]...) // it ends with the session
		all[i].Stderr = &said[i]
		if i == 0 {
			continue
		}
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		defer w.Close()
		all[i-1].Stdout, all[i].Stdin = w, r
	}
	for _, c := range all {
		if err := c.Start(); err != nil {
			return err
		}
		// What a command has is its own: a pipe ends when the last one who could write has ended.
		for _, end := range []any{c.Stdin, c.Stdout} {
			if f, ok := end.(*os.File); ok {
				f.Close()
			}
		}
	}
	var failed error
	for i, c := range all {
		if err := c.Wait(); err != nil && failed == nil {
			failed = fmt.Errorf("%s: %w: %s", strings.Join(commands[i], " "), err, lastLine(said[i].String()))
		}
	}
	return failed
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	if i := strings.LastIndexByte(text, '\n'); i >= 0 {
		text = text[i+1:]
	}
	return strconv.Quote(text)
}
