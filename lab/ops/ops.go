// Package ops knows what a workload can do to a pool, operation by operation: how each is written, what it asks of a guest, how a shell
// does the same, and, in a Model, what is to be there afterwards. Nothing runs here.
//
// Operations are counted and seeded: a Program does the same in the same order, wherever and however fast.
package ops

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Op is one operation: its word and what stands behind it.
type Op struct {
	Word string
	Args []string

	kind *kind
	vals []value // Args, parsed
}

// String is the operation as Parse reads it.
func (o Op) String() string { return strings.Join(append([]string{o.Word}, o.Args...), " ") }

// Program is what is done, one operation after the other.
type Program []Op

// String is the program as Parse reads it, a line for each operation.
func (p Program) String() string {
	var b strings.Builder
	for _, o := range p {
		b.WriteString(o.String() + "\n")
	}
	return b.String()
}

// Error is one thing wrong with the text of a program.
type Error struct {
	Line int // from 1
	Text string
}

func (e *Error) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Text) }

// Parse reads a program: an operation a line, words parted by blanks; a line that begins with # is a comment. The error joins one *Error
// for each line that is wrong.
func Parse(text string) (Program, error) {
	var (
		p    Program
		errs []error
	)
	n := 0
	for line := range strings.Lines(text) {
		n++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		o, err := newOp(words[0], words[1:]...)
		if err != nil {
			errs = append(errs, &Error{n, err.Error()})
			continue
		}
		p = append(p, o)
	}
	return p, errors.Join(errs...)
}

func newOp(word string, args ...string) (Op, error) {
	k := kinds[word]
	if k == nil {
		return Op{}, fmt.Errorf("there is no operation %q; write one of %s", word, strings.Join(Words(), ", "))
	}
	o := Op{Word: word, Args: args, kind: k}
	least := len(k.args)
	if k.rest {
		least--
	}
	if len(args) < least || len(args) > len(k.args) && !k.rest {
		return Op{}, fmt.Errorf("%q is not %s", o, k.form)
	}
	for i, text := range args {
		a := k.args[min(i, len(k.args)-1)]
		v, err := a.parse(text)
		if err != nil {
			return Op{}, fmt.Errorf("%s of %q: %w; write %s", a.name, o, err, k.form)
		}
		o.vals = append(o.vals, v)
	}
	return o, nil
}

// Words are those of all operations, in order.
func Words() []string {
	words := make([]string, 0, len(kinds))
	for word := range kinds {
		words = append(words, word)
	}
	slices.Sort(words)
	return words
}

// Forms are how all operations are written, in the order of their words, each with what it does.
func Forms() (forms [][2]string) {
	for _, word := range Words() {
		forms = append(forms, [2]string{kinds[word].form, kinds[word].does})
	}
	return forms
}

// argument is what can stand at one place behind a word.
type argument struct {
	name  string
	parse func(string) (value, error)
}

// value is an argument that was read: a name or a number.
type value struct {
	text   string
	number int64
}

// arguments are those that forms are made of.
var arguments = map[string]func(string) (value, error){
	"FILE":     named(`/[a-z][a-z0-9]*(/[a-z][a-z0-9]*){2}`, "the path of a file right in a dataset, such as /tank/a/f1"),
	"FROM":     named(`/[a-z][a-z0-9]*(/[a-z][a-z0-9]*){2}`, "the path of a file right in a dataset, such as /tank/a/f1"),
	"DATASET":  named(`[a-z][a-z0-9]*/[a-z][a-z0-9]*`, "a dataset right in the pool, such as tank/a"),
	"SNAPSHOT": named(`[a-z][a-z0-9]*/[a-z][a-z0-9]*@[a-z][a-z0-9]*`, "a snapshot, such as tank/a@s1"),
	"BASE":     named(`@[a-z][a-z0-9]*|-`, "a snapshot to send from, such as @s1, or - for none"),
	"TAG":      named(`[a-z][a-z0-9]*`, "a tag, such as keep"),
	"DISK":     named(`[a-z][a-z0-9-]*`, "the name of a disk, such as v3"),
	"NAME":     named(`[a-z][a-z0-9_]*`, "a name, such as zfs_bclone_enabled"),
	"PROPERTY": named(`[a-z]+=[a-z0-9/:._-]+`, "a property, such as recordsize=16k"),
	"FLAGS":    named(`-[LceRpw]*`, "flags of zfs send, such as -Lec, or - for none"),
	"VALUE":    named(`[0-9]+`, "a whole number"),
	"PERCENT":  number(1, 100),
	"DELAY":    number(0, 1e7), // microseconds
	"OFFSET":   number(0, 1<<40),
	"SIZE":     number(0, 1<<30),
	"SEED":     number(0, 1<<62),
	"BYTE":     named(`[a-z]`, "a letter"),
}

func named(form, means string) func(string) (value, error) {
	whole := regexp.MustCompile(`^(?:` + form + `)$`)
	return func(text string) (value, error) {
		if !whole.MatchString(text) {
			return value{}, fmt.Errorf("%q is not %s", text, means)
		}
		return value{text: text}, nil
	}
}

// number reads a whole number, of KiB or MiB if it ends in K or M.
func number(least, most int64) func(string) (value, error) {
	return func(text string) (value, error) {
		digits, unit := text, int64(1)
		switch {
		case strings.HasSuffix(text, "K"):
			digits, unit = strings.TrimSuffix(text, "K"), 1<<10
		case strings.HasSuffix(text, "M"):
			digits, unit = strings.TrimSuffix(text, "M"), 1<<20
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > most/unit || n*unit < least {
			return value{}, fmt.Errorf("%q is no number from %d to %d", text, least, most)
		}
		return value{text: text, number: n * unit}, nil
	}
}

// arg is the text of an argument, size its number.
func (o Op) arg(i int) string { return o.vals[i].text }

func (o Op) size(i int) int64 { return o.vals[i].number }

// rest are the arguments from the i-th on.
func (o Op) rest(i int) []string { return o.Args[i:] }

// datasetOf is the dataset of a file, whose path is made of pool, dataset and name.
func datasetOf(file string) string { return strings.TrimPrefix(path.Dir(file), "/") }

// poolOf is the pool of a dataset or a snapshot.
func poolOf(dataset string) string {
	pool, _, _ := strings.Cut(dataset, "/")
	return pool
}

// mountpoint is where a dataset is.
func mountpoint(dataset string) string { return "/" + dataset }
