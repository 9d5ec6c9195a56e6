package core

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	got, err := parsePath(`spa("ta\"nk").vdev[0]->ms[-1].seg[*].x(0, "a b")[last]`)
	if err != nil {
		t.Fatal(err)
	}
	words := make([]string, 0, 1+len(got.rest))
	words = append(words, got.root.String())
	for _, s := range got.rest {
		words = append(words, fmt.Sprintf("%d:%s", s.pos, s))
	}
	want := []string{`spa("ta\"nk")`, "15:vdev", "19:[0]", "24:ms", "26:[-1]", "31:seg", "34:[*]", `38:x(0, "a b")`, "49:[last]"}
	if !reflect.DeepEqual(words, want) {
		t.Errorf("got  %q\nwant %q", words, want)
	}
	got, err = parsePath("zio_t@0xffff888003210000.io_bp")
	if err != nil {
		t.Fatal(err)
	}
	if got.root.name != "zio_t" || !got.typed || got.addr != 0xffff888003210000 || len(got.rest) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestParsePathErrors(t *testing.T) {
	for text, want := range map[string]struct {
		column int
		says   string
	}{
		"":                               {1, "the end instead of a name"},
		".a":                             {1, `"." instead of a name`},
		"spa.":                           {5, "the end instead of a name"},
		"spa vdev":                       {4, `" " instead of`},
		"spa.vdev[x]":                    {10, `"x" is not a number, "*" or "last"`},
		"spa.vdev[]":                     {10, `"]" instead of a number`},
		"spa.vdev[1":                     {11, `the end instead of "]"`},
		`spa("tank`:                      {5, "a text without an end"},
		`spa("tank"`:                     {11, `the end instead of "," or ")"`},
		"spa()":                          {5, `")" instead of a number or a text`},
		"zio_t@here":                     {7, `"here" is not an address`},
		"spa.vdev[99999999999999999999]": {10, "is not a number"},
	} {
		_, err := parsePath(text)
		var at *PathError
		if !errors.As(err, &at) {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if at.Column != want.column || !strings.Contains(at.Error(), want.says) {
			t.Errorf("%q: %v; want column %d and %q", text, err, want.column, want.says)
		}
	}
}
