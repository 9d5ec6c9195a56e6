package source

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// objects reads git's objects from one process: a history of hundreds of commits would need thousands. It is not for two
// goroutines at once.
type objects struct {
	in    io.WriteCloser
	out   *bufio.Reader
	stop  func()
	trees map[string][]entry
	// configure is the hash of what configure reads below a tree, "" for nothing. Neighbours in history share most trees.
	configure map[string]string
}

// entry is one name in a tree of git.
type entry struct{ mode, name, id string }

func (e entry) isDir() bool { return e.mode == "40000" }

// largest is how large a commit, tree or META may be. Those of OpenZFS are below 100 KB.
const largest = 16 << 20

func (r *Repo) reader(ctx context.Context) (*objects, error) {
	ctx, cancel := context.WithCancel(ctx)
	// It ends with us, at the end of its input.
	cmd := r.command(ctx, call{dir: r.own, env: []string{"GIT_DIR=" + r.own}, args: []string{"cat-file", "--batch"}})
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	o := &objects{in: in, out: bufio.NewReaderSize(out, 1<<16), trees: map[string][]entry{}, configure: map[string]string{}}
	o.stop = func() { in.Close(); cancel(); _ = cmd.Wait() }
	return o, nil
}

func (o *objects) close() { o.stop() }

// absentError is an object that the repository lacks.
type absentError struct{ id string }

func (e *absentError) Error() string {
	return fmt.Sprintf("the repository lacks the object %s: if it is a partial clone, %s; otherwise git fsck says what is damaged",
		e.id, refetch)
}

// read returns an object, which must be of a kind.
func (o *objects) read(id, kind string) ([]byte, error) {
	if _, err := fmt.Fprintln(o.in, id); err != nil {
		return nil, fmt.Errorf("git cat-file: %w", err)
	}
	line, err := o.out.ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("git cat-file ended while reading %s: %w", id, err)
	}
	f := strings.Fields(line)
	if len(f) == 2 && f[1] == "missing" {
		return nil, &absentError{id}
	}
	if len(f) != 3 {
		return nil, fmt.Errorf("git cat-file answered %q", line)
	}
	size, err := strconv.ParseInt(f[2], 10, 64)
	if err != nil || size > largest {
		return nil, fmt.Errorf("object %s has %s bytes: OpenZFS has no such %s", id, f[2], f[1])
	}
	data := make([]byte, size+1)
	if _, err := io.ReadFull(o.out, data); err != nil {
		return nil, fmt.Errorf("git cat-file ended while reading %s: %w", id, err)
	}
	if f[1] != kind {
		return nil, fmt.Errorf("object %s is a %s, want a %s", id, f[1], kind)
	}
	return data[:size], nil
}

// tree reads a tree: "MODE NAME\0" and 20 bytes of hash an entry.
func (o *objects) tree(id string) ([]entry, error) {
	if t, ok := o.trees[id]; ok {
		return t, nil
	}
	data, err := o.read(id, "tree")
	if err != nil {
		return nil, err
	}
	var t []entry
	for len(data) > 0 {
		head, rest, ok := bytes.Cut(data, []byte{0})
		mode, name, named := strings.Cut(string(head), " ")
		if !ok || !named || len(rest) < 20 {
			return nil, fmt.Errorf("tree %s is damaged", id)
		}
		t = append(t, entry{mode, name, hex.EncodeToString(rest[:20])})
		data = rest[20:]
	}
	o.trees[id] = t
	return t, nil
}

// find is what a tree has at a path; the mode is "" when there is nothing.
func (o *objects) find(tree, path string) (entry, error) {
	e := entry{mode: "40000", id: tree}
	for name := range strings.SplitSeq(path, "/") {
		if !e.isDir() {
			return entry{}, nil
		}
		entries, err := o.tree(e.id)
		if err != nil {
			return entry{}, err
		}
		e = entry{}
		for _, c := range entries {
			if c.name == name {
				e = c
			}
		}
	}
	return e, nil
}

// commit is what a commit object says.
type commit struct {
	id, tree        string
	parents         []string
	author, subject string
	body            string
	authored        int64 // seconds since 1970
}

func (o *objects) commit(id string) (commit, error) {
	data, err := o.read(id, "commit")
	if err != nil {
		return commit{}, err
	}
	head, body, _ := strings.Cut(string(data), "\n\n")
	c := commit{id: id, body: strings.ToValidUTF8(body, "\uFFFD")}
	// git's own subject is the first paragraph; only its first line is one in OpenZFS, whose hook refuses longer ones.
	c.subject, _, _ = strings.Cut(strings.TrimLeft(c.body, "\n"), "\n")
	for line := range strings.SplitSeq(head, "\n") {
		key, value, _ := strings.Cut(line, " ")
		switch key {
		case "tree":
			c.tree = value
		case "parent":
			c.parents = append(c.parents, value)
		case "author":
			who, when, _ := strings.Cut(value, "> ")
			name, _, _ := strings.Cut(who, " <")
			c.author = strings.ToValidUTF8(name, "\uFFFD")
			seconds, _, _ := strings.Cut(when, " ")
			c.authored, _ = strconv.ParseInt(seconds, 10, 64) // a damaged date is no reason to refuse a commit
		}
	}
	if c.tree == "" {
		return commit{}, fmt.Errorf("commit %s is damaged", id)
	}
	return c, nil
}
