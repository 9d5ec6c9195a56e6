package ondisk

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
)

// Block pointers of a real pool, read with zdb -R (flags dr) from their indirect block or dnode, and what zdb -ddddddbbbbbb
// of OpenZFS 2.3.2 says of the same.
var realBlkPtrs = []struct {
	name, raw, zdb string
	want           func(b BlkPtr) bool
}{
	{
		"plain",
		"0200000000000000420400000000000000000000000000000000000000000000" + "00000000000000000000000000000000ff0001000f0713800000000000000000" +
			"000000000000000000000000000000000b0000000000000001000000000000001e6fa69880000000de0406b3cf5e0000734527dc47862400172080749adfc109",
		"L0 DVA[0]=<0:88400:400> [L0 ZFS plain file] fletcher4 lz4 unencrypted LE contiguous unique single size=20000L/400P birth=11L/11P fill=1 cksum=0000008098a66f1e:00005ecfb30604de:00248647dc274573:09c1df9a74802017",
		func(b BlkPtr) bool {
			return b.LSize() == 128<<10 && b.PSize() == 1024 && b.Compress() == 15 && b.Checksum() == 7 && b.Type() == 19 &&
				b.Birth() == 11 && len(b.DVAs()) == 1 && b.LittleEndian() && !b.Gang() && !b.Dedup() && !b.Crypt() && !b.Hole()
		},
	},
	{
		"gang",
		"35010000000000001c060000000000803500000000000000c901010000000080" + "00000000000000000000000000000000ff00ff00020713800000000000000000" +
			"000000000000000000000000000000001e0000000000000001000000000000008ea36ce314400000bc9ccc66ecab021016396c21fe9d3ec4bdff4e25bdaa0d14",
		"L0 DVA[0]=<0:c3800:26a00> DVA[1]=<0:2039200:6a00> [L0 ZFS plain file] fletcher4 uncompressed unencrypted LE gang unique double size=20000L/20000P birth=30L/30P fill=1 cksum=00004014e36ca38e:1002abec66cc9cbc:c43e9dfe216c3916:140daabd254effbd",
		func(b BlkPtr) bool {
			return b.Gang() && b.DVA[0].Gang() && b.DVA[1].Gang() && !b.Dedup() && b.DVA[0].Offset() == 0xc3800 && b.DVA[0].ASize() == 0x26a00
		},
	},
	{
		"gang and dedup",
		"350100000000000018060000000000803500000000000000c501010000000080" + "00000000000000000000000000000000ff00ff00020813c00000000000000000" +
			"000000000000000000000000000000001e0000000000000001000000000000008560b48f51d42f18a9c020662da1c8db380c4903ad6e6e124c3a36befdbb685b",
		"L0 DVA[0]=<0:c3000:26a00> DVA[1]=<0:2038a00:6a00> [L0 ZFS plain file] sha256 uncompressed unencrypted LE gang dedup double size=20000L/20000P birth=30L/30P fill=1 cksum=182fd4518fb46085:dbc8a12d6620c0a9:126e6ead03490c38:5b68bbfdbe363a4c",
		func(b BlkPtr) bool { return b.Dedup() && b.Gang() && b.Checksum() == 8 },
	},
	{
		"encrypted",
		"0001000000000000400100000000000000010000000000004001010000000000" + "55ec7e02b8f6a1d3ed44802742a64706ff00ff00020713a00000000000000000" +
			"000000000000000000000000000000000c0000000000000001000000bd301af3c7bd15d78fccfa9db4f6103e195e6912f7cf72c26cd0c75b38f430efdd3b3962",
		"L0 DVA[0]=<0:28000:20000> DVA[1]=<0:2028000:20000> salt=d3a1f6b8027eec55 iv=647a642278044ed:f31a30bd [L0 ZFS plain file] fletcher4 uncompressed encrypted LE contiguous unique double size=20000L/20000P birth=12L/12P fill=1 cksum=9dfacc8fd715bdc7:12695e193e10f6b4:5bc7d06cc272cff7:62393bddef30f438",
		func(b BlkPtr) bool { return b.Encrypted() && len(b.DVAs()) == 2 && b.DVA[2][0] == 0xd3a1f6b8027eec55 },
	},
	{
		"embedded",
		"000000127f68656c6c6f0a000100ffe250000000000000000000000000000000" + "00000000000000000000000000000000ff01002a8f0013800000000000000000" +
			"0000000000000000000000000000000007000000000000000000000000000000" + strings.Repeat("00", 32),
		"L0 EMBEDDED [L0 ZFS plain file] et=0 lz4 size=200L/16P birth=7L",
		func(b BlkPtr) bool {
			return b.Embedded() && !b.Hole() && !b.Gang() && b.LSize() == 512 && b.PSize() == 0x16 && b.Birth() == 0 && b.LogicalBirth == 7 && b.DVAs() == nil
		},
	},
	{
		"hole that never was written", strings.Repeat("00", BlkPtrSize), "",
		func(b BlkPtr) bool { return b.Hole() && !b.Embedded() && b.DVAs() == nil },
	},
}

func decode(t testing.TB, raw string) BlkPtr {
	t.Helper()
	p, err := hex.DecodeString(raw)
	if err != nil {
		t.Fatal(err)
	}
	b, err := DecodeBlkPtr(p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRealBlockPointers(t *testing.T) {
	for _, c := range realBlkPtrs {
		t.Run(c.name, func(t *testing.T) {
			b := decode(t, c.raw)
			if !c.want(b) {
				t.Errorf("decoded wrongly: %v (%+v)", b, b)
			}
			if got := hex.EncodeToString(b.Encode()); got != c.raw {
				t.Errorf("encoded again: %s", got)
			}
			// Every word of String but the numbers that stand for names is a word of zdb's line, in the same order.
			rest := c.zdb
			for w := range strings.FieldsSeq(b.String()) {
				if c.zdb == "" || w == "type" || strings.HasSuffix(w, "]") {
					continue
				}
				_, after, ok := strings.Cut(rest, w)
				if !ok {
					t.Fatalf("%s\nhas %q, which is not there or out of order in zdb's\n%s", b, w, c.zdb)
				}
				rest = after
			}
			if rest != "" {
				t.Errorf("%s\nends before zdb's line: %q is left", b, rest)
			}
			for _, word := range []string{"gang", "dedup"} {
				if strings.Contains(b.String(), word) != strings.Contains(c.zdb, word) {
					t.Errorf("%s and zdb do not agree about %q", b, word)
				}
			}
		})
	}
}

func TestDVAString(t *testing.T) {
	// The segment of openzfs/zfs#17313.
	if got := NewDVA(0, 0x148165600, 0x200, false).String(); got != "<0:148165600:200>" {
		t.Error(got)
	}
}

func TestWrongSize(t *testing.T) {
	for _, n := range []int{0, 127, 129} {
		if _, err := DecodeBlkPtr(make([]byte, n)); err == nil {
			t.Errorf("%d bytes were taken for a block pointer", n)
		}
	}
}

// Any bytes survive decoding and encoding, the bits that have no meaning too.
func TestRoundTripOfBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		p := make([]byte, BlkPtrSize)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		b, err := DecodeBlkPtr(p)
		if err != nil || !bytes.Equal(b.Encode(), p) {
			t.Fatalf("%x: %v, %x", p, err, b.Encode())
		}
		if again, err := DecodeBlkPtr(b.Encode()); err != nil || again != b {
			t.Fatalf("%+v became %+v: %v", b, again, err)
		}
		_ = b.String() // never panics
	}
}

func TestRoundTripOfDVA(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 1000 {
		vdev, gang := r.Uint32N(1<<24), r.IntN(2) == 0
		offset, asize := r.Uint64()&^511, r.Uint64N(1<<24)<<9
		d := NewDVA(vdev, offset, asize, gang)
		if d.VDev() != vdev || d.Offset() != offset || d.ASize() != asize || d.Gang() != gang {
			t.Fatalf("<%d:%x:%x> gang=%t became %v gang=%t", vdev, offset, asize, gang, d, d.Gang())
		}
	}
}

// What one flipped bit of a DVA changes, which is what faults rest on.
func TestBitsOfDVA(t *testing.T) {
	d := NewDVA(5, 0x148165600, 0x4000, false)
	for bit := range 55 {
		e := d
		e[1] ^= 1 << bit
		if e.Offset()^d.Offset() != 512<<bit || e.Gang() || e.ASize() != d.ASize() || e.VDev() != d.VDev() {
			t.Errorf("bit %d of word 1: %v", bit, e)
		}
	}
	e := d
	e[1] ^= 1 << 63
	if !e.Gang() || e.Offset() != d.Offset() {
		t.Errorf("bit 63 of word 1 is not the gang bit: %v", e)
	}
	for bit := range 24 {
		e, f := d, d
		e[0] ^= 1 << bit
		f[0] ^= 1 << (32 + bit)
		if e.ASize()^d.ASize() != 512<<bit || e.VDev() != d.VDev() || f.VDev()^d.VDev() != 1<<bit || f.ASize() != d.ASize() {
			t.Errorf("bits %d and %d of word 0: %v, %v", bit, 32+bit, e, f)
		}
	}
}
