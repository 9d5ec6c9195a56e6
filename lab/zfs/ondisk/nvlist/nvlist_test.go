package nvlist

import (
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func encode(l *List) []byte {
	p, err := Encode(l)
	if err != nil {
		panic(err) // the test has a value of a type that no list has
	}
	return p
}

// packNative packs the types that the sample has into the native encoding.
func packNative(l *List, order binary.ByteOrder) []byte {
	out := []byte{encodingNative, 0, 0, 0}
	if order == binary.ByteOrder(binary.LittleEndian) {
		out[1] = 1
	}
	word := func(p []byte, v uint32) []byte {
		return order.(binary.AppendByteOrder).AppendUint32(p, v)
	}
	long := func(p []byte, v uint64) []byte { return order.(binary.AppendByteOrder).AppendUint64(p, v) }
	var list func(l *List) []byte
	list = func(l *List) (out []byte) {
		for _, p := range l.Pairs {
			pair := make([]byte, nvpairSize, 64)
			pair = append(append(pair, p.Name...), 0)
			for len(pair)%8 != 0 {
				pair = append(pair, 0)
			}
			count, after := 1, []byte(nil)
			head := func(l *List) []byte { return append(word(word(nil, 0), l.Flags), make([]byte, 16)...) }
			switch v := p.Value.(type) {
			case bool:
				if p.Type == Boolean {
					count = 0
				} else {
					pair = word(pair, 1)
				}
			case uint64:
				pair = long(pair, v)
			case int32:
				pair = word(pair, uint32(v))
			case string:
				pair = append(append(pair, v...), 0)
			case []byte:
				count, pair = len(v), append(pair, v...)
			case []uint64:
				count = len(v)
				for _, w := range v {
					pair = long(pair, w)
				}
			case []string:
				count = len(v)
				pair = append(pair, make([]byte, 8*len(v))...)
				for _, s := range v {
					pair = append(append(pair, s...), 0)
				}
			case *List:
				pair, after = append(pair, head(v)...), list(v)
			case []*List:
				count = len(v)
				pair = append(pair, make([]byte, 8*len(v))...)
				for _, l := range v {
					pair, after = append(pair, head(l)...), append(after, list(l)...)
				}
			}
			for len(pair)%8 != 0 {
				pair = append(pair, 0)
			}
			order.PutUint32(pair, uint32(len(pair)))
			order.PutUint16(pair[4:], uint16(len(p.Name)+1))
			order.PutUint32(pair[8:], uint32(count))
			order.PutUint32(pair[12:], uint32(p.Type))
			out = append(append(out, pair...), after...)
		}
		return word(out, 0)
	}
	out = word(word(out, 0), l.Flags)
	return append(out, list(l)...)
}

func sample() *List {
	inner := &List{Flags: 1, Pairs: []Pair{{"guid", Uint64, uint64(0xfedcba9876543210)}, {"path", String, "/dev/v0"}}}
	return &List{Flags: 1, Pairs: []Pair{
		{"version", Uint64, uint64(5000)}, {"name", String, "tank"}, {"errata", Int32, int32(-3)},
		{"is_log", Boolean, true}, {"on", BooleanValue, true}, {"tree", NVList, inner},
		{"children", NVListArray, []*List{inner, {Flags: 2}}}, {"txgs", Uint64Array, []uint64{1, 2, 1 << 40}},
		{"words", StringArray, []string{"a", "", "three"}}, {"raw", ByteArray, []byte{1, 2, 3, 4, 5}},
	}}
}

func encodings() map[string][]byte {
	return map[string][]byte{
		"xdr": encode(sample()), "little endian": packNative(sample(), binary.LittleEndian),
		"big endian": packNative(sample(), binary.BigEndian),
	}
}

func TestDecode(t *testing.T) {
	for name, p := range encodings() {
		l, err := Decode(append(p, "padding"...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(l, sample()) {
			t.Errorf("%s: %+v", name, l)
		}
		if v, ok := l.Uint64("version"); v != 5000 || !ok || !l.Has("is_log") || l.Has("version2") {
			t.Errorf("%s: version %d", name, v)
		}
		if _, ok := l.String("version"); ok {
			t.Errorf("%s: a number is a string", name)
		}
	}
}

// No shortened list is taken for a whole one, and no error hides what it is.
func TestTruncated(t *testing.T) {
	for name, p := range encodings() {
		for n := range len(p) - 1 {
			if l, err := Decode(p[:n]); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%s: %d of %d bytes: %v, %v", name, n, len(p), l, err)
			}
		}
	}
}

func TestHostile(t *testing.T) {
	deep := &List{}
	for range 200 {
		deep = &List{Pairs: []Pair{{"d", NVList, deep}}}
	}
	many := encode(&List{Pairs: []Pair{{"a", Uint64Array, []uint64{1}}}})
	at := strings.Index(string(many), "a\x00\x00\x00") + 8
	binary.BigEndian.PutUint32(many[at:], 1<<31)
	binary.BigEndian.PutUint32(many[at+4:], 1<<31)
	for name, p := range map[string][]byte{
		"deep": encode(deep), "deep native": packNative(deep, binary.LittleEndian), "two billion elements": many,
		"encoding 7": {7, 1, 0, 0}, "empty": {}, "version": {1, 1, 0, 0, 0, 0, 0, 9},
	} {
		if _, err := Decode(p); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, p := range encodings() {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		l, err := Decode(p)
		if (l == nil) == (err == nil) {
			t.Errorf("%v, %v", l, err)
		}
	})
}
