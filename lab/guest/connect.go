package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/vdevil/vdevil/lab/machine"
)

// sshPort is where a guest listens.
const sshPort = 22

// What no further attempt can mend.
var (
	// ErrHostKey says that something answered with another host key than the guest's.
	ErrHostKey = errors.New("host key differs from the known one")
	// ErrLogin says that the guest refused the login key.
	ErrLogin = errors.New("guest refuses the login key")
)

const (
	// refusedPause spaces attempts that failed at once, as they do while sshd has not started: short, as each costs
	// the guest a few packets only.
	refusedPause = 100 * time.Millisecond
	// silentPause spaces attempts that got no answer: long enough for a guest that does listen, under emulation too,
	// as each costs it a process.
	silentPause = 2 * time.Second
	// silentShare makes that pause grow, to this part of the time waited so far: a guest that is slow to boot is slow to
	// answer.
	silentShare = 16
	// maxSilent is the number of unanswered attempts kept open. Below sshd's MaxStartups by far.
	maxSilent = 4
)

// Connect logs in as root, or opens the line to a guest that listens on one. A guest that is still booting is tried again until ctx ends or the machine dies; a wrong key
// on either side ends it at once (ErrHostKey, ErrLogin). Errors are a *machine.Error with the tail of the console.
func Connect(ctx context.Context, m machine.Machine, k Keys) (*Guest, error) {
	const op = "connect to guest"
	switch l, err := findLine(ctx, m); {
	case err != nil:
		return nil, evidence(m, op, err)
	case l != nil:
		return &Guest{machine: m, line: l}, nil
	}
	login, host, err := k.load()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	client, err := dial(ctx, m, clientConfig(login, host))
	if err != nil {
		return nil, evidence(m, op, err)
	}
	return newGuest(m, client), nil
}

// clientConfig offers few algorithms: the cheapest to compute for an emulated CPU.
func clientConfig(login ssh.Signer, host ssh.PublicKey) *ssh.ClientConfig {
	return &ssh.ClientConfig{
		Config: ssh.Config{
			KeyExchanges: []string{ssh.KeyExchangeCurve25519},
			Ciphers:      []string{ssh.CipherAES128GCM, ssh.CipherChaCha20Poly1305},
		},
		User: "root",
		Auth: []ssh.AuthMethod{ssh.PublicKeys(login)},
		AuthCallback: func(a *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
			if slices.Contains(a.TriedMethods, "publickey") {
				return nil, ErrLogin
			}
			return nil, nil
		},
		HostKeyAlgorithms: []string{host.Type()},
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if !bytes.Equal(key.Marshal(), host.Marshal()) {
				return fmt.Errorf("%w: %s instead of %s", ErrHostKey,
					ssh.FingerprintSHA256(key), ssh.FingerprintSHA256(host))
			}
			return nil
		},
	}
}

// attempt is one try to log in.
type attempt struct {
	cancel context.CancelFunc
	client *ssh.Client
	err    error
}

// dial tries until one attempt succeeds. Before the guest listens, QEMU's user network accepts a connection all the same
// and either drops it when the guest refuses, or keeps it silent for as long as the guest has no network. So an attempt
// counts as lost only when it ends; while it is silent, others are started beside it.
func dial(ctx context.Context, m machine.Machine, config *ssh.ClientConfig) (*ssh.Client, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		begun   = time.Now()
		silent  []*attempt             // oldest first
		speaker *attempt               // the one that the guest answered
		spoke   = make(chan *attempt)  // the guest's first byte has come
		ended   = make(chan *attempt)  // client or err is set
		next    = time.NewTimer(0)     // when to start another one
		last    = errors.New("no try") // why the latest failed
	)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w after %s; last try: %w", context.Cause(ctx),
				time.Since(begun).Round(time.Millisecond), last)
		case <-m.Done():
			return nil, fmt.Errorf("%w; last try: %w", machine.ErrDied, last)
		case <-next.C:
			if len(silent) == maxSilent {
				silent[0].cancel()
				silent = silent[1:]
			}
			silent = append(silent, start(ctx, m, config, spoke, ended))
			next.Reset(max(silentPause, time.Since(begun)/silentShare))
		case a := <-spoke:
			if speaker != nil || !slices.Contains(silent, a) {
				continue
			}
			// The guest is there: more attempts would only take time from this one.
			speaker = a
			for _, other := range silent {
				if other != a {
					other.cancel()
				}
			}
			silent = nil
			next.Stop()
		case a := <-ended:
			if a.err == nil {
				return a.client, nil
			}
			if a != speaker && !slices.Contains(silent, a) {
				continue // given up before
			}
			last = a.err
			if errors.Is(last, ErrHostKey) || errors.Is(last, ErrLogin) {
				return nil, last
			}
			silent = slices.DeleteFunc(silent, func(s *attempt) bool { return s == a })
			if a == speaker || len(silent) == 0 {
				speaker = nil
				next.Reset(refusedPause)
			}
		}
	}
}

// start begins an attempt, which ends when it has failed, has succeeded, or is cancelled.
func start(ctx context.Context, m machine.Machine, config *ssh.ClientConfig, spoke, ended chan<- *attempt) *attempt {
	own, cancel := context.WithCancel(ctx)
	a := &attempt{cancel: cancel}
	go func() {
		defer cancel()
		a.client, a.err = login(own, m, config, func() {
			select {
			case spoke <- a:
			case <-own.Done():
			}
		})
		select {
		case ended <- a:
		case <-ctx.Done():
			if a.err == nil {
				_ = a.client.Close() // nobody waits for it any more
			}
		}
	}()
	return a
}

// login does one attempt and calls spoke when the guest's first byte has come.
func login(ctx context.Context, m machine.Machine, config *ssh.ClientConfig, spoke func()) (*ssh.Client, error) {
	conn, err := m.Dial(ctx, sshPort)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	c, channels, requests, err := ssh.NewClientConn(&listener{Conn: conn, spoke: spoke}, m.ID(), config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	if !stop() {
		conn.Close()
		return nil, context.Cause(ctx)
	}
	return ssh.NewClient(c, channels, requests), nil
}

// listener is a connection that tells of its first byte.
type listener struct {
	net.Conn
	once  sync.Once
	spoke func()
}

func (l *listener) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.once.Do(l.spoke)
	}
	return n, err
}
