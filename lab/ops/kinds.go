package ops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/oracle"
)

// kind is one word of the table.
type kind struct {
	form, does string
	args       []argument // from form
	rest       bool       // the last argument may stand there any number of times, or not at all

	// shell is what does it in a shell, request what the helper is asked for; without one it is to run shell.
	shell   func(o Op, p Place) string
	request func(o Op, p Place) Request

	foretell func(m *Model, o Op) (Fate, string)
	// done and failed are what it changes; nil is nothing.
	done, failed func(m *Model, o Op)
}

// Request is what the helper is asked for.
func (o Op) Request(p Place) Request {
	if o.kind.request != nil {
		return o.kind.request(o, p)
	}
	return Request{Do: "run", Command: [][]string{{"sh", "-c", o.Shell(p)}}}
}

// Shell is a line of shell that does the same.
func (o Op) Shell(p Place) string { return o.kind.shell(o, p) }

// key is where the key of encrypted datasets lies in a guest.
const key = "/root/vdevil.key"

// kinds are all operations by their words.
var kinds map[string]*kind

func init() {
	kinds = map[string]*kind{}
	for _, k := range slices.Concat(ofFiles, ofDatasets, ofPools) {
		words := strings.Fields(k.form)
		for _, name := range words[1:] {
			if last, more := strings.CutSuffix(name, "..."); more {
				name, k.rest = last, true
			}
			k.args = append(k.args, argument{name, arguments[name]})
		}
		kinds[words[0]] = k
	}
}

// ofFiles are the operations on files.
var ofFiles = []*kind{
	{
		form: "write FILE OFFSET SIZE SEED", does: "writes random bytes, the same for the same seed",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("head -c %d /dev/urandom | dd of=%s bs=1M seek=%d oflag=seek_bytes conv=notrunc iflag=fullblock status=none", o.size(2), o.arg(0), o.size(1))
		},
		request: func(o Op, p Place) Request {
			return Request{Do: "write", Path: o.arg(0), Offset: o.size(1), Size: o.size(2), Seed: p.Seed, Label: o.arg(3)}
		},
		foretell: (*Model).atFile,
		done: func(m *Model, o Op) {
			m.made(o.arg(0)).overlay(oracle.Content(m.place.Seed, o.arg(3), int(o.size(2))), o.size(1))
		},
		failed: (*Model).lost,
	},
	{
		form: "fill FILE OFFSET SIZE BYTE", does: "writes one letter again and again, which compresses and is there twice",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("head -c %d /dev/zero | tr '\\0' %s | dd of=%s bs=1M seek=%d oflag=seek_bytes conv=notrunc iflag=fullblock status=none", o.size(2), o.arg(3), o.arg(0), o.size(1))
		},
		request: func(o Op, _ Place) Request {
			return Request{Do: "write", Path: o.arg(0), Offset: o.size(1), Size: o.size(2), Byte: o.arg(3)}
		},
		foretell: (*Model).atFile,
		done: func(m *Model, o Op) {
			m.made(o.arg(0)).overlay([]byte(strings.Repeat(o.arg(3), int(o.size(2)))), o.size(1))
		},
		failed: (*Model).lost,
	},
	{
		form: "map FILE OFFSET SIZE SEED", does: "writes random bytes to a part of a file through memory",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("xfs_io -c 'mmap -rw 0 %d' -c 'mwrite %d %d' -c msync %s", o.size(1)+o.size(2), o.size(1), o.size(2), o.arg(0))
		},
		request: func(o Op, p Place) Request {
			return Request{Do: "map", Path: o.arg(0), Offset: o.size(1), Size: o.size(2), Seed: p.Seed, Label: o.arg(3)}
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onFile(o)
			if fate == Succeeds {
				_, f, _ := m.file(o.arg(0))
				switch {
				case f.unknown:
					return Either, ""
				case int64(len(f.data)) < o.size(1)+o.size(2) || o.size(2) == 0:
					return Refused, o.arg(0) + " is too short"
				}
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			m.made(o.arg(0)).overlay(oracle.Content(m.place.Seed, o.arg(3), int(o.size(2))), o.size(1))
		},
	},
	{
		form: "truncate FILE SIZE", does: "makes a file as long as that, with a hole at its end if it was shorter",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("truncate -s %d %s", o.size(1), o.arg(0)) },
		request: func(o Op, _ Place) Request {
			return Request{Do: "truncate", Path: o.arg(0), Size: o.size(1)}
		},
		foretell: (*Model).atFile,
		done:     func(m *Model, o Op) { m.made(o.arg(0)).resize(o.size(1)) },
		failed:   (*Model).lost,
	},
	{
		form: "punch FILE OFFSET SIZE", does: "makes a hole",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("fallocate -p -o %d -l %d %s", o.size(1), o.size(2), o.arg(0))
		},
		request: func(o Op, _ Place) Request {
			return Request{Do: "punch", Path: o.arg(0), Offset: o.size(1), Size: o.size(2)}
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onFile(o)
			if fate == Succeeds && o.size(2) == 0 {
				return Refused, "a hole has a size"
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			f := m.made(o.arg(0))
			if end := min(int64(len(f.data)), o.size(1)+o.size(2)); end > o.size(1) {
				f.overlay(make([]byte, end-o.size(1)), o.size(1))
			}
		},
	},
	{
		form: "reflink FILE FROM", does: "makes a file that shares all blocks of another one",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("cp --reflink=always %s %s", o.arg(1), o.arg(0)) },
		request: func(o Op, _ Place) Request {
			return Request{Do: "reflink", Path: o.arg(0), From: o.arg(1)}
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.ofTwo(o, 1)
			if fate == Succeeds {
				return Either, "" // block sizes, keys and parameters decide
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			_, from, _ := m.file(o.arg(1))
			*m.made(o.arg(0)) = *from
		},
		// It was emptied before.
		failed: func(m *Model, o Op) {
			if fate, _ := m.ofTwo(o, 1); fate == Succeeds {
				*m.made(o.arg(0)) = file{}
			}
		},
	},
	{
		form: "copy FILE OFFSET FROM OFFSET SIZE", does: "copies a part of another file, with copy_file_range",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("xfs_io -f -c 'copy_range -s %d -d %d -l %d %s' %s", o.size(3), o.size(1), o.size(4), o.arg(2), o.arg(0))
		},
		request: func(o Op, _ Place) Request {
			return Request{Do: "copy", Path: o.arg(0), Offset: o.size(1), From: o.arg(2), At: o.size(3), Size: o.size(4)}
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.ofTwo(o, 2)
			if fate == Succeeds && datasetOf(o.arg(0)) != datasetOf(o.arg(2)) {
				return Either, ""
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			_, from, _ := m.file(o.arg(2))
			f := m.made(o.arg(0))
			f.unknown = f.unknown || from.unknown
			if at, end := o.size(3), min(o.size(3)+o.size(4), int64(len(from.data))); at < end {
				f.overlay(from.data[at:end], o.size(1))
			}
		},
		failed: func(m *Model, o Op) {
			if fate, _ := m.ofTwo(o, 2); fate == Succeeds {
				m.made(o.arg(0)).unknown = true
			}
		},
	},
	{
		form: "rename FILE FROM", does: "gives a file another name, and takes that from the one that had it",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("mv -T %s %s", o.arg(1), o.arg(0)) },
		request: func(o Op, _ Place) Request {
			return Request{Do: "rename", Path: o.arg(0), From: o.arg(1)}
		},
		foretell: (*Model).twoNames,
		done: func(m *Model, o Op) {
			d, from, name := m.file(o.arg(1))
			if _, f, _ := m.file(o.arg(0)); f == from { // POSIX: of two names of one file both stay
				return
			}
			delete(d.files, name)
			_, _, name = m.file(o.arg(0))
			d.files[name] = from
		},
	},
	{
		form: "link FILE FROM", does: "gives a file a second name",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("ln %s %s", o.arg(1), o.arg(0)) },
		request: func(o Op, _ Place) Request {
			return Request{Do: "link", Path: o.arg(0), From: o.arg(1)}
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.twoNames(o)
			if _, f, _ := m.file(o.arg(0)); fate == Succeeds && f != nil {
				return Refused, "there is a file " + o.arg(0)
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			d, from, _ := m.file(o.arg(1))
			_, _, name := m.file(o.arg(0))
			d.files[name] = from
		},
	},
	{
		form: "remove FILE", does: "removes a file, or one of its names",
		shell: func(o Op, _ Place) string { return "rm " + o.arg(0) },
		request: func(o Op, _ Place) Request {
			return Request{Do: "remove", Path: o.arg(0)}
		},
		foretell: (*Model).onFile,
		done: func(m *Model, o Op) {
			d, _, name := m.file(o.arg(0))
			delete(d.files, name)
		},
	},
	{
		form: "xattr FILE NAME SIZE SEED", does: "gives a file an extended attribute of random bytes",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("setfattr -n user.%s -v 0x$(head -c %d /dev/urandom | od -An -v -tx1 | tr -d ' \\n') %s", o.arg(1), o.size(2), o.arg(0))
		},
		request: func(o Op, p Place) Request {
			return Request{Do: "xattr", Path: o.arg(0), Label: o.arg(1), Size: o.size(2), Seed: p.Seed + uint64(o.size(3))}
		},
		foretell: (*Model).onFile,
	},
	{
		form: "fsync FILE", does: "waits until a file is on disk",
		shell:    func(o Op, _ Place) string { return "sync " + o.arg(0) },
		request:  func(o Op, _ Place) Request { return Request{Do: "fsync", Path: o.arg(0)} },
		foretell: (*Model).onFile,
	},
}

// lost is what is known of a file after a change that failed: nothing.
func (m *Model) lost(o Op) {
	if _, f, _ := m.file(o.arg(0)); f != nil {
		f.unknown = true
	}
}

// twoNames is about another name for a file of the same dataset.
func (m *Model) twoNames(o Op) (Fate, string) {
	if _, f, _ := m.file(o.arg(1)); f == nil {
		return Refused, "there is no file " + o.arg(1)
	}
	if fate, why := m.atFile(o); fate != Succeeds {
		return fate, why
	}
	if datasetOf(o.arg(0)) != datasetOf(o.arg(1)) {
		return Refused, "they are files of two datasets"
	}
	return Succeeds, ""
}

// ofDatasets are the operations on datasets and snapshots.
var ofDatasets = []*kind{
	{
		form: "create DATASET PROPERTY...", does: "makes a dataset",
		shell: func(o Op, _ Place) string {
			before, words := "", []string{"zfs create"}
			for _, p := range o.rest(1) {
				words = append(words, "-o "+p)
				if encrypts(p) {
					before = "head -c 32 /dev/zero >" + key + "; "
					words = append(words, "-o keyformat=raw -o keylocation=file://"+key)
				}
			}
			return before + strings.Join(append(words, o.arg(0)), " ")
		},
		foretell: func(m *Model, o Op) (Fate, string) { return m.newDataset(o.arg(0)) },
		done: func(m *Model, o Op) {
			m.datasets[o.arg(0)] = &dataset{files: map[string]*file{}, encrypted: slices.ContainsFunc(o.rest(1), encrypts)}
		},
	},
	{
		form: "set DATASET PROPERTY", does: "sets a property",
		shell:    func(o Op, _ Place) string { return fmt.Sprintf("zfs set %s %s", o.arg(1), o.arg(0)) },
		foretell: (*Model).onDataset,
	},
	{
		form: "move DATASET DATASET", does: "gives a dataset another name",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs rename %s %s", o.arg(0), o.arg(1)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onDataset(o); fate != Succeeds {
				return fate, why
			}
			return m.newDataset(o.arg(1))
		},
		done: func(m *Model, o Op) {
			m.datasets[o.arg(1)] = m.datasets[o.arg(0)]
			delete(m.datasets, o.arg(0))
		},
	},
	{
		form: "snapshot SNAPSHOT", does: "takes a snapshot",
		shell: func(o Op, _ Place) string { return "zfs snapshot " + o.arg(0) },
		foretell: func(m *Model, o Op) (Fate, string) {
			switch d, s := m.find(o.arg(0)); {
			case d == nil:
				return Refused, "there is no dataset of " + o.arg(0)
			case s != nil:
				return Refused, "there is a snapshot " + o.arg(0)
			}
			return Succeeds, ""
		},
		done: func(m *Model, o Op) {
			d, _ := m.find(o.arg(0))
			_, name, _ := strings.Cut(o.arg(0), "@")
			m.stamp++
			d.snaps = append(d.snaps, &snapshot{name: name, stamp: m.stamp, files: frozen(d.files), holds: map[string]bool{}})
		},
	},
	{
		form: "destroy-snapshot SNAPSHOT", does: "destroys a snapshot",
		shell: func(o Op, _ Place) string { return "zfs destroy " + o.arg(0) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onSnapshot(o); fate != Succeeds {
				return fate, why
			}
			_, s := m.find(o.arg(0))
			if why := m.gone(s); why != "" {
				return Refused, why
			}
			return Succeeds, ""
		},
		done: func(m *Model, o Op) {
			d, s := m.find(o.arg(0))
			d.snaps = slices.DeleteFunc(d.snaps, func(t *snapshot) bool { return t == s })
		},
	},
	{
		form: "destroy DATASET", does: "destroys a dataset with its snapshots",
		shell: func(o Op, _ Place) string { return "zfs destroy -r " + o.arg(0) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onDataset(o); fate != Succeeds {
				return fate, why
			}
			if why := m.goneAll(m.datasets[o.arg(0)].snaps); why != "" {
				return Refused, why
			}
			return Succeeds, ""
		},
		done: func(m *Model, o Op) { delete(m.datasets, o.arg(0)) },
	},
	{
		form: "clone DATASET SNAPSHOT", does: "makes a dataset that begins as a snapshot",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs clone %s %s", o.arg(1), o.arg(0)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			d, s := m.find(o.arg(1))
			if s == nil {
				return Refused, "there is no snapshot " + o.arg(1)
			}
			fate, why := m.newDataset(o.arg(0))
			if fate == Succeeds && d.locked {
				return Either, "" // it is made, and that it cannot be mounted is an error
			}
			return fate, why
		},
		done: (*Model).cloned,
		failed: func(m *Model, o Op) {
			if fate, _ := m.Foretell(o); fate == Either {
				m.cloned(o)
			}
		},
	},
	{
		form: "promote DATASET", does: "makes a clone the dataset, and that its clone",
		shell: func(o Op, _ Place) string { return "zfs promote " + o.arg(0) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onDataset(o); fate != Succeeds {
				return fate, why
			}
			d := m.datasets[o.arg(0)]
			if d.origin == nil {
				return Refused, o.arg(0) + " is no clone"
			}
			_, moved := m.upTo(d.origin)
			for _, s := range moved {
				if d.snap(s.name) != nil {
					return Refused, "both have a snapshot @" + s.name
				}
			}
			return Succeeds, ""
		},
		done: func(m *Model, o Op) {
			d := m.datasets[o.arg(0)]
			parent, moved := m.upTo(d.origin)
			d.snaps = append(slices.Clone(moved), d.snaps...)
			parent.snaps = slices.Clone(parent.snaps[len(moved):])
			parent.origin, d.origin = d.origin, parent.origin
		},
	},
	{
		form: "rollback SNAPSHOT", does: "makes a dataset what a snapshot is, and destroys the later ones",
		shell: func(o Op, _ Place) string { return "zfs rollback -r " + o.arg(0) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onSnapshot(o); fate != Succeeds {
				return fate, why
			}
			d, s := m.find(o.arg(0))
			if why := m.goneAll(d.snaps[slices.Index(d.snaps, s)+1:]); why != "" {
				return Refused, why
			}
			return Succeeds, ""
		},
		done: func(m *Model, o Op) {
			d, s := m.find(o.arg(0))
			d.snaps = d.snaps[:slices.Index(d.snaps, s)+1]
			d.files = frozen(s.files)
		},
	},
	{
		form: "hold SNAPSHOT TAG", does: "keeps a snapshot from being destroyed",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs hold %s %s", o.arg(1), o.arg(0)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onSnapshot(o)
			if _, s := m.find(o.arg(0)); fate == Succeeds && s.holds[o.arg(1)] {
				return Refused, "the tag is there"
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			_, s := m.find(o.arg(0))
			s.holds[o.arg(1)] = true
		},
	},
	{
		form: "release SNAPSHOT TAG", does: "ends a hold",
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs release %s %s", o.arg(1), o.arg(0)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onSnapshot(o)
			if _, s := m.find(o.arg(0)); fate == Succeeds && !s.holds[o.arg(1)] {
				return Refused, "there is no such tag"
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			_, s := m.find(o.arg(0))
			delete(s.holds, o.arg(1))
		},
	},
	{
		form: "bookmark SNAPSHOT NAME", does: "bookmarks a snapshot",
		shell: func(o Op, _ Place) string {
			name, _, _ := strings.Cut(o.arg(0), "@")
			return fmt.Sprintf("zfs bookmark %s %s#%s", o.arg(0), name, o.arg(1))
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onSnapshot(o)
			if fate == Succeeds {
				return Either, "" // the name may be taken
			}
			return fate, why
		},
	},
	{
		form: "send SNAPSHOT DATASET FLAGS BASE", does: "sends a snapshot, from a base on, and receives it as a dataset",
		shell: func(o Op, _ Place) string {
			words := "zfs send"
			if o.arg(2) != "-" {
				words += " " + o.arg(2)
			}
			if o.arg(3) != "-" {
				words += " -i " + o.arg(3)
			}
			return fmt.Sprintf("%s %s | zfs receive -F %s", words, o.arg(0), o.arg(1))
		},
		request: func(o Op, _ Place) Request {
			send := []string{"zfs", "send"}
			if o.arg(2) != "-" {
				send = append(send, o.arg(2))
			}
			if o.arg(3) != "-" {
				send = append(send, "-i", o.arg(3))
			}
			return Request{Do: "run", Command: [][]string{append(send, o.arg(0)), {"zfs", "receive", "-F", o.arg(1)}}}
		},
		foretell: (*Model).sending,
		done: func(m *Model, o Op) {
			from, s := m.find(o.arg(0))
			received := &snapshot{name: s.name, stamp: s.stamp, files: frozen(s.files), holds: map[string]bool{}}
			raw := from.encrypted && strings.Contains(o.arg(2), "w")
			d := m.datasets[o.arg(1)]
			if d == nil {
				d = &dataset{encrypted: raw, locked: raw}
				m.datasets[o.arg(1)] = d
			}
			d.snaps, d.files = append(d.snaps, received), frozen(s.files)
		},
	},
}

func (m *Model) cloned(o Op) {
	d, s := m.find(o.arg(1))
	m.datasets[o.arg(0)] = &dataset{files: frozen(s.files), origin: s, encrypted: d.encrypted, locked: d.locked}
}

func encrypts(property string) bool {
	return strings.HasPrefix(property, "encryption=") && property != "encryption=off"
}

// upTo gives the dataset that has a snapshot, and its snapshots up to that.
func (m *Model) upTo(s *snapshot) (*dataset, []*snapshot) {
	for _, d := range m.datasets {
		if i := slices.Index(d.snaps, s); i >= 0 {
			return d, d.snaps[:i+1]
		}
	}
	return nil, nil
}

// sending foretells a send: of the whole to a new dataset, or from a snapshot that is the last one of the other side, too.
func (m *Model) sending(o Op) (Fate, string) {
	if fate, why := m.onSnapshot(o); fate != Succeeds {
		return fate, why
	}
	from, s := m.find(o.arg(0))
	to := m.datasets[o.arg(1)]
	var base *snapshot
	if name, since := strings.CutPrefix(o.arg(3), "@"); since {
		if base = from.snap(name); base == nil {
			return Refused, "there is no snapshot " + o.arg(3) + " to send from"
		}
		if slices.Index(from.snaps, base) >= slices.Index(from.snaps, s) {
			return Refused, o.arg(3) + " is not older"
		}
	}
	switch {
	case strings.Contains(o.arg(2), "w") || from.encrypted || to != nil && to.encrypted:
		return Either, ""
	case from == to:
		return Refused, "it would be received over itself"
	case base == nil && to != nil && len(to.snaps) > 0:
		return Refused, o.arg(1) + " has snapshots"
	case base == nil && to != nil:
		return Either, ""
	case base == nil:
		return Succeeds, ""
	case to == nil:
		return Refused, "there is no dataset " + o.arg(1)
	case len(to.snaps) == 0 || to.snaps[len(to.snaps)-1].stamp != base.stamp:
		return Either, "" // -F goes back to a base that is not the last one
	case to.snap(s.name) != nil:
		return Refused, o.arg(1) + " has a snapshot of that name"
	}
	return Succeeds, ""
}

// ofPools are the operations on the pool as a whole.
var ofPools = []*kind{
	{
		form: "sync", does: "waits until the pool has written everything",
		shell:    func(_ Op, p Place) string { return "zpool sync " + p.Pool },
		foretell: always,
	},
	{
		form: "reimport", does: "exports the pool and imports it again",
		shell: func(_ Op, p Place) string {
			return fmt.Sprintf("zpool export %[1]s && zpool import -d /dev/disk/by-id %[1]s && zfs load-key -a && zfs mount -a", p.Pool)
		},
		// A dataset that was received raw has a key of which nobody said where it is.
		foretell: func(m *Model, _ Op) (Fate, string) {
			for _, d := range m.datasets {
				if d.locked {
					return Either, ""
				}
			}
			return Succeeds, ""
		},
	},
	{
		form: "checkpoint", does: "takes a checkpoint of the pool",
		shell: func(_ Op, p Place) string { return "zpool checkpoint " + p.Pool },
		foretell: func(m *Model, _ Op) (Fate, string) {
			if m.checkpoint {
				return Refused, "there is a checkpoint"
			}
			return Succeeds, ""
		},
		done: func(m *Model, _ Op) { m.checkpoint = true },
	},
	{
		form: "discard", does: "discards the checkpoint",
		shell: func(_ Op, p Place) string { return "zpool checkpoint -d -w " + p.Pool },
		foretell: func(m *Model, _ Op) (Fate, string) {
			if !m.checkpoint {
				return Refused, "there is no checkpoint"
			}
			return Succeeds, ""
		},
		done: func(m *Model, _ Op) { m.checkpoint = false },
	},
	{
		form: "scrub", does: "scrubs the pool to the end",
		shell:    func(_ Op, p Place) string { return "zpool scrub -w " + p.Pool },
		foretell: always,
	},
	{
		form: "trim", does: "trims the pool to the end",
		shell:    func(_ Op, p Place) string { return "zpool trim -w " + p.Pool },
		foretell: perhaps,
	},
	{
		form: "initialize", does: "writes to all free space",
		shell:    func(_ Op, p Place) string { return "zpool initialize -w " + p.Pool },
		foretell: perhaps,
	},
	{
		form: "prune PERCENT", does: "prunes so much of the dedup table's entries with one reference",
		shell:    func(o Op, p Place) string { return fmt.Sprintf("zpool ddtprune -p %s %s", o.arg(0), p.Pool) },
		foretell: perhaps,
	},
	{
		form: "add DISK", does: "adds a disk to the pool",
		shell: func(o Op, p Place) string { return fmt.Sprintf("zpool add -f %s %s", p.Pool, p.Disk(o.arg(0))) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if m.disks[o.arg(0)] {
				return Refused, "the pool has the disk"
			}
			return Either, ""
		},
		done: func(m *Model, o Op) { m.disks[o.arg(0)] = true },
	},
	{
		form: "evacuate DISK", does: "removes a disk, whose blocks go to the others",
		shell: func(o Op, p Place) string { return fmt.Sprintf("zpool remove -w %s %s", p.Pool, p.Disk(o.arg(0))) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if !m.disks[o.arg(0)] {
				return Refused, "the pool has no such disk"
			}
			return Either, ""
		},
		done: func(m *Model, o Op) { delete(m.disks, o.arg(0)) },
	},
	{
		form: "attach DISK DISK", does: "makes a disk a mirror of another one",
		shell: func(o Op, p Place) string {
			return fmt.Sprintf("zpool attach -f -w %s %s %s", p.Pool, p.Disk(o.arg(0)), p.Disk(o.arg(1)))
		},
		foretell: perhaps,
		done:     func(m *Model, o Op) { m.disks[o.arg(1)] = true },
	},
	{
		form: "detach DISK", does: "takes a disk out of a mirror",
		shell:    func(o Op, p Place) string { return fmt.Sprintf("zpool detach %s %s", p.Pool, p.Disk(o.arg(0))) },
		foretell: perhaps,
		done:     func(m *Model, o Op) { delete(m.disks, o.arg(0)) },
	},
	{
		form: "replace DISK DISK", does: "replaces a disk by another one",
		shell: func(o Op, p Place) string {
			return fmt.Sprintf("zpool replace -f -w %s %s %s", p.Pool, p.Disk(o.arg(0)), p.Disk(o.arg(1)))
		},
		foretell: perhaps,
		done: func(m *Model, o Op) {
			delete(m.disks, o.arg(0))
			m.disks[o.arg(1)] = true
		},
	},
	{
		form: "parameter NAME VALUE", does: "sets a parameter of the module",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("echo %s >/sys/module/zfs/parameters/%s", o.arg(1), o.arg(0))
		},
		request: func(o Op, _ Place) Request {
			return Request{Do: "put", Path: "/sys/module/zfs/parameters/" + o.arg(0), Value: o.arg(1)}
		},
		foretell: perhaps,
	},
}

func always(*Model, Op) (Fate, string) { return Succeeds, "" }

func perhaps(*Model, Op) (Fate, string) { return Either, "" }
