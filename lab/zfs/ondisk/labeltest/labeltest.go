// Package labeltest makes devices that have the labels of a pool's member and nothing else, for tests of what is said of pools
// that cannot be read: no guest is needed.
package labeltest

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// Size is that of a member in bytes, all of it labels but for 4 MiB.
const Size = 8 << 20

// Pair is a pair of a list; the value is a uint64, a string, a *nvlist.List or a []*nvlist.List.
func Pair(name string, value any) nvlist.Pair {
	p := nvlist.Pair{Name: name, Value: value}
	switch value.(type) {
	case uint64:
		p.Type = nvlist.Uint64
	case string:
		p.Type = nvlist.String
	case *nvlist.List:
		p.Type = nvlist.NVList
	case []*nvlist.List:
		p.Type = nvlist.NVListArray
	}
	return p
}

// List is a list with unique names.
func List(pairs ...nvlist.Pair) *nvlist.List { return &nvlist.List{Flags: 1, Pairs: pairs} }

// Member is the content of a device with four labels of a configuration, in which there is an uberblock of each txg that leads
// to nothing.
func Member(t testing.TB, config *nvlist.List, txgs ...uint64) []byte {
	t.Helper()
	packed, err := nvlist.Encode(config)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, Size)
	const configAt, configLen, ringAt, slot = 16 << 10, 112 << 10, 128 << 10, 1 << 10
	for i := range 4 {
		at := ondisk.LabelOffset(Size, i)
		copy(p[at+configAt:], packed)
		seal(p[at+configAt:at+configAt+configLen], at+configAt)
		for _, txg := range txgs {
			where := at + ringAt + txg%128*slot
			u := p[where : where+slot]
			for k, word := range []uint64{0x00bab10c, 5000, txg, 0, txg} { // magic, version, txg, sum of GUIDs, time
				binary.LittleEndian.PutUint64(u[8*k:], word)
			}
			seal(u, where)
		}
	}
	return p
}

// Write writes a member to a new file in a directory of the test.
func Write(t testing.TB, content []byte) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "member")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Device is a member in memory.
func Device(name string, content []byte) ondisk.Device {
	return ondisk.Device{Name: name, Data: bytes.NewReader(content), Size: int64(len(content))}
}

// seal writes the checksum at the end of p, which lies at an offset of the device (zio_checksum_label_verifier and
// zio_eck_t: the magic, and SHA-256 over what has the offset in the checksum's place).
func seal(p []byte, offset uint64) {
	const size = 40
	eck := p[len(p)-size:]
	binary.LittleEndian.PutUint64(eck, 0x210da7ab10c7a11)
	binary.LittleEndian.PutUint64(eck[8:], offset)
	sum := sha256.Sum256(p)
	for i := range 4 {
		binary.LittleEndian.PutUint64(eck[8+8*i:], binary.BigEndian.Uint64(sum[8*i:]))
	}
}
