package fault

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// Condition holds when the place that a path leads to has a value: a number, the name of an enumerator, true, false or
// NULL, or, for arrays of characters and pointers to them, text.
type Condition struct {
	Path, Value string
}

func (c Condition) String() string { return c.Path + " = " + c.Value }

// errNever is wrapped by errors that no later arrival can mend.
var errNever = errors.New("that can never be")

// holds resolves the path. An error may come of what stands in memory just now, as a NULL pointer.
func (c Condition) holds(s core.Scope) (bool, error) {
	v, err := s.Resolve("&" + strings.TrimPrefix(c.Path, "&")) // a pointer is compared, not what it points to
	if err != nil {
		return false, fmt.Errorf("condition %s: %w", c, err)
	}
	ok, err := equals(v, c.Value)
	if err != nil {
		return false, fmt.Errorf("condition %s: %w", c, err)
	}
	return ok, nil
}

// equals compares a place with a value as it is written in a scenario.
func equals(v kernel.Value, want string) (bool, error) {
	if isText(v.Type()) && want != "NULL" {
		text, err := v.CString()
		return text == want, err
	}
	n, err := number(v.View().Types(), want)
	if err != nil {
		return false, err
	}
	if n < 0 && v.Type().Signed() {
		have, err := v.Int()
		return have == n, err
	}
	have, err := v.Uint()
	return have == uint64(n), err
}

// number reads a number up to 64 bits, signed or not, or a word that stands for one.
func number(t *kernel.Types, s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 0, 64); err == nil {
		return int64(n), nil
	}
	switch s {
	case "NULL", "false":
		return 0, nil
	case "true":
		return 1, nil
	}
	if n, ok := t.Const(s); ok {
		return n, nil
	}
	return 0, fmt.Errorf("%q is neither a number nor an enumerator of this version: %w", s, errNever)
}

// isText says whether a type is an array of characters or a pointer to one.
func isText(t kernel.Type) bool {
	t = t.Base()
	if k := t.Kind(); k != kernel.Array && k != kernel.Pointer {
		return false
	}
	elem := t.Elem().Base()
	return elem.Kind() == kernel.Int && elem.Name() == "char"
}
