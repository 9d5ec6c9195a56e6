package vm

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"unsafe"
)

// identity is a monitor that finds the guest's address A at a fixed distance in the process.
type identity struct{ base uint64 }

func (i identity) Execute(_ context.Context, _ string, args, result any) error {
	var addr uint64
	line := args.(map[string]string)["command-line"]
	if _, err := fmt.Sscanf(line, "gpa2hva %v", &addr); err != nil {
		return err
	}
	*result.(*string) = fmt.Sprintf("Host virtual address for %#x (ram) is %#x\r\n", addr, i.base+addr)
	return nil
}

// TestMemory writes and reads its own process as if that were QEMU.
func TestMemory(t *testing.T) {
	own := bytes.Repeat([]byte("."), 3*pageSize)
	base := uint64(uintptr(unsafe.Pointer(&own[0])))
	f, err := OpenMemory(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	m := &memory{monitor: identity{base}, file: f}
	want := bytes.Repeat([]byte("vdevil"), pageSize/4) // across low pages, each asked for by itself
	if err := m.write(t.Context(), 100, want); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(own[100:100+len(want)], want) || own[99] != '.' || own[100+len(want)] != '.' {
		t.Error("the process does not hold what was written")
	}
	got := make([]byte, len(want))
	if err := m.read(t.Context(), 100, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %.20q, %v", got, err)
	}
	m.close()
	if err := m.read(t.Context(), 100, got); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("memory that was closed: %v", err)
	}
}

// TestMemoryOfTheDead expects a descriptor to lead to the process that it was opened for, or nowhere: not to whoever has
// its number.
func TestMemoryOfTheDead(t *testing.T) {
	child := exec.CommandContext(t.Context(), "sleep", "infinity")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	f, err := OpenMemory(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()                                                 // it was killed
	m := &memory{monitor: identity{0x400000}, file: f, refused: nil} // where programs lie, and this one does
	defer m.close()
	for name, do := range map[string]func() error{
		"read":  func() error { return m.read(t.Context(), 0, make([]byte, 8)) },
		"write": func() error { return m.write(t.Context(), 0, make([]byte, 8)) },
	} {
		if err := do(); err == nil || !strings.Contains(err.Error(), "has ended") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenMemory(child.Process.Pid); err == nil {
		t.Error("the memory of a process that is gone could be opened")
	}
}
