package scenarios

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// node is a YAML value reduced to what scenarios use. Scalars stay the text that was written: YAML's own idea of on,
// 1e3 or 0777 never gets in between.
type node struct {
	kind    kind
	line    int
	text    string  // of a scalar
	items   []*node // of a list
	entries []entry // of a mapping, in order
}

type entry struct {
	key  string
	line int
	val  *node
}

type kind string

const (
	empty   kind = "empty"
	scalar  kind = "a single value"
	list    kind = "a list"
	mapping kind = "a mapping"
)

// What a file may be: a scenario, or a list of what is known.
const (
	scenarioKind = "scenario"
	knownKind    = "list"
)

// maxSource keeps a wrong file from being taken for a scenario.
const maxSource = 64 << 10

// parseNode reduces YAML text. It reports what it cannot and returns nil when nothing can be said about the rest.
func (d *decoder) parseNode(data []byte) *node {
	most := maxSource
	if bytes.Contains(data, []byte("{gzip: ")) { // with the files that it brings
		most += mostCompressed
	}
	if len(data) > most {
		d.errorf(1, "the file has %d bytes, more than a %s can have", "write at most %d", len(data), d.kind, most)
		return nil
	}
	file, err := parseYAML(data)
	if err != nil {
		line, msg := 1, err.Error()
		var syntax yaml.Error
		if errors.As(err, &syntax) {
			msg = syntax.GetMessage()
			if t := syntax.GetToken(); t != nil && t.Position != nil {
				line = t.Position.Line
			}
		}
		d.errorf(line, "not YAML: %s", "write key: value lines, indented by spaces", strings.ReplaceAll(msg, "\n", " "))
		return nil
	}
	if len(file.Docs) > 1 {
		d.errorf(file.Docs[1].Start.Position.Line, "a second document", "write one %s a file", d.kind)
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil || file.Docs[0].Body.Type() == ast.CommentType {
		if d.kind != scenarioKind {
			return &node{kind: empty, line: 1}
		}
		d.errorf(1, "the file is empty", "write at least name: and what README.md lists as required")
		return nil
	}
	return d.reduce(file.Docs[0].Body, 1)
}

// parseYAML turns a panic of the parser, which hostile text can cause, into an error.
func parseYAML(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser gave up: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

// reduce converts an AST node; line is where its key stands.
func (d *decoder) reduce(n ast.Node, line int) *node {
	switch n := n.(type) {
	case *ast.MappingNode:
		return d.reduceMapping(n.Values, line)
	case *ast.MappingValueNode:
		return d.reduceMapping([]*ast.MappingValueNode{n}, line)
	case *ast.SequenceNode:
		out := &node{kind: list, line: line}
		for _, v := range n.Values {
			out.items = append(out.items, d.reduce(v, lineOf(v, line)))
		}
		return out
	case *ast.LiteralNode:
		return &node{kind: scalar, line: line, text: n.Value.Value}
	case *ast.NullNode:
		return &node{kind: empty, line: line}
	case *ast.StringNode:
		return &node{kind: scalar, line: lineOf(n, line), text: n.Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: scalar, line: lineOf(n, line), text: n.GetToken().Value}
	case nil:
		return &node{kind: empty, line: line}
	default:
		d.errorf(lineOf(n, line), "%ss use no YAML %s", "write the value out", d.kind, strings.ToLower(n.Type().String()))
		return &node{kind: empty, line: line}
	}
}

func (d *decoder) reduceMapping(values []*ast.MappingValueNode, line int) *node {
	out := &node{kind: mapping, line: line}
	for i, v := range values {
		at := lineOf(v.Key, line)
		if i == 0 {
			out.line = at
		}
		switch v.Key.(type) {
		case *ast.MappingKeyNode, *ast.MergeKeyNode, *ast.NullNode, *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
			d.errorf(at, "a key that is no plain word", "write key: value")
			continue
		}
		out.entries = append(out.entries, entry{key: v.Key.GetToken().Value, line: at, val: d.reduce(v.Value, at)})
	}
	return out
}

func lineOf(n ast.Node, otherwise int) int {
	if n == nil {
		return otherwise
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		n = m.Values[0].Key
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		n = m.Key
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return otherwise
}
