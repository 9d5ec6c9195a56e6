package qemu

import (
	"bytes"
	"os/exec"
	"regexp"
	"testing"
)

// A child has no capability, whoever runs the lab, and gains none; the lab keeps its own.
func TestConfined(t *testing.T) {
	s, err := newSpawner()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	cmd := exec.Command("cat", "/proc/self/status")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := s.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`NoNewPrivs:\s+1`, `CapEff:\s+0+\n`, `CapPrm:\s+0+\n`} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("%s is not in %s", want, &out)
		}
	}
	own, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil || regexp.MustCompile(`NoNewPrivs:\s+1`).Match(own) {
		t.Errorf("other children are confined, too: %s, %v", own, err)
	}
}
