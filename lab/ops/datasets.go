package ops

import (
	"fmt"
	"slices"
	"strings"
)

// ofDatasets are the operations on datasets and snapshots.
var ofDatasets = []*kind{
	{
		form: "create DATASET PROPERTY...", does: "makes a dataset", waits: true,
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
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.newDataset(o.arg(0))
			if properties := o.rest(1); fate == Succeeds && slices.Contains(properties, threeCopies) && slices.ContainsFunc(properties, encrypts) {
				return Refused, noThree
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			m.datasets[o.arg(0)] = &dataset{files: map[string]*file{}, encrypted: slices.ContainsFunc(o.rest(1), encrypts)}
		},
	},
	{
		form: "set DATASET PROPERTY", does: "sets a property", waits: true,
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs set %s %s", o.arg(1), o.arg(0)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onDataset(o)
			if fate == Succeeds && o.arg(1) == threeCopies && m.datasets[o.arg(0)].encrypted {
				return Refused, noThree
			}
			return fate, why
		},
	},
	{
		form: "move DATASET DATASET", does: "gives a dataset another name", waits: true,
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs rename %s %s", o.arg(0), o.arg(1)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onDataset(o); fate != Succeeds {
				return fate, why
			}
			return m.beside(o.arg(1), o.arg(0))
		},
		done: func(m *Model, o Op) {
			m.datasets[o.arg(1)] = m.datasets[o.arg(0)]
			delete(m.datasets, o.arg(0))
		},
	},
	{
		form: "snapshot SNAPSHOT", does: "takes a snapshot", waits: true,
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
		form: "browse SNAPSHOT", does: "lists a snapshot under .zfs, several processes at once, of which some have mounts of their own",
		shell: func(o Op, _ Place) string {
			name, snap, _ := strings.Cut(o.arg(0), "@")
			return fmt.Sprintf("cd %s/.zfs/snapshot && { for n in 1 2 3; do ls %[2]s & done; for n in 1 2; do unshare -m ls %[2]s & done; wait; } >/dev/null 2>&1; ls %[2]s >/dev/null",
				mountpoint(name), snap)
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onSnapshot(o)
			if d, _ := m.find(o.arg(0)); fate == Succeeds && d.locked {
				return Refused, "it is not mounted"
			}
			return fate, why
		},
	},
	{
		form: "destroy-snapshot SNAPSHOT", does: "destroys a snapshot", waits: true,
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
		form: "destroy DATASET", does: "destroys a dataset with its snapshots", waits: true,
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
		form: "clone DATASET SNAPSHOT", does: "makes a dataset that begins as a snapshot", waits: true,
		shell: func(o Op, _ Place) string { return fmt.Sprintf("zfs clone %s %s", o.arg(1), o.arg(0)) },
		foretell: func(m *Model, o Op) (Fate, string) {
			d, s := m.find(o.arg(1))
			if s == nil {
				return Refused, "there is no snapshot " + o.arg(1)
			}
			fate, why := m.beside(o.arg(0), o.arg(1))
			if fate == Succeeds && (d.locked || d.rekeyed) {
				return Either, "" // it is made, and that it cannot be mounted is an error
			}
			return fate, why
		},
		done: (*Model).cloned,
		failed: func(m *Model, o Op) {
			if fate, _ := m.Foretell(o); fate == Either {
				m.cloned(o)
				m.datasets[o.arg(0)].locked = true
			}
		},
	},
	{
		form: "promote DATASET", does: "makes a clone the dataset, and that its clone", waits: true,
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
			d.rekeyed, parent.rekeyed = d.encrypted, parent.encrypted
		},
	},
	{
		form: "rollback SNAPSHOT", does: "makes a dataset what a snapshot is, and destroys the later ones", waits: true,
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
		form: "hold SNAPSHOT TAG", does: "keeps a snapshot from being destroyed", waits: true,
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
		form: "release SNAPSHOT TAG", does: "ends a hold", waits: true,
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
		form: "bookmark SNAPSHOT NAME", does: "bookmarks a snapshot", waits: true,
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
		form: "send SNAPSHOT DATASET FLAGS BASE", does: "sends a snapshot, from a base on, and receives it as a dataset", waits: true,
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
		done:     func(m *Model, o Op) { m.received(o, strings.Contains(o.arg(2), "w")) },
	},
	{
		form: "resend SNAPSHOT DATASET SIZE", does: "sends the whole of a snapshot, breaks off after so many bytes, and resumes", waits: true,
		// With few bytes nothing is kept that could be gone on with, with many there is nothing left to send.
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("! zfs list %[2]s && { zfs send %[1]s | head -c %[3]d | zfs receive -s %[2]s; case $(zfs get -H -o value receive_resume_token %[2]s) in -) ;; '') zfs send %[1]s | zfs receive %[2]s ;; "+
				"*) zfs send -t $(zfs get -H -o value receive_resume_token %[2]s) | zfs receive -s %[2]s ;; esac; }", o.arg(0), o.arg(1), o.size(2))
		},
		foretell: func(m *Model, o Op) (Fate, string) {
			if fate, why := m.onSnapshot(o); fate != Succeeds {
				return fate, why
			}
			fate, why := m.newDataset(o.arg(1))
			if from, _ := m.find(o.arg(0)); fate == Succeeds && from.encrypted {
				return Either, "" // the key may not be there
			}
			return fate, why
		},
		done: func(m *Model, o Op) { m.received(o, false) },
	},
}

// received takes in a snapshot that was sent.
func (m *Model) received(o Op, raw bool) {
	from, s := m.find(o.arg(0))
	raw = raw && from.encrypted
	d := m.datasets[o.arg(1)]
	if d == nil {
		d = &dataset{encrypted: raw, locked: raw}
		m.datasets[o.arg(1)] = d
	}
	d.snaps = append(d.snaps, &snapshot{name: s.name, stamp: s.stamp, files: frozen(s.files), holds: map[string]bool{}})
	d.files = frozen(s.files)
}

func (m *Model) cloned(o Op) {
	d, s := m.find(o.arg(1))
	m.datasets[o.arg(0)] = &dataset{files: frozen(s.files), origin: s, encrypted: d.encrypted, locked: d.locked}
}

// An encrypted block has the parameters of its encryption in place of a third address.
const (
	threeCopies = "copies=3"
	noThree     = "encrypted datasets cannot have three copies"
)

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

// base is the snapshot that a stream begins at, such as @s1, nil for - and why there is none otherwise.
func (d *dataset) base(name string, sent *snapshot) (base *snapshot, why string) {
	name, since := strings.CutPrefix(name, "@")
	if !since {
		return nil, ""
	}
	if base = d.snap(name); base == nil {
		return nil, "there is no snapshot @" + name + " to send from"
	}
	if slices.Index(d.snaps, base) >= slices.Index(d.snaps, sent) {
		return nil, "@" + name + " is not older"
	}
	return base, ""
}

// sending foretells a send: of the whole to a new dataset, or from a snapshot that is the last one of the other side, too.
func (m *Model) sending(o Op) (Fate, string) {
	if fate, why := m.onSnapshot(o); fate != Succeeds {
		return fate, why
	}
	from, s := m.find(o.arg(0))
	to := m.datasets[o.arg(1)]
	if fate, why := m.newDataset(o.arg(1)); to == nil && fate != Succeeds {
		return fate, why
	}
	base, why := from.base(o.arg(3), s)
	switch {
	case why != "":
		return Refused, why
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
