// Package labtest gives the tests of all packages what is dear to make: host packages, an image, a booted guest. It is
// made once and cached, by whichever test comes first; the others, in other processes too, wait for it under a file lock.
package labtest

import (
	"testing"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/scenarios"
)

// Open opens a lab with the default driver that is closed with the test.
func Open(t testing.TB) *lab.Lab {
	t.Helper()
	return OpenDriver(t, "", "")
}

// OpenDriver opens a lab with a driver, and for libvirt's the URI to connect to.
func OpenDriver(t testing.TB, driver, connect string) *lab.Lab {
	t.Helper()
	d := hosttest.Dirs(t)
	l, err := lab.Open(t.Context(), lab.Options{
		Dirs: d, Driver: driver, Connect: connect, Install: hosttest.Install(d),
		Progress: func(p lab.Progress) {
			if p.Took == 0 || p.Done {
				t.Logf("%s %s", p.What, p.Took)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// Machine is what tests run on: small, and one for all of them, so that it is booted once.
func Machine() scenarios.Machine {
	return scenarios.Machine{CPUs: 2, Memory: 1 << 30, Disks: []scenarios.DataDisk{{Name: "v0", Size: 512 << 20}, {Name: "v1", Size: 512 << 20}}}
}

// Booted is a checkpoint of a guest with the default OpenZFS that has just come up.
func Booted(t testing.TB, l *lab.Lab) (*images.Image, *machine.Checkpoint) {
	t.Helper()
	img, err := l.Image(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	cp, err := l.Checkpoints().Booted(t.Context(), img, Machine())
	if err != nil {
		t.Fatal(err)
	}
	return img, cp
}

// Fork starts a machine that is closed with the test.
func Fork(t testing.TB, l *lab.Lab, cp *machine.Checkpoint, o machine.ForkOptions) machine.Machine {
	t.Helper()
	m, err := l.Driver().Fork(t.Context(), cp, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}
