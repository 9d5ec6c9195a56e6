package ops

import (
	"fmt"
	"strings"

	"github.com/vdevil/vdevil/lab/oracle"
)

// random is a command of a shell that prints bytes as those of the helper are: more of one seed begin as fewer do, which is what dedup
// looks at. They are other bytes than the helper's; Perl's are the same everywhere (perldoc -f rand).
func random(seed, size int64) string {
	return fmt.Sprintf(`perl -e 'srand %d; print pack "N*", map { rand 2**32 } 1 .. %d' | head -c %d`, seed, (size+3)/4, size)
}

// ofFiles are the operations on files.
var ofFiles = []*kind{
	{
		form: "write FILE OFFSET SIZE SEED", does: "writes random bytes, the same for the same seed", changes: 1,
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("%s | dd of=%s bs=1M seek=%d oflag=seek_bytes conv=notrunc iflag=fullblock status=none", random(o.size(3), o.size(2)), o.arg(0), o.size(1))
		},
		request: func(o Op, p Place) Request {
			return Request{Do: "write", Path: o.arg(0), Offset: o.size(1), Size: o.size(2), Seed: p.Seed, Label: o.arg(3)}
		},
		foretell: (*Model).atFile,
		done: func(m *Model, o Op) {
			seed := m.place.Seed
			m.made(o.arg(0)).overlay(o.size(1), o.size(2), func() []byte { return oracle.Content(seed, o.arg(3), int(o.size(2))) })
		},
		failed: (*Model).lost,
	},
	{
		form: "fill FILE OFFSET SIZE BYTE", does: "writes one letter again and again, which compresses and is there twice", changes: 1,
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("head -c %d /dev/zero | tr '\\0' %s | dd of=%s bs=1M seek=%d oflag=seek_bytes conv=notrunc iflag=fullblock status=none", o.size(2), o.arg(3), o.arg(0), o.size(1))
		},
		request: func(o Op, _ Place) Request {
			return Request{Do: "write", Path: o.arg(0), Offset: o.size(1), Size: o.size(2), Byte: o.arg(3)}
		},
		foretell: (*Model).atFile,
		done: func(m *Model, o Op) {
			m.made(o.arg(0)).overlay(o.size(1), o.size(2), func() []byte { return []byte(strings.Repeat(o.arg(3), int(o.size(2)))) })
		},
		failed: (*Model).lost,
	},
	{
		form: "map FILE OFFSET SIZE SEED", does: "writes random bytes to a part of a file through memory", changes: 1,
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
				case f.size < o.size(1)+o.size(2) || o.size(2) == 0:
					return Refused, o.arg(0) + " is too short"
				}
			}
			return fate, why
		},
		done: func(m *Model, o Op) {
			seed := m.place.Seed
			m.made(o.arg(0)).overlay(o.size(1), o.size(2), func() []byte { return oracle.Content(seed, o.arg(3), int(o.size(2))) })
		},
	},
	{
		form: "truncate FILE SIZE", does: "makes a file as long as that, with a hole at its end if it was shorter", changes: 1,
		shell: func(o Op, _ Place) string { return fmt.Sprintf("truncate -s %d %s", o.size(1), o.arg(0)) },
		request: func(o Op, _ Place) Request {
			return Request{Do: "truncate", Path: o.arg(0), Size: o.size(1)}
		},
		foretell: (*Model).atFile,
		done:     func(m *Model, o Op) { m.made(o.arg(0)).resize(o.size(1)) },
		failed:   (*Model).lost,
	},
	{
		form: "punch FILE OFFSET SIZE", does: "makes a hole", changes: 1,
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
			if end := min(f.size, o.size(1)+o.size(2)); end > o.size(1) {
				f.overlay(o.size(1), end-o.size(1), func() []byte { return make([]byte, end-o.size(1)) })
			}
		},
	},
	{
		form: "reflink FILE FROM", does: "makes a file that shares all blocks of another one", changes: 1,
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
		form: "copy FILE OFFSET FROM OFFSET SIZE", does: "copies a part of another file, with copy_file_range", changes: 1,
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
			if at, end, source := o.size(3), min(o.size(3)+o.size(4), from.size), *from; at < end {
				f.overlay(o.size(1), end-at, func() []byte { return source.bytes()[at:end] })
			}
		},
		failed: func(m *Model, o Op) {
			if fate, _ := m.ofTwo(o, 2); fate == Succeeds {
				m.made(o.arg(0)).unknown = true
			}
		},
	},
	{
		form: "rename FILE FROM", does: "gives a file another name, and takes that from the one that had it", changes: 2,
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
		form: "link FILE FROM", does: "gives a file a second name", changes: 1,
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
		form: "remove FILE", does: "removes a file, or one of its names", changes: 1,
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
			return fmt.Sprintf("setfattr -n user.%s -v 0x$(%s | od -An -v -tx1 | tr -d ' \\n') %s", o.arg(1), random(o.size(3), o.size(2)), o.arg(0))
		},
		request: func(o Op, p Place) Request {
			return Request{Do: "xattr", Path: o.arg(0), Label: o.arg(1), Size: o.size(2), Seed: p.Seed + uint64(o.size(3))}
		},
		foretell: (*Model).onFile,
	},
	{
		form: "rewrite FILE", does: "writes a file anew as it is, where zfs has rewrite",
		shell: func(o Op, _ Place) string { return "zfs rewrite " + o.arg(0) },
		foretell: func(m *Model, o Op) (Fate, string) {
			fate, why := m.onFile(o)
			if fate == Succeeds {
				return Either, ""
			}
			return fate, why
		},
	},
	{
		form: "read FILE", does: "reads a file, which must be what it is by then",
		shell:    func(o Op, _ Place) string { return "sha256sum " + o.arg(0) },
		request:  func(o Op, _ Place) Request { return Request{Do: "read", Path: o.arg(0)} },
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
