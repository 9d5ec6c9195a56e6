// Package nbd serves data disks of machines over the NBD protocol on a UNIX socket, so that what a device does is
// decided here: every read, write, flush, trim and zeroing passes through a Handler. It is the part of the protocol that
// QEMU's block driver speaks (fixed newstyle negotiation, simple and structured replies; doc/proto.md of
// NetworkBlockDevice/nbd), and nothing of TLS or of extended headers. Beside the server is a client that reads.
package nbd

import (
	"context"
	"errors"
	"fmt"
)

// Op is what a request asks for.
type Op uint8

// The operations.
const (
	Read Op = iota
	Write
	Flush
	Trim
	Zero
)

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("op %d", uint8(o))
}

var opNames = [...]string{"read", "write", "flush", "trim", "zero"}

// Request is one request of a client.
type Request struct {
	Op Op
	// Offset and Length are in bytes, inside of the disk. A flush has neither.
	Offset, Length int64
	// Data is what a write carries and a read is to fill; it belongs to the server, and is used again after the reply.
	Data []byte
	// FUA asks for what was written to be on stable storage before the reply.
	FUA bool
}

// Handler is a disk, or something in front of one. It is called by several goroutines at once, and the client is told of
// success when it returns nil. A syscall.Errno reaches the client, if the protocol has it, other errors as EIO;
// ErrDisconnect ends the connection without a reply.
type Handler interface {
	Handle(ctx context.Context, r *Request) error
}

// HandlerFunc is a Handler.
type HandlerFunc func(ctx context.Context, r *Request) error

// Handle calls f.
func (f HandlerFunc) Handle(ctx context.Context, r *Request) error { return f(ctx, r) }

// ErrDisconnect makes the server drop the connection that a request came over.
var ErrDisconnect = errors.New("disconnect")

// Export is a disk that clients can ask for.
type Export struct {
	// Size is in bytes, a multiple of 512.
	Size    int64
	Handler Handler
}
