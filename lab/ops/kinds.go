package ops

import (
	"slices"
	"strings"
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
	// changes is how many of its first arguments are files that are other ones by then, also where it failed.
	changes int
	// waits says that it ends when all that was done before is on the disks.
	waits bool
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

// key is where the key of encrypted datasets lies in a guest, on the machine's own disk.
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
