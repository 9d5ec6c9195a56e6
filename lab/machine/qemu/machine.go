package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/gdb"
	"github.com/vdevil/vdevil/lab/machine/qmp"
)

// tail is how much of a console an error shows.
const tail = 2048

// vm is one QEMU process.
type vm struct {
	*spec
	driver  *Driver
	cmd     *exec.Cmd
	qmp     *qmp.Client
	console *machine.Console
	ports   map[int]int // guest port to port on 127.0.0.1
	memory  memory

	done chan struct{} // closed after the process was reaped
	err  error         // how it ended; valid after done

	mu     sync.Mutex
	ended  bool // by us: its end is no error
	dbg    *debugger
	closed sync.Once
}

var (
	_ machine.Machine     = (*vm)(nil)
	_ machine.MCEInjector = (*vm)(nil)
)

// start runs QEMU and connects to its monitor. history is the console of the checkpoint.
func (d *Driver) start(ctx context.Context, s *spec, history []byte) (_ *vm, err error) {
	m := &vm{spec: s, driver: d, done: make(chan struct{})}
	if m.console, err = machine.NewConsole(s.console(), history); err != nil {
		return nil, err
	}
	log, err := os.Create(s.log())
	if err != nil {
		m.console.Close()
		return nil, err
	}
	defer log.Close()
	m.cmd = exec.Command(program, s.args()...) //nolint:noctx // the machine outlives the call that started it
	m.cmd.Stdout, m.cmd.Stderr = m.console, log
	if err := d.spawner.Start(m.cmd); err != nil {
		m.console.Close()
		return nil, err
	}
	go m.reap()
	defer func() {
		if err != nil {
			err = m.explain("start QEMU", err)
			m.kill()
		}
	}()
	dial, stop := context.WithCancel(ctx)
	defer stop()
	go func() { // a QEMU that refuses its options never opens the monitor
		select {
		case <-m.done:
			stop()
		case <-dial.Done():
		}
	}()
	if m.qmp, err = qmp.Dial(dial, s.socket("qmp")); err != nil {
		return nil, err
	}
	m.memory = memory{monitor: m.qmp, pid: m.cmd.Process.Pid}
	m.ports, err = m.forwards(ctx)
	return m, err
}

func (m *vm) reap() {
	err := m.cmd.Wait()
	m.console.Close()
	m.mu.Lock()
	if !m.ended && err != nil {
		m.err = fmt.Errorf("%w: QEMU %w", machine.ErrDied, err)
	}
	m.mu.Unlock()
	close(m.done)
}

// forward is a line of "info usernet": TCP[HOST_FORWARD]  12  127.0.0.1 38123  10.0.2.15  22  0  0.
var forward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)`)

func (m *vm) forwards(ctx context.Context) (map[int]int, error) {
	info, err := m.qmp.HMP(ctx, "info usernet")
	if err != nil {
		return nil, err
	}
	ports := map[int]int{}
	for _, f := range forward.FindAllStringSubmatch(info, -1) {
		local, _ := strconv.Atoi(f[1])
		guest, _ := strconv.Atoi(f[2])
		ports[guest] = local
	}
	for _, p := range m.Ports {
		if ports[p] == 0 {
			return nil, fmt.Errorf("QEMU forwards no port to guest port %d: %s", p, info)
		}
	}
	return ports, nil
}

// explain adds the evidence to an error: what the process said, what the guest printed, and that it is dead if it is.
func (m *vm) explain(op string, err error) error {
	select {
	case <-m.done:
		if m.err != nil && !errors.Is(err, machine.ErrDied) {
			err = fmt.Errorf("%w (%w)", m.err, err)
		}
	default:
	}
	log, _ := os.ReadFile(m.log())
	return &machine.Error{Op: op, Err: err, Console: m.console.Tail(tail), Log: log[max(0, len(log)-tail):]}
}

// execute runs a monitor command.
func (m *vm) execute(ctx context.Context, command string, args, result any) error {
	if err := m.qmp.Execute(ctx, command, args, result); err != nil {
		return m.explain("monitor command "+command, err)
	}
	return nil
}

// ID names the machine in files and messages.
func (m *vm) ID() string { return m.id }

// Console is everything the guest printed.
func (m *vm) Console() *machine.Console { return m.console }

// Command is QEMU's command line.
func (m *vm) Command() []string { return m.cmd.Args }

// Disks are the raw files behind the data disks.
func (m *vm) Disks() []machine.Disk {
	disks := make([]machine.Disk, 0, len(m.spec.Disks))
	for _, d := range m.spec.Disks {
		disks = append(disks, machine.Disk{Name: d.Name, Size: d.Size, Path: m.disk(d.Name)})
	}
	return disks
}

// Dial connects to a port of the guest. QEMU accepts at once, whether anybody listens in the guest or not.
func (m *vm) Dial(ctx context.Context, port int) (net.Conn, error) {
	local, ok := m.ports[port]
	if !ok {
		return nil, fmt.Errorf("machine %s forwards no port to guest port %d", m.id, port)
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(local)))
	if err != nil {
		return nil, m.explain(fmt.Sprintf("dial guest port %d", port), err)
	}
	return c, nil
}

// Pause stops all CPUs.
func (m *vm) Pause(ctx context.Context) error { return m.control(ctx, "stop") }

// Resume lets them go on.
func (m *vm) Resume(ctx context.Context) error { return m.control(ctx, "cont") }

// control is refused while a debugger is attached: the stub would take its next command for an interrupt and lose it.
func (m *vm) control(ctx context.Context, command string) error {
	if m.debugged() {
		return fmt.Errorf("%s: the CPUs of machine %s are its debugger's", command, m.id)
	}
	return m.execute(ctx, command, nil, nil)
}

func (m *vm) debugged() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dbg != nil
}

// ReadPhys reads guest-physical memory.
func (m *vm) ReadPhys(ctx context.Context, addr uint64, p []byte) error {
	if err := m.memory.read(ctx, addr, p); err != nil {
		return m.explain(fmt.Sprintf("read %d bytes at physical %#x", len(p), addr), err)
	}
	return nil
}

// WritePhys writes guest-physical memory.
func (m *vm) WritePhys(ctx context.Context, addr uint64, p []byte) error {
	if err := m.memory.write(ctx, addr, p); err != nil {
		return m.explain(fmt.Sprintf("write %d bytes at physical %#x", len(p), addr), err)
	}
	return nil
}

// Translate walks the page tables of a CPU.
func (m *vm) Translate(ctx context.Context, cpu int, virt uint64) (uint64, error) {
	return m.memory.translate(ctx, cpu, virt)
}

// Bits of the machine-check registers (Intel SDM vol. 3B, 15.3): the error is valid, not corrected, reporting was enabled,
// MISC and ADDR say where, and the code is that of a memory controller's read error on an unknown channel. The interrupted
// program cannot be gone on with: RIPV is not set.
const (
	mciStatus  = 1<<63 | 1<<61 | 1<<60 | 1<<59 | 1<<58 | 0x9f
	mcgStatus  = 1 << 2   // MCIP: a machine check is in progress
	mciMisc    = 2<<6 | 6 // ADDR is a physical address, good to 64 bytes
	memoryBank = 9        // as real hosts use for memory controllers; QEMU has 10
)

// tripleFault is what QEMU says of a guest that has machine checks switched off, as kernels without CONFIG_X86_MCE do. Its
// CPUs then shut down, in QEMU as in hardware.
const tripleFault = "raising triple fault"

// MachineCheck injects an uncorrected memory error.
func (m *vm) MachineCheck(ctx context.Context, phys uint64) error {
	command := fmt.Sprintf("mce -b 0 %d %#x %#x %#x %#x", memoryBank, uint64(mciStatus), mcgStatus, phys, mciMisc)
	out, err := m.qmp.HMP(ctx, command)
	if out = strings.TrimSpace(out); err == nil && out != "" && !strings.Contains(out, tripleFault) {
		err = errors.New(out)
	}
	if err != nil {
		return m.explain("inject a machine check", err)
	}
	return nil
}

// debugger is a gdb client that tells the machine when it goes.
type debugger struct {
	*gdb.Client
	m    *vm
	once sync.Once
}

// Debug stops the machine and attaches to QEMU's gdb stub, which is opened on demand.
func (m *vm) Debug(ctx context.Context) (machine.Debugger, error) {
	d := &debugger{m: m}
	m.mu.Lock()
	taken := m.dbg != nil
	if !taken {
		m.dbg = d
	}
	m.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("machine %s has a debugger already", m.id)
	}
	var err error
	if d.Client, err = m.attach(ctx); err != nil {
		d.gone()
		return nil, m.explain("attach a debugger", err)
	}
	return d, nil
}

func (m *vm) attach(ctx context.Context) (*gdb.Client, error) {
	path := m.socket("gdb")
	if _, err := m.qmp.HMP(ctx, "gdbserver unix:"+path+",server=on,wait=off"); err != nil {
		return nil, err
	}
	return gdb.Dial(ctx, path, gdb.Options{Hardware: m.accel == machine.KVM})
}

// Close detaches: the machine runs on.
func (d *debugger) Close() (err error) {
	d.once.Do(func() {
		err = d.Client.Close()
		d.gone()
	})
	return err
}

func (d *debugger) gone() {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.dbg = nil
}

// PowerOff kills the process. The disks stay until Close.
func (m *vm) PowerOff() error {
	m.kill()
	return nil
}

func (m *vm) kill() {
	m.mu.Lock()
	m.ended = true
	m.mu.Unlock()
	if m.qmp != nil {
		m.qmp.Close()
	}
	_ = m.cmd.Process.Kill() // an error means that it is dead already
	<-m.done
}

// Done is closed when the process has ended.
func (m *vm) Done() <-chan struct{} { return m.done }

// Wait waits for the end of the process.
func (m *vm) Wait(ctx context.Context) error {
	select {
	case <-m.done:
		return m.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close kills the process and deletes its files.
func (m *vm) Close() (err error) {
	m.closed.Do(func() {
		m.kill()
		err = m.remove()
	})
	return err
}
