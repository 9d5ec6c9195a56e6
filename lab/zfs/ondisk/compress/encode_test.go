package compress

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// What Compress makes, Decompress undoes, of blocks of all kinds and with padding; and nothing is larger than asked for.
func TestCompress(t *testing.T) {
	d := decoder(t)
	noise := make([]byte, 4096)
	if _, err := rand.NewChaCha8([32]byte{}).Read(noise); err != nil {
		t.Fatal(err)
	}
	blocks := map[string][]byte{
		"mixed": block(128 << 10), "small": block(512), "zeroes": make([]byte, 16<<10), "ones": bytes.Repeat([]byte{1}, 4096), "noise": noise,
		"single zeroes": bytes.Repeat([]byte{1, 0, 2, 0, 0, 3}, 700),
	}
	for name, want := range blocks {
		for _, a := range []Algorithm{Off, LZ4, ZSTD, GZIP1, GZIP9, LZJB, ZLE} {
			out, err := Compress(a, want, 2*len(want)+512)
			if errors.Is(err, ErrNoRoom) && name == "noise" && a == LZ4 {
				continue // it says that it does not get smaller
			}
			if err != nil || len(out) != 2*len(want)+512 {
				t.Errorf("%s, %v: %d bytes, %v", name, a, len(out), err)
				continue
			}
			got := make([]byte, len(want))
			if err := d.Decompress(a, got, out); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %v: %v", name, a, err)
			}
			if out, err := Compress(a, want, 7); !errors.Is(err, ErrNoRoom) && name != "zeroes" {
				t.Errorf("%s, %v in 7 bytes: %x, %v", name, a, out, err)
			}
		}
	}
	if _, err := Compress(Empty, noise, 4096); err == nil {
		t.Error("an unknown function compressed")
	}
}
