package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sync/semaphore"
)

// inFlight bounds the data of the requests of a connection that are not answered yet, in bytes.
const inFlight = 2 * maxData

// conn is a client.
type conn struct {
	server *Server
	socket net.Conn
	in     *bufio.Reader
	cancel context.CancelFunc

	export     *export // set by the negotiation, under the server's lock
	structured bool
	noZeroes   bool

	slots *semaphore.Weighted
	bytes *semaphore.Weighted
	out   sync.Mutex // one reply at a time
}

func newConn(s *Server, socket net.Conn, cancel context.CancelFunc) *conn {
	return &conn{
		server: s, socket: socket, in: bufio.NewReader(socket), cancel: cancel,
		slots: semaphore.NewWeighted(maxRequests), bytes: semaphore.NewWeighted(inFlight),
	}
}

// drop ends the connection. Its goroutines come to their ends by themselves.
func (c *conn) drop() {
	c.cancel()
	_ = c.socket.Close() // it is of no use any more
}

func (c *conn) run(ctx context.Context) error {
	e, err := c.negotiate()
	if err != nil || e == nil {
		return err
	}
	c.server.mu.Lock()
	c.export = e
	away := e.away
	c.server.mu.Unlock()
	if away {
		return nil
	}
	var work sync.WaitGroup
	defer work.Wait()
	defer c.drop()
	for {
		r, err := c.request(ctx)
		if err != nil || r == nil {
			return err
		}
		work.Go(func() { c.answer(ctx, r) })
	}
}

// pending is a request that waits for its reply.
type pending struct {
	Request
	cookie uint64
	size   int64 // of its data, held in conn.bytes
	refuse error // the client's fault
}

// request reads the next one, nil when the client takes its leave.
func (c *conn) request(ctx context.Context) (*pending, error) {
	var head [requestSize]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return nil, err
	}
	big := binary.BigEndian
	if m := big.Uint32(head[:]); m != magicRequest {
		return nil, fmt.Errorf("a request begins with %#x", m)
	}
	flags, command := big.Uint16(head[4:]), big.Uint16(head[6:])
	offset, length := big.Uint64(head[16:]), int64(big.Uint32(head[24:]))
	if command == cmdDisc {
		return nil, nil
	}
	p := &pending{cookie: big.Uint64(head[8:]), Request: Request{FUA: flags&cmdFlagFUA != 0, Offset: int64(offset), Length: length}}
	p.decode(command)
	if length > maxData && (command == cmdRead || command == cmdWrite) {
		return nil, fmt.Errorf("a request for %d bytes", length) // a write's data cannot even be skipped
	}
	if p.refuse == nil && p.Op != Flush && (offset > uint64(c.export.Size) || length > c.export.Size-int64(offset)) {
		p.refuse = fmt.Errorf("%v of %d bytes at %d: %w", p.Op, length, offset, syscall.EINVAL)
		if p.Op == Write {
			p.refuse = fmt.Errorf("%v of %d bytes at %d: %w", p.Op, length, offset, syscall.ENOSPC)
		}
	}
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	if command == cmdRead || command == cmdWrite {
		p.size = length
		if err := c.bytes.Acquire(ctx, p.size); err != nil {
			return nil, err
		}
		p.Data = make([]byte, length)
	}
	if command == cmdWrite {
		if _, err := io.ReadFull(c.in, p.Data); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *pending) decode(command uint16) {
	switch command {
	case cmdRead:
		p.Op = Read
	case cmdWrite:
		p.Op = Write
	case cmdFlush:
		p.Op, p.Offset, p.Length = Flush, 0, 0
	case cmdTrim:
		p.Op = Trim
	case cmdWriteZeroes:
		p.Op = Zero
	default:
		p.refuse = fmt.Errorf("command %d: %w", command, syscall.EINVAL)
	}
}

// answer does a request and replies.
func (c *conn) answer(ctx context.Context, p *pending) {
	defer c.slots.Release(1)
	defer c.bytes.Release(p.size)
	err := p.refuse
	if err == nil {
		err = c.server.handler(c.export).Handle(ctx, &p.Request)
	}
	if errors.Is(err, ErrDisconnect) || ctx.Err() != nil {
		c.drop()
		return
	}
	if err := c.reply(p, err); err != nil {
		c.drop()
	}
}

// reply writes a simple reply, or the chunks that a structured one to a read consists of.
func (c *conn) reply(p *pending, failed error) error {
	big := binary.BigEndian
	var head []byte
	var data []byte
	switch {
	case c.structured && p.Op == Read && failed == nil && p.Length > 0:
		head = c.chunk(chunkOffsetData, p, 8+len(p.Data))
		head = big.AppendUint64(head, uint64(p.Offset))
		data = p.Data
	case c.structured && p.Op == Read && failed == nil:
		head = c.chunk(0, p, 0)
	case c.structured && p.Op == Read:
		text := failed.Error()
		text = text[:min(len(text), 1024)]
		head = c.chunk(chunkError, p, 4+2+len(text))
		head = big.AppendUint32(head, errno(failed))
		head = append(big.AppendUint16(head, uint16(len(text))), text...)
	default:
		head = big.AppendUint32(nil, magicSimple)
		head = big.AppendUint32(head, errno(failed))
		head = big.AppendUint64(head, p.cookie)
		if p.Op == Read && failed == nil {
			data = p.Data
		}
	}
	c.out.Lock()
	defer c.out.Unlock()
	buffers := net.Buffers{head, data}
	_, err := buffers.WriteTo(c.socket)
	return err
}

// chunk is the head of a chunk that is the last of its reply.
func (c *conn) chunk(kind uint16, p *pending, length int) []byte {
	big := binary.BigEndian
	head := big.AppendUint32(nil, magicStructured)
	head = big.AppendUint16(head, chunkDone)
	head = big.AppendUint16(head, kind)
	head = big.AppendUint64(head, p.cookie)
	return big.AppendUint32(head, uint32(length))
}
