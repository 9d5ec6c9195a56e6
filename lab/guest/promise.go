package guest

import (
	"context"
	"io"
	"strings"
	"time"
)

// Promise is a file of which the guest has said that fsync had returned.
type Promise struct {
	// Path is the file's, Sum its SHA-256 in hexadecimal.
	Path string `json:"path"`
	Sum  string `json:"sum"`
}

// Promises writes one file after the other into a dataset, of sizes and bytes that follow from a seed, each with fsync of it and of its
// directory, and calls promise as soon as the guest has said so. No file is ever touched again. The duration is measured by the guest's
// clock.
func (g *Guest) Promises(ctx context.Context, dataset string, d time.Duration, seed uint64, promise func(Promise)) error {
	return g.load(ctx, "promises", load{Do: "promises", Dataset: dataset, Milliseconds: d.Milliseconds(), Seed: seed}, func(line string) {
		if sum, path, found := strings.Cut(line, " "); found {
			promise(Promise{Path: path, Sum: sum})
		}
	})
}

// lineWriter calls line for each line that was written whole.
type lineWriter struct {
	part string
	line func(string)
}

var _ io.Writer = (*lineWriter)(nil)

func (w *lineWriter) Write(p []byte) (int, error) {
	w.part += string(p)
	for {
		line, rest, whole := strings.Cut(w.part, "\n")
		if !whole {
			return len(p), nil
		}
		w.part = rest
		w.line(line)
	}
}
