package nbd_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/vdevil/vdevil/lab/nbd"
)

// client speaks the protocol byte by byte.
type client struct {
	t *testing.T
	*net.UnixConn
}

func dial(t *testing.T, s *nbd.Server) client {
	t.Helper()
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Path(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{t, c}
}

func (c client) send(parts ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(slices.Concat(parts...)); err != nil {
		c.t.Fatal(err)
	}
}

// say sends to a server that may hang up before it has heard everything.
func (c client) say(data []byte) {
	_, _ = c.Write(data)
	_ = c.CloseWrite()
}

func (c client) expect(n int) []byte {
	c.t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(c, p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

// end waits until the server hangs up.
func (c client) end() {
	c.t.Helper()
	_, _ = io.Copy(io.Discard, c) // a reset is an end too
}

func u32(v uint32) []byte { return binary.BigEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func request(command uint16, cookie, offset uint64, length uint32) []byte {
	p := binary.BigEndian.AppendUint16(u32(0x25609513), 0)
	return slices.Concat(binary.BigEndian.AppendUint16(p, command), u64(cookie), u64(offset), u32(length))
}
