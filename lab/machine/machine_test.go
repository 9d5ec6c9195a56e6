package machine

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestConsole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console.log")
	c, err := NewConsole(path, []byte("boot\n"))
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		text []byte
		err  error
	}
	whole, own := make(chan result, 1), make(chan result, 1)
	follow := func(offset int, done chan<- result) {
		text, err := io.ReadAll(c.Reader(t.Context(), offset))
		done <- result{text, err}
	}
	go follow(0, whole)
	go follow(c.Start(), own)
	for _, piece := range []string{"one\n", "two\n"} {
		if _, err := c.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	const want = "boot\none\ntwo\n"
	if r := <-whole; string(r.text) != want || r.err != nil {
		t.Errorf("a reader got %q, %v", r.text, r.err)
	}
	if r := <-own; string(r.text) != "one\ntwo\n" || r.err != nil {
		t.Errorf("a reader of what is the machine's own got %q, %v", r.text, r.err)
	}
	if file, err := os.ReadFile(path); string(file) != want || err != nil {
		t.Errorf("the file holds %q, %v", file, err)
	}
	if got := string(c.Tail(4)); got != "two\n" {
		t.Errorf("tail %q", got)
	}
	if got := string(c.Tail(1000)); got != want {
		t.Errorf("tail %q", got)
	}
}

func TestConsoleReaderEndsWithContext(t *testing.T) {
	c, err := NewConsole(filepath.Join(t.TempDir(), "console.log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Reader(ctx, 0).Read(make([]byte, 1))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestScale(t *testing.T) {
	for _, tt := range []struct {
		scale Scale
		want  time.Duration
	}{
		{KVM.Default(), time.Second},
		{TCG.Default(), 20 * time.Second},
		{Measured(25 * time.Second), 10 * time.Second},
		{Measured(time.Millisecond), time.Second}, // a limit is never shorter than on the reference
		{0, time.Second},                          // of a checkpoint that nobody measured
	} {
		if got := tt.scale.Limit(time.Second); got != tt.want {
			t.Errorf("Scale(%v).Limit(1s) = %s, want %s", float64(tt.scale), got, tt.want)
		}
	}
	if got := Scale(1e9).Limit(24 * time.Hour); got <= 0 {
		t.Errorf("a day, stretched beyond measure, is %s", got)
	}
}

func TestErrorShowsEvidence(t *testing.T) {
	err := error(&Error{Op: "connect", Err: ErrDied, Console: []byte("Kernel panic"), Log: []byte("no such file")})
	for _, want := range []string{"connect", "the machine died", "Kernel panic", "no such file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if !errors.Is(err, ErrDied) {
		t.Error("the cause is lost")
	}
}
