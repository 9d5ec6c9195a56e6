package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/gdb"
)

// tail is how much of a console an error shows.
const tail = 2048

// vm is one QEMU process.
type vm struct {
	*Spec
	driver  *Driver
	process Process
	console *machine.Console
	ports   map[int]int // guest port to port on 127.0.0.1
	memory  memory
	oom     *oomWatch

	done  chan struct{} // closed after the process has ended
	known chan struct{} // closed after it is known how
	err   error         // how it ended; valid after known

	mu     sync.Mutex
	ended  bool // by us: its end is no error
	dbg    *debugger
	bell   *bell // nil without one
	closed sync.Once

	plugging  sync.Mutex      // one disk at a time
	unplugged map[string]bool // data disks that the guest does not have
}

var (
	_ machine.Machine     = (*vm)(nil)
	_ machine.MCEInjector = (*vm)(nil)
	_ machine.SysRqSender = (*vm)(nil)
)

// start runs QEMU. history is the console of the checkpoint.
func (d *Driver) start(ctx context.Context, s *Spec, history []byte) (_ *vm, err error) {
	m := &vm{Spec: s, driver: d, oom: watchOOM(), done: make(chan struct{}), known: make(chan struct{}), unplugged: map[string]bool{}}
	defer func() {
		if m.process == nil {
			m.oom.close()
		}
	}()
	if m.console, err = machine.NewConsole(s.Console(), history); err != nil {
		return nil, err
	}
	if err := d.grant(s); err != nil {
		m.console.Close()
		return nil, err
	}
	if m.process, err = d.launcher.Launch(ctx, s, m.console); err != nil {
		var e *machine.Error
		if errors.As(err, &e) {
			e.Console = m.console.Tail(tail)
		}
		m.console.Close()
		return nil, err
	}
	m.memory = memory{monitor: m.process}
	m.memory.file, m.memory.refused = m.process.Memory()
	go m.reap()
	if m.ports, err = m.forwards(ctx); err != nil {
		err = m.explain("start QEMU", err)
		m.kill()
		return nil, err
	}
	return m, nil
}

// reap waits for the end of the process and finds out how that was.
func (m *vm) reap() {
	<-m.process.Ended()
	m.console.Close()
	close(m.done)
	m.memory.close()
	err := m.process.Wait()
	m.mu.Lock()
	if !m.ended && err != nil {
		m.err = fmt.Errorf("%w: QEMU %w%s", machine.ErrDied, err, m.oom.about(m.process.PID()))
	}
	m.mu.Unlock()
	m.oom.close()
	close(m.known)
}

// forward is a line of "info usernet": TCP[HOST_FORWARD]  12  127.0.0.1 38123  10.0.2.15  22  0  0.
var forward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+(\d+)`)

func (m *vm) forwards(ctx context.Context) (map[int]int, error) {
	info, err := hmp(ctx, m.process, "info usernet")
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
		if <-m.known; m.err != nil && !errors.Is(err, machine.ErrDied) {
			err = fmt.Errorf("%w (%w)", m.err, err)
		}
	default:
	}
	return &machine.Error{Op: op, Err: err, Console: m.console.Tail(tail), Log: m.lastWords()}
}

// lastWords is the end of what QEMU said of itself.
func (m *vm) lastWords() []byte {
	log := m.process.Log()
	return log[max(0, len(log)-tail):]
}

// execute runs a monitor command.
func (m *vm) execute(ctx context.Context, command string, args any) error {
	if err := m.process.Execute(ctx, command, args, nil); err != nil {
		return m.explain("monitor command "+command, err)
	}
	return nil
}

// ID names the machine in files and messages.
func (m *vm) ID() string { return m.Spec.ID }

// Console is everything the guest printed.
func (m *vm) Console() *machine.Console { return m.console }

// Command is what started the machine.
func (m *vm) Command() []string { return m.process.Command() }

// Disks are the data disks with the raw files behind them.
func (m *vm) Disks() []machine.Disk {
	disks := make([]machine.Disk, 0, len(m.Config.Disks))
	for _, d := range m.Config.Disks {
		disk := machine.Disk{Name: d.Name, Size: d.Size, Path: m.Disk(d.Name)}
		if from, ok := m.NBD[d.Name]; ok {
			disk.Path = from.File
		}
		disks = append(disks, disk)
	}
	return disks
}

// Dial connects to a port of the guest. QEMU accepts at once, whether anybody listens in the guest or not.
func (m *vm) Dial(ctx context.Context, port int) (net.Conn, error) {
	local, ok := m.ports[port]
	if !ok {
		return nil, fmt.Errorf("machine %s forwards no port to guest port %d", m.ID(), port)
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

// control leaves a machine alone that stands at its bell. It is refused while a debugger is attached: the stub would take its next command for an interrupt and lose it.
func (m *vm) control(ctx context.Context, command string) error {
	if b := m.hung(); b != nil {
		return b.control(ctx, m, command)
	}
	if m.debugged() {
		return fmt.Errorf("%s: the CPUs of machine %s are its debugger's", command, m.ID())
	}
	return m.execute(ctx, command, nil)
}

func (m *vm) debugged() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dbg != nil || m.bell != nil
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
	corrected  = 1<<63 | 1<<60 | 1<<59 | 1<<58 | 1<<38 | 0x9f // and one such error was counted
	mcgStatus  = 1 << 2                                       // MCIP: a machine check is in progress
	mciMisc    = 2<<6 | 6                                     // ADDR is a physical address, good to 64 bytes
	memoryBank = 9                                            // as real hosts use for memory controllers; QEMU has 10
)

// tripleFault is what QEMU says of a guest that has machine checks switched off, as kernels without CONFIG_X86_MCE do. Its
// CPUs then shut down, in QEMU as in hardware.
const tripleFault = "raising triple fault"

// MachineCheck injects an uncorrected memory error.
func (m *vm) MachineCheck(ctx context.Context, phys uint64) error {
	return m.mce(ctx, fmt.Sprintf("-b 0 %d %#x %#x %#x %#x", memoryBank, uint64(mciStatus), mcgStatus, phys, mciMisc))
}

// CorrectedError injects a corrected one.
func (m *vm) CorrectedError(ctx context.Context, phys uint64) error {
	return m.mce(ctx, fmt.Sprintf("0 %d %#x 0 %#x %#x", memoryBank, uint64(corrected), phys, mciMisc))
}

func (m *vm) mce(ctx context.Context, args string) error {
	out, err := hmp(ctx, m.process, "mce "+args)
	if out = strings.TrimSpace(out); err == nil && out != "" && !strings.Contains(out, tripleFault) {
		err = errors.New(out)
	}
	if err != nil {
		return m.explain("inject a machine check", err)
	}
	return nil
}

// pressed is how long keys are held down, in milliseconds. QEMU lets go of them before it presses the next ones.
const pressed = 50

// SysRq presses keys on the PS/2 keyboard that every q35 has.
func (m *vm) SysRq(ctx context.Context, key rune) error {
	codes := []string{"alt", "sysrq", string(key)}
	keys := make([]map[string]string, len(codes))
	for i, code := range codes {
		keys[i] = map[string]string{"type": "qcode", "data": code}
	}
	return m.execute(ctx, "send-key", map[string]any{"keys": keys, "hold-time": pressed})
}

// debugger is a gdb client that tells the machine when it goes.
type debugger struct {
	*gdb.Client
	m    *vm
	once sync.Once
}

// Debug stops the machine and attaches to QEMU's gdb stub, which is opened on demand.
func (m *vm) Debug(ctx context.Context) (machine.Debugger, error) {
	if b := m.hung(); b != nil {
		return b.debug(m.ID())
	}
	d := &debugger{m: m}
	m.mu.Lock()
	taken := m.dbg != nil
	if !taken {
		m.dbg = d
	}
	m.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("machine %s has a debugger already", m.ID())
	}
	var err error
	if d.Client, err = m.attach(ctx); err != nil {
		d.gone()
		return nil, m.explain("attach a debugger", err)
	}
	return d, nil
}

func (m *vm) attach(ctx context.Context) (*gdb.Client, error) {
	path := m.theirs("gdb")
	if _, err := hmp(ctx, m.process, "gdbserver unix:"+path+",server=on,wait=off"); err != nil {
		return nil, err
	}
	return gdb.Dial(ctx, path, gdb.Options{Hardware: m.Accel == machine.KVM})
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
	m.process.Kill()
	<-m.done
}

// Done is closed when the process has ended.
func (m *vm) Done() <-chan struct{} { return m.done }

// Wait waits for the end of the process.
func (m *vm) Wait(ctx context.Context) error {
	select {
	case <-m.known:
		if m.err == nil {
			return nil
		}
		return &machine.Error{Op: "machine " + m.ID(), Err: m.err, Log: m.lastWords()}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close kills the process and has its files deleted.
func (m *vm) Close() (err error) {
	m.closed.Do(func() {
		m.kill()
		err = m.process.Discard(m.remove)
	})
	return err
}
