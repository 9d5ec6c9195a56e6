package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/vdevil/vdevil/lab/guest/churn"
)

// The loads put a dataset to work for a while, or for so many times, and print lines like "writes=120" as they go. What each does comes in
// an order that its seed decides.

// load says what to do; package guest has it, too.
type load struct {
	Do      string `json:"do"`
	Dataset string `json:"dataset"`
	// Name is what names of files and snapshots begin with.
	Name  string `json:"name"`
	Files int    `json:"files"`
	// Milliseconds are by the guest's clock. Times, if there are some, count writes, of a storm snapshots, instead.
	Milliseconds int    `json:"milliseconds"`
	Times        int    `json:"times"`
	Keep         int    `json:"keep"`
	Seed         uint64 `json:"seed"`
}

func (l load) run() error {
	folder, err := mountpoint(l.Dataset)
	if err != nil {
		return err
	}
	fmt.Printf("folder=%s\n", folder)
	until := end{time.Now().Add(time.Duration(l.Milliseconds) * time.Millisecond), l.Times}
	switch l.Do {
	case "churn":
		return overwriteAll(churn.New(l.Seed, l.Name, l.Files), folder, until.reached, &counter{name: "writes"})
	case "storm":
		return l.storm(folder, until)
	case "promises":
		return promises(folder, until, l.Seed)
	}
	return fmt.Errorf("there is no load %q", l.Do)
}

// end is when a load ends: at a time, or after so many times if times is above 0.
type end struct {
	at    time.Time
	times int
}

func (e end) reached(done int) bool {
	if e.times > 0 {
		return done >= e.times
	}
	return time.Now().After(e.at)
}

// counter prints a count when it changes, seldom: nobody needs each of thousands, and a guest that counts its time stands at every line.
type counter struct {
	name string
	n    int
	told int
	last time.Time
}

const tellEvery = 100 * time.Millisecond

func (c *counter) add() {
	if c.n++; time.Since(c.last) >= tellEvery {
		c.tell()
	}
}

func (c *counter) tell() {
	if c.last = time.Now(); c.told == c.n {
		return
	}
	fmt.Printf("%s=%d\n", c.name, c.n) // one write, so one line at a time
	c.told = c.n
}

// mountpoint is where a dataset is mounted, which is made when it does not exist.
func mountpoint(dataset string) (string, error) {
	if zfs("list", dataset) != nil {
		if err := zfs("create", "-p", dataset); err != nil {
			return "", err
		}
	}
	out, err := exec.Command("zfs", "list", "-H", "-o", "mountpoint", dataset).Output() //nolint:noctx // it ends with its guest
	return strings.TrimSpace(string(out)), err
}

func zfs(args ...string) error {
	out, err := exec.Command("zfs", args...).CombinedOutput() //nolint:noctx // it ends with its guest
	if err != nil {
		return fmt.Errorf("zfs %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// pause is between two pieces of churn, so that what runs beside it has a CPU, too, where there is one only.
const pause = 2 * time.Millisecond

// overwriteAll overwrites the beginnings of files.
func overwriteAll(c *churn.Churn, folder string, done func(writes int) bool, writes *counter) error {
	defer writes.tell()
	for !done(writes.n) {
		name, data := c.Next()
		if err := overwrite(filepath.Join(folder, name), data); err != nil {
			return err
		}
		writes.add()
		time.Sleep(pause)
	}
	return nil
}

func overwrite(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// storm makes snapshots and destroys old ones while files are overwritten.
func (l load) storm(folder string, until end) error {
	over, churned := make(chan struct{}), make(chan error, 1)
	go func() {
		churned <- overwriteAll(churn.New(l.Seed, l.Name, l.Files), folder, func(int) bool {
			select {
			case <-over:
				return true
			default:
				return false
			}
		}, &counter{name: "writes"})
	}()
	made, destroyed := &counter{name: "snapshots"}, &counter{name: "destroyed"}
	for !until.reached(made.n) {
		// The oldest goes while the next one comes: both wait for a transaction group, and they may well share one.
		gone := make(chan error, 1)
		if made.n-destroyed.n >= l.Keep {
			go func() { gone <- zfs("destroy", fmt.Sprintf("%s@%s-%d", l.Dataset, l.Name, destroyed.n)) }()
		} else {
			close(gone)
		}
		if err := zfs("snapshot", fmt.Sprintf("%s@%s-%d", l.Dataset, l.Name, made.n)); err != nil {
			return err
		}
		made.n++
		made.tell()
		switch err, did := <-gone; {
		case err != nil:
			return err
		case did:
			destroyed.n++
			destroyed.tell()
		}
	}
	close(over)
	return <-churned
}

// promises writes one file after the other, each with fsync of it and of its directory, and says so.
func promises(folder string, until end, seed uint64) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	r := rand.New(rand.NewPCG(seed, 0))
	var key [32]byte
	for n := 0; !until.reached(n); n++ {
		data := make([]byte, 4096+r.IntN(60<<10))
		binary.LittleEndian.PutUint64(key[:], r.Uint64())
		_, _ = rand.NewChaCha8(key).Read(data) // never fails
		name := filepath.Join(folder, fmt.Sprintf("promise-%d", n))
		f, err := os.Create(name)
		if err == nil {
			_, err = f.Write(data)
		}
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			err = dir.Sync() // the entry in the directory
		}
		if err != nil {
			return err
		}
		fmt.Printf("%x %s\n", sha256.Sum256(data), name)
	}
	return nil
}
