package core

import (
	"fmt"
	"strconv"
	"strings"
)

// PathError says where a target path is wrong and what could stand there.
type PathError struct {
	Path string
	// Column is that of the first wrong character, from 1.
	Column int
	Err    error
}

func (e *PathError) Error() string {
	return fmt.Sprintf("target %s: column %d: %v", e.Path, e.Column, e.Err)
}

func (e *PathError) Unwrap() error { return e.Err }

// path is a parsed target path: a root and what is selected from there on.
type path struct {
	text string
	root selector
	// addr is set for a root of the form TYPE@ADDRESS.
	addr  uint64
	typed bool
	// place says that a pointer at the end is meant itself.
	place bool
	rest  []selector
}

// selector is one step of a path.
type selector struct {
	pos  int // column, from 1
	kind selectorKind
	name string // of a member
	args []argument
	key  int64 // of an element
}

type selectorKind int

const (
	member  selectorKind = iota // .name, ->name
	call                        // .name(args)
	element                     // [key]
	random                      // [*]
	last                        // [last]
)

// brackets says whether the selector is one in brackets.
func (s selector) brackets() bool { return s.kind == element || s.kind == random || s.kind == last }

// argument is a number or a text in parentheses.
type argument struct {
	text   string
	number int64
	isText bool
}

func (a argument) String() string {
	if a.isText {
		return strconv.Quote(a.text)
	}
	return strconv.FormatInt(a.number, 10)
}

// String is the selector as it is written in a path.
func (s selector) String() string {
	switch s.kind {
	case call:
		args := make([]string, len(s.args))
		for i, a := range s.args {
			args[i] = a.String()
		}
		return s.name + "(" + strings.Join(args, ", ") + ")"
	case element:
		return "[" + strconv.FormatInt(s.key, 10) + "]"
	case random:
		return "[*]"
	case last:
		return "[last]"
	default:
		return s.name
	}
}

// parsePath reads
//
//	path     = [ "&" ] root { selector }
//	root     = name | name "(" arguments ")" | name "@" number
//	selector = ( "." | "->" ) name [ "(" arguments ")" ] | "[" ( number | "*" | "last" ) "]"
//	argument = number | `"` text `"`
//
// Numbers are as in Go; they may be negative.
func parsePath(text string) (path, error) {
	p := &parser{text: text}
	out := path{text: text, place: p.accept("&")}
	var err error
	if out.root, err = p.named(); err != nil {
		return path{}, err
	}
	if out.root.kind == member && p.accept("@") {
		out.typed = true
		if out.addr, err = p.address(); err != nil {
			return path{}, err
		}
	}
	for p.pos < len(p.text) {
		s, err := p.selector()
		if err != nil {
			return path{}, err
		}
		out.rest = append(out.rest, s)
	}
	return out, nil
}

// parser reads a path from the left.
type parser struct {
	text string
	pos  int
}

func (p *parser) errorf(format string, args ...any) error {
	return &PathError{p.text, p.pos + 1, fmt.Errorf(format, args...)}
}

// here describes what stands at the position.
func (p *parser) here() string {
	if p.pos >= len(p.text) {
		return "the end"
	}
	return strconv.Quote(p.text[p.pos : p.pos+1])
}

func (p *parser) accept(s string) bool {
	if !strings.HasPrefix(p.text[p.pos:], s) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *parser) spaces() {
	for p.accept(" ") {
		continue
	}
}

func (p *parser) selector() (selector, error) {
	pos := p.pos
	switch {
	case p.accept("."), p.accept("->"):
		s, err := p.named()
		return s, err
	case p.accept("["):
		s := selector{pos: pos + 1}
		var err error
		switch {
		case p.accept("*"):
			s.kind = random
		case p.accept("last"):
			s.kind = last
		default:
			s.kind = element
			s.key, err = p.number(`a number, "*" or "last"`)
		}
		if err == nil && !p.accept("]") {
			err = p.errorf(`%s instead of "]"`, p.here())
		}
		return s, err
	}
	return selector{}, p.errorf(`%s instead of ".", "->" or "["`, p.here())
}

func (p *parser) named() (selector, error) {
	start := p.pos
	for p.pos < len(p.text) && isNameByte(p.text[p.pos], p.pos > start) {
		p.pos++
	}
	if p.pos == start {
		return selector{}, p.errorf("%s instead of a name", p.here())
	}
	s := selector{pos: start + 1, kind: member, name: p.text[start:p.pos]}
	if !p.accept("(") {
		return s, nil
	}
	s.kind = call
	for {
		p.spaces()
		a, err := p.argument()
		if err != nil {
			return selector{}, err
		}
		s.args = append(s.args, a)
		p.spaces()
		if p.accept(")") {
			return s, nil
		}
		if !p.accept(",") {
			return selector{}, p.errorf(`%s instead of "," or ")"`, p.here())
		}
	}
}

func isNameByte(c byte, digits bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || digits && c >= '0' && c <= '9'
}

func (p *parser) argument() (argument, error) {
	if !strings.HasPrefix(p.text[p.pos:], `"`) {
		n, err := p.number("a number or a text in quotes")
		return argument{number: n}, err
	}
	quoted, err := strconv.QuotedPrefix(p.text[p.pos:])
	if err != nil {
		return argument{}, p.errorf("a text without an end")
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return argument{}, p.errorf("%s: %w", quoted, err)
	}
	p.pos += len(quoted)
	return argument{text: text, isText: true}, nil
}

// digits takes what may belong to a number.
func (p *parser) digits() string {
	start := p.pos
	p.accept("-")
	for p.pos < len(p.text) && isNameByte(p.text[p.pos], true) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func (p *parser) number(want string) (int64, error) {
	start := p.pos
	digits := p.digits()
	n, err := strconv.ParseInt(digits, 0, 64)
	if err != nil {
		p.pos = start
		if digits == "" {
			return 0, p.errorf("%s instead of %s", p.here(), want)
		}
		return 0, p.errorf("%q is not %s", digits, want)
	}
	return n, nil
}

func (p *parser) address() (uint64, error) {
	start := p.pos
	digits := p.digits()
	addr, err := strconv.ParseUint(digits, 0, 64)
	if err != nil {
		p.pos = start
		return 0, p.errorf("%q is not an address", digits)
	}
	return addr, nil
}
