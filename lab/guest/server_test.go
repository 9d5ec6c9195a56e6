package guest

import (
	"context"
	"net"
	"testing"

	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
)

// server is a guest without a machine.
type server struct {
	*guesttest.Server
	keys Keys
	t    *testing.T
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := guesttest.New(t)
	return &server{s, Keys{Login: s.Login, Host: s.Host}, t}
}

// machine is a machine that this server is the guest of.
func (s *server) machine() *scripttest.Machine {
	s.t.Helper()
	m := scripttest.New(s.t)
	m.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return s.Dial(ctx) }
	return m
}

// connect gives a guest, closed when the test ends.
func connect(t *testing.T, s *server, m *scripttest.Machine) *Guest {
	t.Helper()
	g, err := Connect(t.Context(), m, s.keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}
