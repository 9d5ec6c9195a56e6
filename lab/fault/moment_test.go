package fault

import (
	"context"
	"errors"
	"testing"

	"github.com/vdevil/vdevil/lab/machine"
)

// mortal is a machine that ends as it is let go.
type mortal struct {
	machine.Machine
	done chan struct{}
}

func (m *mortal) Resume(context.Context) error {
	go close(m.done)
	return errors.New("the other side hung up")
}

func (m *mortal) Done() <-chan struct{} { return m.done }

// What a machine dies of was delivered.
func TestMachineEndsOfItsFault(t *testing.T) {
	moment := Moment{Site: Site{Machine: &mortal{done: make(chan struct{})}}}
	if err := moment.Release(t.Context()); err != nil {
		t.Error(err)
	}
}
