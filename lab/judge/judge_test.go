package judge_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/guest/guesttest"
	"github.com/vdevil/vdevil/lab/judge"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/scripttest"
	"github.com/vdevil/vdevil/lab/zfs/audit"
	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/labeltest"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

var _ = []judge.Judge{judge.Auditor{}, judge.ZDB{}}

// labels are a member of a pool that has labels and nothing else, with more pairs in its configuration.
func labels(t *testing.T, more ...nvlist.Pair) string {
	t.Helper()
	leaf := labeltest.List(labeltest.Pair("type", "file"), labeltest.Pair("id", uint64(0)), labeltest.Pair("guid", uint64(7)), labeltest.Pair("ashift", uint64(9)))
	return labeltest.Write(t, labeltest.Member(t, labeltest.List(append([]nvlist.Pair{
		labeltest.Pair("name", "tank"), labeltest.Pair("pool_guid", uint64(5)), labeltest.Pair("guid", uint64(7)), labeltest.Pair("txg", uint64(4)),
		labeltest.Pair("vdev_children", uint64(1)), labeltest.Pair("vdev_tree", leaf),
	}, more...)...), 4))
}

// TestAuditor expects a finding of what is no pool any more, and an error of what the auditor cannot judge.
func TestAuditor(t *testing.T) {
	gone := filepath.Join(t.TempDir(), "gone")
	for name, c := range map[string]struct {
		pool    string
		disks   []string
		finding string
		check   func(error) bool
	}{
		"zeroes":       {pool: "tank", disks: []string{labeltest.Write(t, make([]byte, labeltest.Size))}, finding: "open pool tank: "},
		"cut off":      {pool: "tank", disks: []string{labeltest.Write(t, make([]byte, 512))}, finding: "open pool tank: "},
		"two zeroes":   {pool: "tank", disks: []string{labeltest.Write(t, make([]byte, 1<<20)), labeltest.Write(t, make([]byte, 1<<20))}, finding: "open pool tank: "},
		"another pool": {pool: "dozer", disks: []string{realPool(t)}, finding: "open pool dozer: "},
		"labels alone": {pool: "tank", disks: []string{labels(t)}, finding: "open pool tank: "},
		"unknown feature": {
			pool: "tank", disks: []string{labels(t, labeltest.Pair("features_for_read", labeltest.List(nvlist.Pair{Name: "org.example:new", Type: nvlist.Uint64, Value: uint64(1)})))},
			check: func(err error) bool {
				var unsupported *ondisk.UnsupportedError
				return errors.As(err, &unsupported) && strings.Contains(unsupported.What, "org.example:new")
			},
		},
		"no such disk":        {pool: "tank", disks: []string{gone}, check: func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		"second disk is gone": {pool: "tank", disks: []string{labels(t), gone}, check: func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
	} {
		t.Run(name, func(t *testing.T) {
			findings, err := judge.Auditor{}.Judge(t.Context(), subject(c.pool, c.disks...))
			if c.check != nil {
				if !c.check(err) || findings != nil {
					t.Errorf("got %q, %v", findings, err)
				}
				return
			}
			if err != nil || len(findings) != 1 || !strings.HasPrefix(findings[0], c.finding) {
				t.Errorf("got %q, %v", findings, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if findings, err := (judge.Auditor{}).Judge(ctx, subject("tank", labels(t))); !errors.Is(err, context.Canceled) || findings != nil {
		t.Errorf("interrupted: %q, %v", findings, err)
	}
}

// TestAuditorReads judges a real pool as it is, forged and damaged.
func TestAuditorReads(t *testing.T) {
	for name, c := range map[string]struct {
		harm  func(t *testing.T, path string)
		kinds []audit.Kind // what the audit finds
		told  []audit.Kind
	}{
		"sound":            {func(*testing.T, string) {}, nil, nil},
		"freed twice":      {func(t *testing.T, path string) { forgeDisk(t, path, "spacemap-duplicate-free") }, []audit.Kind{audit.FreedTwice}, []audit.Kind{audit.FreedTwice}},
		"leaked":           {func(t *testing.T, path string) { forgeDisk(t, path, "spacemap-alloc-free") }, []audit.Kind{audit.Leaked}, []audit.Kind{audit.Leaked}},
		"hidden by damage": {damage, []audit.Kind{audit.Checksum, audit.Leaked}, nil},
		"both": {func(t *testing.T, path string) {
			forgeDisk(t, path, "spacemap-duplicate-free")
			damage(t, path)
		}, []audit.Kind{audit.Checksum, audit.FreedTwice, audit.Leaked}, []audit.Kind{audit.FreedTwice}},
	} {
		t.Run(name, func(t *testing.T) {
			path := realPool(t)
			c.harm(t, path)
			device, closer, err := ondisk.OpenDevice(path)
			if err != nil {
				t.Fatal(err)
			}
			defer closer.Close()
			o, err := judge.Audit(t.Context(), []ondisk.Device{device}, poolName, audit.Options{Workers: 1})
			if err != nil || o.Report == nil || o.Unreadable != nil || o.NotAudited != nil {
				t.Fatalf("got %+v, %v", o, err)
			}
			kinds := make([]audit.Kind, 0, len(o.Report.Findings))
			var want []string
			for i := range o.Report.Findings {
				f := &o.Report.Findings[i]
				kinds = append(kinds, f.Kind)
				if slices.Contains(c.told, f.Kind) {
					want = append(want, f.String())
				}
			}
			slices.Sort(kinds)
			if got := slices.Compact(kinds); !slices.Equal(got, c.kinds) {
				t.Errorf("the audit finds %v", o.Report.Findings)
			}
			findings, err := judge.Auditor{}.Judge(t.Context(), subject(poolName, path))
			if err != nil || !slices.Equal(findings, want) {
				t.Errorf("judged %q, %v; want %q", findings, err, want)
			}
		})
	}
}

// TestZDB judges with a zdb that is scripted.
func TestZDB(t *testing.T) {
	const ls = "echo /dev/disk/by-id/virtio-v0"
	trouble := errors.New("no room on this computer")
	for name, c := range map[string]struct {
		zdb, blockdev string
		fork          error
		dies          bool
		findings      []string
		says          string // the error
	}{
		"sound": {zdb: "echo 'No leaks (block sum matches space maps exactly)'"},
		"leaked": {
			zdb:      "echo 'leaked space: vdev 0, offset 0x14600, size 512'; echo 'ASSERT at cmd/zdb/zdb.c:1' >&2; exit 2",
			findings: []string{"leaked space: vdev 0, offset 0x14600, size 512", "ASSERT at cmd/zdb/zdb.c:1"},
		},
		"gave up": {zdb: "exit 3", findings: []string{"zdb: LC_ALL=C zdb -e -p /dev -by tank: exit status 3"}},
		"fork":    {fork: trouble, says: trouble.Error()},
		"guest":   {dies: true, says: "the machine died"},
		"rescan":  {blockdev: "echo busy >&2; exit 1", says: "busy"},
	} {
		t.Run(name, func(t *testing.T) {
			g, m := guesttest.New(t), scripttest.New(t)
			g.Program("ls", ls)
			g.Program("blockdev", c.blockdev)
			g.Program("zdb", c.zdb)
			m.OnDial = func(ctx context.Context, _ int) (net.Conn, error) { return g.Dial(ctx) }
			if c.dies {
				m.OnDial = nil
				m.Die("QEMU was ended by SIGKILL")
			}
			booted := &machine.Checkpoint{Dir: "booted", Scale: 1}
			var asked machine.ForkOptions
			driver := &scripttest.Driver{OnFork: func(_ context.Context, cp *machine.Checkpoint, o machine.ForkOptions) (machine.Machine, error) {
				if cp != booted {
					t.Errorf("a fork of %+v", cp)
				}
				asked = o
				if c.fork != nil {
					return nil, c.fork
				}
				return m, nil
			}}
			s := subject("tank", "/disks/v0", "/disks/v1")
			s.Booted, s.Keys = booted, guest.Keys{Login: g.Login, Host: g.Host}
			findings, err := judge.ZDB{Driver: driver}.Judge(t.Context(), s)
			if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) || !slices.Equal(findings, c.findings) {
				t.Errorf("got %q, %v", findings, err)
			}
			if len(asked.Disks) != 2 || asked.Disks["v0"] != "/disks/v0" || asked.Disks["v1"] != "/disks/v1" || asked.Freezable {
				t.Errorf("forked with %+v", asked)
			}
			select {
			case <-m.Done():
			default:
				if c.fork == nil {
					t.Error("the machine was left running")
				}
			}
		})
	}
}
