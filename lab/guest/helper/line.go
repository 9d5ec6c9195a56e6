package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// A line is memory that the host reads and writes while the machine stands. This side stops the machine by ringing a bell, an instruction
// that the host's debugger waits at, and there the host takes what is said here and leaves what is to be done next. It cannot tell the
// guest anything at another instant, so that what a guest does depends on what it is told alone.
//
// The first page has the magic word, at 16 the number of the data's pages, and from 32 on the physical address of each page of data. The
// data is the length of all frames as a 32-bit number, and one frame after the other: kind, session and status as 32-bit numbers, the
// length of what follows, and that. All is little endian.
const (
	lineMagic  = "vdevil line\x00"
	linePages  = 256
	pageSize   = 4096
	lineLength = 4
	lineHead   = 16
	linePiece  = linePages * pageSize / 4 // of what a session prints, at most
)

// discretion is how long what a session prints may wait for company. Whenever the machine has stood, QEMU translates all of its code anew
// (gdb_vm_state_change of gdbstub.c), which can take longer than what is done between two lines of a program.
const discretion = 250 * time.Millisecond

// Kinds of frames; package guest has them, too.
const (
	frameStir  = iota + 1 // mix into the kernel's random numbers
	frameStart            // a session: a command of the shell
	frameInput            // of a session; status 1 at its end
	frameKill             // a session
	frameGo               // go on until there is something to say
	frameFree             // go on, and never ring again
	frameOutput
	frameExit    // of a session: status, or the number of a signal and 256
	frameTrouble // the kernel's log says something grave
)

type event struct {
	kind, session, status uint32
	data                  []byte
}

type line struct {
	page, data []byte
	bell       func()
	events     chan event
	sessions   map[uint32]*session
}

// session is a command that runs.
type session struct {
	cmd   *exec.Cmd
	input chan []byte // closed at its end
}

// serveLine never returns.
func serveLine() error {
	l := &line{events: make(chan event), sessions: map[uint32]*session{}}
	if err := l.open(); err != nil {
		return err
	}
	time.Sleep(2 * time.Second) // whoever started it goes
	if err := unplugNetwork(); err != nil {
		return err
	}
	kmsg, err := os.Open("/dev/kmsg")
	if err != nil {
		return err
	}
	if _, err := kmsg.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	go l.listen(kmsg)
	console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	address, err := physical(l.page)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(console, "\nvdevil: the line is at %#x, its bell at %#x\n", address, bellAt); err != nil {
		return err
	}
	console.Close()
	time.Sleep(time.Second) // until the host has hung it
	var said []event
	for {
		l.put(said)
		l.bell()
		said = nil
		for _, e := range l.take() {
			said = append(said, l.obey(e)...)
		}
	}
}

// obey does what the host says and returns what there is to say then.
func (l *line) obey(e event) []event {
	s := l.sessions[e.session]
	switch e.kind {
	case frameStir:
		stir(e.data)
	case frameStart:
		if err := l.start(e.session, string(e.data)); err != nil {
			go func() { l.events <- event{frameExit, e.session, 255, []byte(err.Error())} }()
		}
	case frameInput:
		if s == nil || s.input == nil { // it has ended
			break
		}
		if len(e.data) > 0 {
			s.input <- e.data
		}
		if e.status == 1 {
			close(s.input)
			s.input = nil
		}
	case frameKill:
		if s != nil {
			_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		}
	case frameGo:
		return l.hear()
	case frameFree:
		select {}
	}
	return nil
}

// hear waits until there is something to say that the host should know at once, or something else for long enough, or much of it.
func (l *line) hear() []event {
	var said []event
	var late <-chan time.Time
	for size := 0; size < 2*linePiece; {
		select {
		case e := <-l.events:
			said, size = append(said, e), size+lineHead+len(e.data)
			switch {
			case e.kind == frameExit:
				delete(l.sessions, e.session)
				return said
			case e.kind != frameOutput:
				return said
			case late == nil:
				late = time.After(discretion)
			}
		case <-late:
			return said
		}
	}
	return said
}

// open makes the memory, which stays where it is, and finds the bell.
func (l *line) open() error {
	all, err := syscall.Mmap(-1, 0, (1+linePages)*pageSize, syscall.PROT_READ|syscall.PROT_WRITE,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_LOCKED|syscall.MAP_POPULATE)
	if err != nil {
		return call("mmap", err)
	}
	l.page, l.data = all[:pageSize], all[pageSize:]
	copy(l.page, lineMagic)
	binary.LittleEndian.PutUint64(l.page[16:], linePages)
	for i := range linePages {
		address, err := physical(l.data[i*pageSize:])
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(l.page[32+8*i:], address)
	}
	l.bell, err = openBell()
	return err
}

// physical is where memory of this process lies (Documentation/admin-guide/mm/pagemap.rst).
func physical(p []byte) (uint64, error) {
	f, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var entry [8]byte
	if _, err := f.ReadAt(entry[:], int64(uintptr(unsafe.Pointer(&p[0]))/pageSize*8)); err != nil {
		return 0, err
	}
	frame := binary.LittleEndian.Uint64(entry[:]) & (1<<55 - 1)
	if frame == 0 {
		return 0, errors.New("the kernel does not say where memory lies")
	}
	return frame * pageSize, nil
}

// bellAt is where the bell lies, an address that no other program has.
const bellAt = 0x766465760000

// openBell makes a function of one instruction that does nothing, and at which the host has the machine stand.
func openBell() (func(), error) {
	const nop, ret, noReplace = 0x90, 0xc3, 0x100000 // MAP_FIXED_NOREPLACE
	at, _, errno := syscall.Syscall6(syscall.SYS_MMAP, bellAt, pageSize, syscall.PROT_READ|syscall.PROT_WRITE|syscall.PROT_EXEC,
		syscall.MAP_ANON|syscall.MAP_PRIVATE|noReplace, ^uintptr(0), 0)
	if errno != 0 {
		return nil, call("mmap", errno)
	}
	code := &at
	*(*[2]byte)(*(*unsafe.Pointer)(unsafe.Pointer(code))) = [2]byte{nop, ret}
	return *(*func())(unsafe.Pointer(&code)), nil // a function's value points to the address of its code
}

func (l *line) put(events []event) {
	message := l.data[:lineLength]
	for _, e := range events {
		for _, n := range []uint32{e.kind, e.session, e.status, uint32(len(e.data))} {
			message = binary.LittleEndian.AppendUint32(message, n)
		}
		message = append(message, e.data...)
	}
	binary.LittleEndian.PutUint32(l.data, uint32(len(message)-lineLength))
}

func (l *line) take() []event {
	var events []event
	size := min(int(binary.LittleEndian.Uint32(l.data)), len(l.data)-lineLength) // what came of damaged memory must not end the line
	for rest := append([]byte(nil), l.data[lineLength:lineLength+size]...); len(rest) >= lineHead; {
		number := func(i int) uint32 { return binary.LittleEndian.Uint32(rest[4*i:]) }
		e := event{kind: number(0), session: number(1), status: number(2)}
		n := min(int(number(3)), len(rest)-lineHead)
		e.data, rest = rest[lineHead:lineHead+n], rest[lineHead+n:]
		events = append(events, e)
	}
	return events
}

func (l *line) start(id uint32, command string) error {
	cmd := exec.Command("/bin/bash", "-c", command) //nolint:noctx // frameKill ends it
	cmd.Dir, cmd.SysProcAttr = "/root", &syscall.SysProcAttr{Setsid: true}
	cmd.Env = []string{"HOME=/root", "USER=root", "LOGNAME=root", "SHELL=/bin/bash", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = &teller{l, id, 1}, &teller{l, id, 2}
	if err := cmd.Start(); err != nil {
		return err
	}
	s := &session{cmd: cmd, input: make(chan []byte, 1<<10)}
	l.sessions[id] = s
	go func(input <-chan []byte) {
		for p := range input {
			_, _ = stdin.Write(p) // a command may not want to hear it all
		}
		stdin.Close()
	}(s.input)
	go func() {
		var exit *exec.ExitError
		e := event{kind: frameExit, session: id}
		if err := cmd.Wait(); errors.As(err, &exit) {
			e.status = uint32(exit.ExitCode())
			if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
				e.status = 256 + uint32(status.Signal())
			}
		}
		l.events <- e
	}()
	return nil
}

// teller passes on what a session prints.
type teller struct {
	line *line
	id   uint32
	from uint32
}

func (t *teller) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), linePiece)
		t.line.events <- event{frameOutput, t.id, t.from, append([]byte(nil), rest[:n]...)}
		rest = rest[n:]
	}
	return len(p), nil
}

// patience is what the kernel gets to end a message that has begun.
const patience = 2 * time.Second

// listen reads the kernel's log. It need not know what a message means, only that the host may want to look.
func (l *line) listen(kmsg *os.File) {
	record := make([]byte, 16<<10)
	for {
		n, err := kmsg.Read(record) // one record, or EPIPE where some were lost
		if err != nil && !errors.Is(err, syscall.EPIPE) {
			return
		}
		if grave(string(record[:n])) {
			time.Sleep(patience)
			l.events <- event{kind: frameTrouble}
			if _, err := kmsg.Seek(0, io.SeekEnd); err != nil {
				return
			}
		}
	}
}

func grave(record string) bool {
	for _, word := range []string{"PANIC", "panic", "VERIFY", "BUG", "Oops", "WARNING", "Call Trace", "blocked for more", "lockup", "suspended"} {
		if strings.Contains(record, word) {
			return true
		}
	}
	return false
}

// unplugNetwork takes the network devices from their driver: a packet would come whenever it likes.
func unplugNetwork() error {
	devices, err := filepath.Glob("/sys/bus/virtio/drivers/virtio_net/virtio*")
	for _, d := range devices {
		err = errors.Join(err, os.WriteFile("/sys/bus/virtio/drivers/virtio_net/unbind", []byte(filepath.Base(d)), 0))
	}
	return err
}

// stir makes the kernel's random numbers depend on data, at once.
func stir(data []byte) {
	const reseed = 0x5207 // RNDRESEEDCRNG of include/uapi/linux/random.h
	f, err := os.OpenFile("/dev/urandom", os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	_, _ = f.Write(data)
	_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), reseed, 0)
}
