package nbd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
)

// Server serves exports to any number of clients. Its memory is bounded: what a connection has in flight takes at most
// 64 MiB.
type Server struct {
	listener net.Listener
	ctx      context.Context //nolint:containedctx // the life of the server, not of a call
	stop     context.CancelFunc
	work     sync.WaitGroup

	mu      sync.Mutex
	exports map[string]*export
	conns   map[*conn]struct{}
}

// export is what is served under a name.
type export struct {
	Export
	away bool // connections are refused
}

// Listen makes the socket, whose path has at most 107 bytes, and serves it until Close.
func Listen(ctx context.Context, path string) (*Server, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("serve NBD: %w", err)
	}
	s := &Server{listener: l, exports: map[string]*export{}, conns: map[*conn]struct{}{}}
	s.ctx, s.stop = context.WithCancel(context.Background()) // ends with Close
	s.work.Go(s.accept)
	return s, nil
}

// Path is that of the socket.
func (s *Server) Path() string { return s.listener.Addr().String() }

// Export serves a disk under a name. One that is served already keeps its connections and its size, which clients were
// told; requests that come from then on go to the new handler.
func (s *Server) Export(name string, e Export) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.exports[name]
	switch {
	case e.Size%512 != 0 || e.Size <= 0:
		return fmt.Errorf("export %s: %d bytes are no whole number of sectors", name, e.Size)
	case old == nil:
		s.exports[name] = &export{Export: e}
	case old.Size != e.Size:
		return fmt.Errorf("export %s: it has %d bytes, its clients were told %d", name, e.Size, old.Size)
	default:
		old.Handler = e.Handler
	}
	return nil
}

// Leave drops the connections of an export and refuses new ones until Return, as a device does that was pulled out.
func (s *Server) Leave(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exports[name]
	if e == nil {
		return fmt.Errorf("there is no export %s", name)
	}
	e.away = true
	for c := range s.conns {
		if c.export == e {
			c.drop()
		}
	}
	return nil
}

// Return lets clients of an export come back.
func (s *Server) Return(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exports[name]
	if e == nil {
		return fmt.Errorf("there is no export %s", name)
	}
	e.away = false
	return nil
}

// handler is what an export does now.
func (s *Server) handler(e *export) Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	return e.Handler
}

// find is the export of a name, nil if there is none or it is away. The empty name means the only one.
func (s *Server) find(name string) *export {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.exports[name]
	if name == "" && e == nil && len(s.exports) == 1 {
		for _, e = range s.exports {
		}
	}
	if e == nil || e.away {
		return nil
	}
	return e
}

func (s *Server) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.exports))
}

func (s *Server) accept() {
	for {
		c, err := s.listener.Accept()
		if err != nil { // closed
			return
		}
		s.work.Go(func() { s.serve(c) })
	}
}

func (s *Server) serve(socket net.Conn) {
	ctx, cancel := context.WithCancel(s.ctx)
	c := newConn(s, socket, cancel)
	s.mu.Lock()
	s.conns[c] = struct{}{}
	closed := s.ctx.Err() != nil
	s.mu.Unlock()
	defer func() {
		c.drop()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	if closed {
		return
	}
	if err := c.run(ctx); err != nil && ctx.Err() == nil {
		slog.Debug("NBD connection", "socket", s.Path(), "error", err)
	}
}

// Close ends all connections and removes the socket. Handlers are not called any more when it returns.
func (s *Server) Close() error {
	s.stop()
	err := s.listener.Close()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	s.mu.Lock()
	for c := range s.conns {
		c.drop()
	}
	s.mu.Unlock()
	s.work.Wait()
	return err
}
