// Package serve shows what a store has in browsers, and what labs do while they do it. It reads only: from the store, which labs
// write to as things happen, and from the consoles of guests that run.
package serve

import (
	"cmp"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
)

// Options are those of a server.
type Options struct {
	Store *store.Store
	// Page is what a campaign says so far. With past set it is compared with what was run before.
	Page func(ctx context.Context, c store.Campaign, past bool) (page.Page, error)
	// Token is what a browser has to know, empty for nothing. Without one only requests that name this computer by an address or name of
	// its own are answered, so that no page of somebody else's reads along.
	Token string
}

// Server answers browsers.
type Server struct {
	Options

	changes *store.Changes
	ctx     context.Context //nolint:containedctx // of all feeds, which outlive the requests that begin them
	cancel  context.CancelFunc
	work    sync.WaitGroup
	reports chan struct{} // as many as are drawn at once
	// slow is how long a browser may take for a message, or to answer that it is there; quiet is how long nothing is said before it is
	// asked for that.
	slow, quiet time.Duration

	mu    sync.Mutex
	feeds map[string]*feed
}

// New makes a server, to be closed.
func New(ctx context.Context, o Options) (*Server, error) {
	changes, err := o.Store.Changes(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{Options: o, changes: changes, reports: make(chan struct{}, 2), slow: 10 * time.Second, quiet: 20 * time.Second, feeds: map[string]*feed{}}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s, nil
}

// Close ends all that is under way.
func (s *Server) Close() error {
	s.cancel()
	s.work.Wait()
	return s.changes.Close()
}

// large is how long a browser may take to load a whole report.
const large = 10 * time.Minute

// Serve answers until the context ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: s.slow, WriteTimeout: large, IdleTimeout: time.Minute, MaxHeaderBytes: 1 << 16,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
	}
	stop := context.AfterFunc(ctx, func() {
		s.cancel()
		_ = server.Close() // nothing that a browser asks for is worth waiting for
	})
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler answers requests.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { s.show(w, r, "", &list{Server: s}, false) })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { s.follow(w, r, "", &list{Server: s}) })
	mux.HandleFunc("GET /run/{id}/{$}", s.campaign(func(w http.ResponseWriter, r *http.Request, c store.Campaign) {
		s.show(w, r, c.ID, &run{server: s, id: c.ID}, true)
	}))
	mux.HandleFunc("GET /run/{id}/events", s.campaign(func(w http.ResponseWriter, r *http.Request, c store.Campaign) {
		s.follow(w, r, c.ID, &run{server: s, id: c.ID})
	}))
	mux.HandleFunc("GET /run/{id}/report", s.campaign(s.report))
	return s.guard(mux)
}

// guard lets those in who may look.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Content-Security-Policy", "frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		if s.Token == "" {
			if !here(r.Host) {
				http.Error(w, fmt.Sprintf("%q is no name of this computer: use the address that vdevil serve printed", r.Host), http.StatusMisdirectedRequest)
				return
			}
			next.ServeHTTP(w, r)
			return
		}
		if word := r.URL.Query().Get("token"); word != "" {
			if !s.knows(word) {
				http.Error(w, "the token is wrong: vdevil serve has printed the address that has it", http.StatusUnauthorized)
				return
			}
			// It leaves the address, which is seen and kept in more places than a cookie.
			http.SetCookie(w, &http.Cookie{Name: cookie, Value: word, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode}) //nolint:gosec // there is no TLS
			http.Redirect(w, r, (&url.URL{Path: r.URL.Path}).String(), http.StatusSeeOther)
			return
		}
		if c, err := r.Cookie(cookie); err != nil || !s.knows(c.Value) {
			http.Error(w, "a token is needed: vdevil serve has printed the address that has it", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

const cookie = "vdevil"

func (s *Server) knows(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.Token)) == 1
}

// here says whether a request names this computer in a way that only it answers to: a page of somebody else's can give its own name any
// address, but not ask for a name that is not its own.
func here(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if name == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(name)
	return err == nil && a.IsLoopback()
}

// campaign finds the one that a request names.
func (s *Server) campaign(next func(http.ResponseWriter, *http.Request, store.Campaign)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := s.Store.Find(r.Context(), r.PathValue("id"))
		switch {
		case errors.As(err, new(*store.NotFoundError)):
			http.Error(w, err.Error(), http.StatusNotFound)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			next(w, r, c)
		}
	}
}

// show answers with a page as it is now.
func (s *Server) show(w http.ResponseWriter, r *http.Request, name string, draw drawing, up bool) {
	f, leave := s.watch(name, draw)
	defer leave()
	state, changed := f.look()
	for state.nows == 0 {
		select {
		case <-changed:
			state, changed = f.look()
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		}
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Live{Title: cmp.Or(state.title, "vdevil"), Now: state.now, Told: state.told, Up: up}.Write(w) // a browser that has gone is no trouble
}

// follow tells a browser what changes.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, name string, draw drawing) {
	c, err := websocket.Accept(w, r, nil) // from pages of this server alone
	if err != nil {
		return // the browser was told
	}
	defer c.CloseNow() //nolint:errcheck // nothing is left to say
	f, leave := s.watch(name, draw)
	defer leave()
	ctx := c.CloseRead(s.ctx) // it has nothing to say
	var seen shown
	for {
		state, changed := f.look()
		if m := news(seen, state); m != nil {
			if err := s.within(ctx, func(ctx context.Context) error { return c.Write(ctx, websocket.MessageText, m) }); err != nil {
				return
			}
		}
		seen = state
		select {
		case <-changed:
		case <-time.After(s.quiet):
			if err := s.within(ctx, c.Ping); err != nil { // it sleeps: when it wakes up it asks again
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) within(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, s.slow)
	defer cancel()
	return do(limited)
}

// news is what to tell a browser that has seen one state of another one, nil for nothing.
func news(seen, state shown) []byte {
	var m struct {
		Now  *string `json:"now,omitempty"`
		Told *string `json:"told,omitempty"`
	}
	if state.nows != seen.nows {
		text := string(state.now)
		m.Now = &text
	}
	if state.tolds != seen.tolds {
		text := string(state.told)
		m.Told = &text
	}
	if m.Now == nil && m.Told == nil {
		return nil
	}
	text, err := json.Marshal(m)
	if err != nil { // two strings
		panic(err)
	}
	return text
}

// report answers with the whole report as it is now. It takes memory: only so many are drawn at once.
func (s *Server) report(w http.ResponseWriter, r *http.Request, c store.Campaign) {
	select {
	case s.reports <- struct{}{}:
		defer func() { <-s.reports }()
	case <-r.Context().Done():
		return
	}
	p, err := s.Page(r.Context(), c, true)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_ = page.Write(w, p) // a browser that has gone is no trouble
}
