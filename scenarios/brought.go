package scenarios

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Files that a scenario brings along are in its text, compressed, wherever it goes from here: a trial is done again without them. In the
// file of a scenario they are paths.

// mostBrought is how large they may be together, in bytes, before and after they are compressed.
const (
	mostBrought    = 32 << 20
	mostCompressed = 1 << 20
)

// bring puts the content of files into the text of a scenario where it has their paths, which are relative to dir. Lines stay lines. What is
// no scenario is left to Parse.
func bring(name string, data []byte, dir string) ([]byte, error) {
	d := newDecoder(name, scenarioKind)
	root := d.parseNode(data)
	if root == nil {
		return data, nil
	}
	files := root.entry("files")
	if files.key == "" {
		return data, nil
	}
	lines := strings.SplitAfter(string(data), "\n")
	size := 0
	for _, e := range files.val.entries {
		if e.val.kind != scalar {
			continue
		}
		line := &lines[e.val.line-1]
		at := strings.Index(*line, e.key) + len(e.key)
		if e.line != e.val.line {
			at = 0
		}
		where := strings.Index((*line)[at:], e.val.text)
		if where < 0 {
			d.errorf(e.val.line, "files: %q is written in another way", "write %s: %s in one line", e.key, e.key, e.val.text)
			continue
		}
		text, err := compressed(filepath.Join(dir, e.val.text))
		if filepath.IsAbs(e.val.text) {
			text, err = compressed(e.val.text)
		}
		if err != nil {
			d.errorf(e.val.line, "files: %v", "write the path of a file, from the directory of this one", err)
			continue
		}
		if size += len(text); size > mostCompressed {
			d.errorf(e.val.line, "files: they are too large together, %d bytes compressed", "bring at most %d", size, mostCompressed)
		}
		before, after := (*line)[:at+where], (*line)[at+where+len(e.val.text):]
		if q := strings.TrimLeft(after, `"'`); len(q) < len(after) { // it was quoted
			before, after = strings.TrimRight(before, `"'`), q
		}
		*line = before + "{gzip: " + text + "}" + after
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	return []byte(strings.Join(lines, "")), nil
}

// compressed reads a file, and gives it as a scenario has it. The same content gives the same text.
func compressed(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	n, err := io.Copy(w, io.LimitReader(f, mostBrought+1))
	if err == nil {
		err = w.Close()
	}
	if n > mostBrought {
		err = fmt.Errorf("%s has more than %d bytes", path, mostBrought)
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), err
}

// brought decodes the files by their paths in the guest.
func (d *decoder) brought(n *node) map[string][]byte {
	const example = "files: {/root/reproducer: reproducer.sh}"
	files := map[string][]byte{}
	for _, e := range d.entries(n, "files", example) {
		if !absolute.MatchString(e.key) {
			d.errorf(e.line, "files: %q is not the path of a file in the guest", "write for example %s", e.key, example)
			continue
		}
		if e.val.kind == scalar {
			d.errorf(e.line, "files: a scenario that has no directory cannot bring %s", "write it into a file, and run that", e.val.text)
			continue
		}
		text := d.fields(e.val, "file "+e.key, example, "gzip").text("gzip", "the content, compressed, in base64")
		packed, err := base64.StdEncoding.DecodeString(text)
		var content []byte
		if err == nil {
			var r *gzip.Reader
			if r, err = gzip.NewReader(bytes.NewReader(packed)); err == nil {
				content, err = io.ReadAll(io.LimitReader(r, mostBrought+1))
			}
		}
		switch {
		case err != nil:
			d.errorf(e.line, "files: the content of %s cannot be unpacked: %v", "write a path, and vdevil packs it", e.key, err)
		case len(content) > mostBrought:
			d.errorf(e.line, "files: %s has more than %d bytes", "bring less", e.key, mostBrought)
		default:
			files[e.key] = content
		}
	}
	return files
}
