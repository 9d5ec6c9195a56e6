package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// Client reads from a server, by one of its connections that is free.
type Client struct {
	size int64
	free chan net.Conn
	all  []net.Conn
}

// maxRead is how much a client asks for at once, in bytes; servers take 32 MiB.
const maxRead = 16 << 20

// Connect opens n connections to the default export of the server at a UNIX socket.
func Connect(ctx context.Context, socket string, n int) (*Client, error) {
	c := &Client{free: make(chan net.Conn, n)}
	for range n {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.all = append(c.all, conn)
		if c.size, err = choose(conn); err != nil {
			return nil, errors.Join(fmt.Errorf("NBD handshake: %w", err), c.Close())
		}
		c.free <- conn
	}
	return c, nil
}

// choose asks for the default export.
func choose(conn net.Conn) (size int64, err error) {
	hello := make([]byte, 18)
	if _, err := io.ReadFull(conn, hello); err != nil {
		return 0, err
	}
	flags := binary.BigEndian.Uint16(hello[16:])
	if binary.BigEndian.Uint64(hello) != magicServer || binary.BigEndian.Uint64(hello[8:]) != magicOption ||
		flags&(flagFixedNewstyle|flagNoZeroes) != flagFixedNewstyle|flagNoZeroes {
		return 0, fmt.Errorf("the server says %x", hello)
	}
	p := binary.BigEndian.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes)
	p = binary.BigEndian.AppendUint64(p, magicOption)
	p = binary.BigEndian.AppendUint32(p, optExportName)
	p = binary.BigEndian.AppendUint32(p, 0) // the length of the name
	if _, err := conn.Write(p); err != nil {
		return 0, err
	}
	export := make([]byte, 10) // size and flags
	if _, err := io.ReadFull(conn, export); err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(export)), nil
}

// ReadAt reads from the image. It may be called by several goroutines.
func (c *Client) ReadAt(p []byte, at int64) (n int, err error) {
	if at < 0 || at > c.size {
		return 0, fmt.Errorf("offset %d of %d bytes", at, c.size)
	}
	short := int64(len(p)) > c.size-at
	if short {
		p = p[:c.size-at]
	}
	for len(p) > n {
		part := p[n:min(len(p), n+maxRead)]
		if err := c.read(part, at+int64(n)); err != nil {
			return n, err
		}
		n += len(part)
	}
	if short {
		return n, io.EOF
	}
	return n, nil
}

func (c *Client) read(p []byte, at int64) error {
	conn := <-c.free
	defer func() { c.free <- conn }() // one that is broken fails at once
	request := binary.BigEndian.AppendUint32(make([]byte, 0, 28), magicRequest)
	request = binary.BigEndian.AppendUint32(request, 0) // flags and the command, which is READ
	request = binary.BigEndian.AppendUint64(request, 0) // the cookie: there is one request at a time
	request = binary.BigEndian.AppendUint64(request, uint64(at))
	request = binary.BigEndian.AppendUint32(request, uint32(len(p)))
	if _, err := conn.Write(request); err != nil {
		return err
	}
	reply := make([]byte, 16)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	if magic := binary.BigEndian.Uint32(reply); magic != magicSimple { // only a server that is broken does that
		return fmt.Errorf("the NBD server answers %#x", magic)
	}
	if code := binary.BigEndian.Uint32(reply[4:]); code != 0 {
		return fmt.Errorf("the NBD server answers error %d", code)
	}
	_, err := io.ReadFull(conn, p)
	return err
}

// Close ends all connections.
func (c *Client) Close() error {
	all := make([]error, len(c.all))
	for i, conn := range c.all {
		all[i] = conn.Close()
	}
	return errors.Join(all...)
}
