package vdev_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/vdevil/vdevil/lab/fault/vdev"
	"github.com/vdevil/vdevil/lab/nbd"
)

const deviceSize = 1 << 20

func newDevice(t *testing.T) *vdev.Device {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "")
	if err == nil {
		err = f.Truncate(deviceSize)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return vdev.NewDevice("v0", deviceSize, nbd.File{File: f}, rand.New(rand.NewPCG(1, 1)), false)
}

// outcomes does requests and writes e for each that failed.
func outcomes(t *testing.T, d *vdev.Device, requests ...nbd.Request) string {
	t.Helper()
	var s strings.Builder
	for _, q := range requests {
		q.Data = make([]byte, q.Length)
		switch err := d.Handle(t.Context(), &q); {
		case err == nil:
			s.WriteByte('.')
		case errors.Is(err, syscall.EIO):
			s.WriteByte('e')
		default:
			t.Fatal(err)
		}
	}
	return s.String()
}

func TestRules(t *testing.T) {
	r := func(at int64) nbd.Request { return nbd.Request{Op: nbd.Read, Offset: at, Length: 1024} }
	w := func(at int64) nbd.Request { return nbd.Request{Op: nbd.Write, Offset: at, Length: 1024} }
	fl := nbd.Request{Op: nbd.Flush}
	fail := vdev.Fail{Errno: syscall.EIO}
	for name, tt := range map[string]struct {
		rule     vdev.Rule
		requests []nbd.Request
		want     string
	}{
		"every":            {vdev.Rule{}, []nbd.Request{r(0), w(0), fl}, "eee"},
		"an operation":     {vdev.Rule{Ops: []nbd.Op{nbd.Write}}, []nbd.Request{r(0), w(0), fl, w(9)}, ".e.e"},
		"a range":          {vdev.Rule{Places: []vdev.Range{{From: 2048, To: 3000}, {From: 3000, To: 4096}}}, []nbd.Request{r(0), r(1024), r(1025), r(4095), r(4096), fl}, "..ee.e"},
		"from the third":   {vdev.Rule{Nth: 3}, []nbd.Request{r(0), r(0), r(0), r(0)}, "..ee"},
		"twice":            {vdev.Rule{Times: 2}, []nbd.Request{r(0), r(0), r(0)}, "ee."},
		"the second":       {vdev.Rule{Nth: 2, Times: 1}, []nbd.Request{r(0), r(0), r(0)}, ".e."},
		"others count not": {vdev.Rule{Nth: 2, Places: []vdev.Range{{To: 512}}}, []nbd.Request{r(0), r(8192), r(8192), r(0)}, "...e"},
	} {
		d := newDevice(t)
		tt.rule.Action = fail
		if err := d.Add(tt.rule); err != nil {
			t.Fatal(err)
		}
		if got := outcomes(t, d, tt.requests...); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
		if got := len(d.Injections()); got != strings.Count(tt.want, "e") {
			t.Errorf("%s: %d injections", name, got)
		}
	}
}

func TestProbability(t *testing.T) {
	strikes := func() string {
		d := newDevice(t)
		if err := d.Add(vdev.Rule{Probability: 0.3, Action: vdev.Fail{Errno: syscall.EIO}}); err != nil {
			t.Fatal(err)
		}
		return outcomes(t, d, bytesOfRequests(400)...)
	}
	a, b := strikes(), strikes()
	if n := strings.Count(a, "e"); n < 80 || n > 160 || a != b {
		t.Errorf("%d of 400, the same again: %v", n, a == b)
	}
}

func bytesOfRequests(n int) []nbd.Request {
	all := make([]nbd.Request, n)
	for i := range all {
		all[i] = nbd.Request{Op: nbd.Read, Length: 512}
	}
	return all
}

func TestRulesThatCannotBe(t *testing.T) {
	d := newDevice(t)
	for want, r := range map[string]vdev.Rule{
		"lost-write cannot be done to a read": {Ops: []nbd.Op{nbd.Read}, Action: vdev.Lose{}},
		"lying-flush cannot be done to a":     {Ops: []nbd.Op{nbd.Trim}, Action: vdev.Lie{}},
		"at 5 to 5":                           {Places: []vdev.Range{{From: 5, To: 5}}, Action: vdev.Lose{}},
		"of 1048576 bytes":                    {Places: []vdev.Range{{To: deviceSize + 1}}, Action: vdev.Lose{}},
		"with probability 2":                  {Probability: 2, Action: vdev.Lose{}},
	} {
		if err := d.Add(r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestMisdirectedWritesStayOnTheDisk(t *testing.T) {
	for _, by := range []int64{512, -512, deviceSize, 3 * deviceSize, -deviceSize} {
		d := newDevice(t)
		if err := d.Add(vdev.Rule{Times: 1, Action: vdev.Misdirect{By: by}}); err != nil {
			t.Fatal(err)
		}
		data := bytes.Repeat([]byte{7}, 4096)
		if err := d.Handle(t.Context(), &nbd.Request{Op: nbd.Write, Offset: 8192, Length: 4096, Data: data}); err != nil {
			t.Errorf("by %d: %v", by, err)
		}
		all := make([]byte, deviceSize)
		if err := d.Handle(t.Context(), &nbd.Request{Op: nbd.Read, Length: deviceSize, Data: all}); err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(all, data); at < 0 || at%512 != 0 || bytes.Count(all, []byte{7}) != 4096 {
			t.Errorf("by %d: it is at %d", by, at)
		}
	}
}
