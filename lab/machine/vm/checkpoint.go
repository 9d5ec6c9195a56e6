package vm

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
)

// Checkpoint freezes the machine into dir. Device state goes through a migration into a file of about 1 MB; memory is in
// the RAM file already and is only moved, like the disks.
func (m *vm) Checkpoint(ctx context.Context, dir string, scale machine.Scale) (*machine.Checkpoint, error) {
	if !m.Shared {
		return nil, fmt.Errorf("machine %s maps its memory privately: fork it with Freezable to take a checkpoint", m.ID())
	}
	if _, err := os.Stat(dir); err == nil {
		return nil, fmt.Errorf("checkpoint %s exists already", dir)
	}
	m.plugging.Lock()
	defer m.plugging.Unlock()
	for disk := range m.unplugged {
		return nil, fmt.Errorf("disk %s of machine %s is unplugged, and its forks would have it: plug it in first", disk, m.ID())
	}
	if err := m.save(ctx); err != nil {
		return nil, m.explain("save the device state", err)
	}
	m.kill()
	cp := &machine.Checkpoint{
		Dir: dir, Config: m.Config, Driver: m.driver.Name(), Version: m.driver.Version(), Accel: m.Accel,
		Made: time.Now().UTC(), Scale: scale,
	}
	if b := m.hung(); b != nil {
		cp.Bell = b.addr
	}
	if err := m.publish(cp); err != nil {
		return nil, fmt.Errorf("checkpoint %s: %w", dir, err)
	}
	return cp, m.Close()
}

// save stops the machine and writes its device state.
func (m *vm) save(ctx context.Context) error {
	debugged := m.debugged()
	if !debugged { // the stub holds it already
		if err := m.Pause(ctx); err != nil {
			return err
		}
	}
	if err := ignoreShared(ctx, m.process); err != nil {
		return err
	}
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", m.Socket("migrate"))
	if err != nil {
		return err
	}
	defer l.Close() //nolint:errcheck // it has served its one connection
	if err := m.driver.give(m.Socket("migrate")); err != nil {
		return err
	}
	state := make(chan error, 1)
	var buf bytes.Buffer
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(&buf, c)
			c.Close()
		}
		state <- err
	}()
	if err := m.process.Execute(ctx, "migrate", map[string]string{"uri": "unix:" + m.Socket("migrate")}, nil); err != nil {
		return err
	}
	if err := m.migrated(ctx, state); err != nil {
		return err
	}
	stream := buf.Bytes()
	if debugged {
		if err := pausedState(stream); err != nil {
			return err
		}
	}
	return os.WriteFile(m.state(), stream, 0o644)
}

// publish moves the files of a dead machine into dir, which appears whole or not at all.
func (m *vm) publish(cp *machine.Checkpoint) (err error) {
	part := cp.Dir + machine.PartSuffix
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := os.MkdirAll(part, 0o755); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(part))
		}
	}()
	manifest, err := json.MarshalIndent(cp, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(m.manifest(), manifest, 0o644); err != nil {
		return err
	}
	for _, f := range append(m.saved(m.Config), m.state(), m.manifest()) {
		if err := os.Rename(f, filepath.Join(part, filepath.Base(f))); err != nil {
			return err
		}
	}
	return os.Rename(part, cp.Dir)
}

// Open reads the checkpoint in dir. Its files, and those of its image, are checked for presence, its own for size.
func Open(dir string) (*machine.Checkpoint, error) {
	f := Files{Dir: dir}
	b, err := os.ReadFile(f.manifest())
	if err != nil {
		return nil, err
	}
	cp := &machine.Checkpoint{Dir: dir}
	if err := json.Unmarshal(b, cp); err != nil {
		return nil, fmt.Errorf("%s: %w", f.manifest(), err)
	}
	want := map[string]int64{f.ram(): cp.Config.Memory}
	for _, d := range cp.Config.Disks {
		want[f.Disk(d.Name)] = d.Size
	}
	for _, path := range append(f.saved(cp.Config), f.state(), cp.Config.Root, cp.Config.Kernel, cp.Config.Initrd) {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("checkpoint is not whole: %w", err)
		}
		if size, ok := want[path]; ok && info.Size() != size {
			return nil, fmt.Errorf("checkpoint is not whole: %s has %d bytes instead of %d", path, info.Size(), size)
		}
	}
	return cp, nil
}

// ignoreShared makes migration leave out memory that lies in a shared file.
func ignoreShared(ctx context.Context, m Monitor) error {
	type capability struct {
		Capability string `json:"capability"`
		State      bool   `json:"state"`
	}
	return m.Execute(ctx, "migrate-set-capabilities", map[string]any{
		"capabilities": []capability{{"x-ignore-shared", true}},
	}, nil)
}

// migrated waits for a migration in either direction. QEMU closes its end of the stream when the migration has come to an
// end (migrate_fd_cleanup and migration_incoming_state_destroy in migration/migration.c); closed tells of that.
func (m *vm) migrated(ctx context.Context, closed <-chan error) error {
	select {
	case err := <-closed:
		if err != nil {
			return err
		}
	case <-m.done:
		return machine.ErrDied
	case <-ctx.Done():
		return ctx.Err()
	}
	var info struct {
		Status string
		Desc   string `json:"error-desc"`
	}
	if err := m.process.Execute(ctx, "query-migrate", nil, &info); err != nil {
		return err
	}
	if info.Status != "completed" {
		return fmt.Errorf("migration %s: %s", info.Status, info.Desc)
	}
	return nil
}

// globalStateSize is the fixed room for the name of a run state in QEMU's migration stream (migration/global_state.c:
// a 32-bit length, big endian, then 100 bytes).
const globalStateSize = 100

// pausedState rewrites the run state in a migration stream from "debug", in which the gdb stub leaves a machine, to
// "paused": QEMU refuses to start from the former ("invalid runstate transition").
func pausedState(stream []byte) error {
	name := []byte("\x0bglobalstate") // length-prefixed section name
	at := bytes.Index(stream, name)
	// The name is followed by the section's instance and version, 32 bits each.
	at += len(name) + 8
	if at < len(name)+8 || at+4+globalStateSize > len(stream) {
		return errors.New("the migration stream has no section globalstate")
	}
	field := stream[at : at+4+globalStateSize]
	if n := binary.BigEndian.Uint32(field); n > globalStateSize || string(field[4:4+n]) != "debug\x00" {
		return fmt.Errorf("the migration stream says run state %q where debug was expected", bytes.TrimRight(field[4:], "\x00"))
	}
	clear(field)
	binary.BigEndian.PutUint32(field, uint32(len("paused\x00")))
	copy(field[4:], "paused")
	return nil
}
