package main

import (
	"github.com/vdevil/vdevil/lab/zfs/audit/offline"

	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/labeltest"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// vdevTree is the configuration of a vdev; leaves have a path and the GUID in it.
func vdevTree(kind string, id, guid uint64, children ...*nvlist.List) *nvlist.List {
	pairs := []nvlist.Pair{
		labeltest.Pair("type", kind), labeltest.Pair("id", id), labeltest.Pair("guid", guid), labeltest.Pair("ashift", uint64(9)),
	}
	if len(children) == 0 {
		return labeltest.List(append(pairs, labeltest.Pair("path", fmt.Sprintf("/dev/disk%d", guid)))...)
	}
	if kind == "raidz" {
		pairs = append(pairs, labeltest.Pair("nparity", uint64(2)))
	}
	return labeltest.List(append(pairs, labeltest.Pair("children", children))...)
}

// memberOf is the path of a member of a pool that has so many top-level vdevs, of which this is in one.
func memberOf(t *testing.T, pool string, tops, guid uint64, tree *nvlist.List) string {
	t.Helper()
	return labeltest.Write(t, labeltest.Member(t, labeltest.List(
		labeltest.Pair("name", pool), labeltest.Pair("pool_guid", uint64(18446744073709551557)), labeltest.Pair("guid", guid),
		labeltest.Pair("txg", uint64(9)), labeltest.Pair("state", uint64(1)), labeltest.Pair("vdev_children", tops), labeltest.Pair("vdev_tree", tree),
	), 5, 7, 8, 9))
}

// helper is the path of a device whose label names no pool: a hot spare or a cache.
func helper(t *testing.T, state uint64) string {
	t.Helper()
	return labeltest.Write(t, labeltest.Member(t, labeltest.List(
		labeltest.Pair("version", uint64(5000)), labeltest.Pair("state", state), labeltest.Pair("guid", uint64(3)))))
}

// What keeps a pool from being audited is said in a line, and as data.
func TestAuditRefusals(t *testing.T) {
	raidz := vdevTree("raidz", 0, 10, vdevTree("disk", 0, 11), vdevTree("disk", 1, 12), vdevTree("disk", 2, 13), vdevTree("disk", 3, 14), vdevTree("disk", 4, 15))
	one := memberOf(t, "tank", 1, 11, raidz)
	other := memberOf(t, "dozer", 1, 12, raidz)
	stripe := memberOf(t, "tank", 3, 21, vdevTree("disk", 1, 21))
	mirror := memberOf(t, "tank", 2, 31, vdevTree("mirror", 0, 30, vdevTree("disk", 0, 31), vdevTree("disk", 1, 32)))
	log := memberOf(t, "tank", 2, 41, labeltest.List(append(vdevTree("disk", 1, 41).Pairs, labeltest.Pair("is_log", uint64(1)))...))
	locked := filepath.Join(t.TempDir(), "locked disk")
	if err := os.WriteFile(locked, append([]byte("LUKS\xba\xbe\x00\x02"), make([]byte, 4<<20)...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		kind string
		says []string
	}{
		{[]string{one}, "missing-devices", []string{
			"open pool tank: it lacks devices: vdev 0 (raidz2-0) has 1 of its 5 members and needs 2 more of /dev/disk12 (GUID 12), /dev/disk13 (GUID 13), " +
				"/dev/disk14 (GUID 14), /dev/disk15 (GUID 15)\n",
		}},
		{[]string{stripe}, "missing-devices", []string{"open pool tank: it lacks devices: vdev 0, of which nothing was given; vdev 2, of which nothing was given\n"}},
		{[]string{mirror, locked}, "missing-devices", []string{
			"open pool tank: it lacks devices: vdev 1, of which nothing was given\n  " + locked + " is a LUKS 2 encrypted device: unlock it with cryptsetup open --readonly '",
		}},
		{[]string{log}, "missing-devices", []string{"open pool tank: it lacks devices: vdev 0, of which nothing was given; only a log device of it, vdev 1, was given"}},
		{[]string{"--pool", "dozer", one}, "no-pool", []string{"no pool dozer on these devices, which have [tank (18446744073709551557)]"}},
		{[]string{"--pool", "7", one}, "no-pool", []string{"no pool 7 on these devices, which have [tank (18446744073709551557)]"}},
		{[]string{"--pool", "tank", helper(t, 3)}, "no-pool", []string{"no pool on these devices, neither tank nor another; "}},
		{[]string{"--txg", "4", one, other}, "no-such-txg", []string{"no uberblock of txg 4 or before is left; there are those of txg 5, 7-9\n"}},
		{[]string{helper(t, 3)}, "no-pool", []string{"is a hot spare, whose label does not say of which pool: name the devices that have the pool's data"}},
		{[]string{helper(t, 4)}, "no-pool", []string{"is a cache (L2ARC), whose label does not say of which pool"}},
		{[]string{locked}, "no-pool", []string{"no pool on these devices\n  " + locked + " is a LUKS 2 encrypted device: unlock it with cryptsetup"}},
		{[]string{locked + "s"}, "other", []string{"no such file"}},
	} {
		code, out, err := command(t, append([]string{"audit"}, c.args...)...)
		for _, want := range c.says {
			if code != misused || out != "" || !strings.Contains(err, want) {
				t.Errorf("%q: status %d, %q, %q; want %q", c.args, code, out, err, want)
			}
		}
		code, out, err = command(t, append([]string{"audit", "--json"}, c.args...)...)
		var d offline.Document
		if e := json.Unmarshal([]byte(out), &d); e != nil || code != misused || err == "" {
			t.Errorf("%q: status %d, %v, %q, %q", c.args, code, e, out, err)
			continue
		}
		if d.Format != offline.Format || d.Version != offline.Version || d.Verdict != offline.NotAudited || d.Error == nil || d.Error.Kind != c.kind {
			t.Errorf("%q: %s", c.args, out)
		}
	}
}

// GUIDs have all 64 bits in JSON, and what is not there is left out.
func TestAuditDocumentOfRefusal(t *testing.T) {
	raidz := vdevTree("raidz", 0, 10, vdevTree("disk", 0, 11), vdevTree("disk", 1, 18446744073709551533), vdevTree("disk", 2, 13), vdevTree("disk", 3, 14))
	_, out, _ := command(t, "audit", "--json", memberOf(t, "tank", 1, 11, raidz))
	const want = `{
  "format": "vdevil-audit",
  "version": 1,
  "verdict": "not-audited",
  "error": {
    "kind": "missing-devices",
    "message": "open pool tank: it lacks devices: vdev 0 (raidz2-0) has 1 of its 4 members and needs 1 more of /dev/disk18446744073709551533 (GUID 18446744073709551533), /dev/disk13 (GUID 13), /dev/disk14 (GUID 14)",
    "vdevs": [
      {
        "id": 0,
        "type": "raidz",
        "devices": 4,
        "needed": 1,
        "missing": [
          {
            "guid": "18446744073709551533",
            "path": "/dev/disk18446744073709551533"
          },
          {
            "guid": "13",
            "path": "/dev/disk13"
          },
          {
            "guid": "14",
            "path": "/dev/disk14"
          }
        ]
      }
    ]
  },
  "findings": []
}
`
	if out != want {
		t.Errorf("%s", out)
	}
}
