package ops

import (
	"fmt"
)

// ofPools are the operations on the pool as a whole.
var ofPools = []*kind{
	{
		form: "sync", does: "waits until the pool has written everything", waits: true,
		shell:    func(_ Op, p Place) string { return "zpool sync " + p.Pool },
		foretell: always,
	},
	{
		form: "begin-sync DELAY", does: "has the pool written, and goes on so many microseconds after the transaction group was closed, while it is written",
		shell: func(o Op, p Place) string {
			return fmt.Sprintf(`last=$(tail -n 1 %[1]s | cut -d' ' -f1); zpool sync %[2]s & until [ "$(tail -n 1 %[1]s | cut -d' ' -f1)" -gt "$last" ]; do :; done; sleep %[3]g`,
				txgs(p.Pool), p.Pool, float64(o.size(0))/1e6)
		},
		request: func(o Op, p Place) Request {
			return Request{Do: "begin-sync", Path: txgs(p.Pool), Size: o.size(0), Command: [][]string{{"zpool", "sync", p.Pool}}}
		},
		foretell: always,
	},
	{
		form: "reimport", does: "exports the pool and imports it again", waits: true,
		shell: func(_ Op, p Place) string {
			return fmt.Sprintf("zpool export %[1]s && zpool import -d /dev/disk/by-id %[1]s && { zfs load-key -a; zfs mount -a; }", p.Pool)
		},
		// A dataset that was received raw has a key of which nobody said where it is: all others are mounted.
		foretell: func(m *Model, _ Op) (Fate, string) {
			for _, d := range m.datasets {
				if d.locked {
					return Either, ""
				}
			}
			return Succeeds, ""
		},
	},
	{
		form: "checkpoint", does: "takes a checkpoint of the pool", waits: true,
		shell: func(_ Op, p Place) string { return "zpool checkpoint " + p.Pool },
		foretell: func(m *Model, _ Op) (Fate, string) {
			if m.checkpoint {
				return Refused, "there is a checkpoint"
			}
			return Succeeds, ""
		},
		done: func(m *Model, _ Op) { m.checkpoint = true },
	},
	{
		form: "discard", does: "discards the checkpoint", waits: true,
		shell: func(_ Op, p Place) string { return "zpool checkpoint -d -w " + p.Pool },
		foretell: func(m *Model, _ Op) (Fate, string) {
			if !m.checkpoint {
				return Refused, "there is no checkpoint"
			}
			return Succeeds, ""
		},
		done: func(m *Model, _ Op) { m.checkpoint = false },
	},
	{
		form: "scrub", does: "scrubs the pool to the end",
		shell:    func(_ Op, p Place) string { return "zpool scrub -w " + p.Pool },
		foretell: always,
	},
	{
		form: "cancel-scrub", does: "begins a scrub and cancels it",
		shell:    func(_ Op, p Place) string { return fmt.Sprintf("zpool scrub %[1]s && zpool scrub -s %[1]s", p.Pool) },
		foretell: perhaps, // it may have come to its end
	},
	{
		form: "trim", does: "trims the pool to the end",
		shell:    func(_ Op, p Place) string { return "zpool trim -w " + p.Pool },
		foretell: perhaps,
	},
	{
		form: "initialize", does: "writes to all free space",
		shell:    func(_ Op, p Place) string { return "zpool initialize -w " + p.Pool },
		foretell: perhaps,
	},
	{
		form: "prune PERCENT", does: "prunes so much of the dedup table's entries with one reference, of those a second old",
		shell:    func(o Op, p Place) string { return fmt.Sprintf("sleep 1.1; zpool ddtprune -p %s %s", o.arg(0), p.Pool) },
		foretell: perhaps,
	},
	{
		form: "add DISK", does: "adds a disk to the pool",
		shell: func(o Op, p Place) string { return fmt.Sprintf("zpool add -f %s %s", p.Pool, p.Disk(o.arg(0))) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if m.disks[o.arg(0)] {
				return Refused, "the pool has the disk"
			}
			return Either, ""
		},
		done: func(m *Model, o Op) { m.disks[o.arg(0)] = true },
	},
	{
		form: "evacuate DISK", does: "removes a disk, whose blocks go to the others",
		shell: func(o Op, p Place) string { return fmt.Sprintf("zpool remove -w %s %s", p.Pool, p.Disk(o.arg(0))) },
		foretell: func(m *Model, o Op) (Fate, string) {
			if !m.disks[o.arg(0)] {
				return Refused, "the pool has no such disk"
			}
			return m.spares(o)
		},
		done: func(m *Model, o Op) { delete(m.disks, o.arg(0)) },
	},
	{
		form: "attach DISK DISK", does: "makes a disk a mirror of another one",
		shell: func(o Op, p Place) string {
			return fmt.Sprintf("zpool attach -f -w %s %s %s", p.Pool, p.Disk(o.arg(0)), p.Disk(o.arg(1)))
		},
		foretell: perhaps,
		done:     func(m *Model, o Op) { m.disks[o.arg(1)] = true },
	},
	{
		form: "detach DISK", does: "takes a disk out of a mirror",
		shell:    func(o Op, p Place) string { return fmt.Sprintf("zpool detach %s %s", p.Pool, p.Disk(o.arg(0))) },
		foretell: (*Model).spares,
		done:     func(m *Model, o Op) { delete(m.disks, o.arg(0)) },
	},
	{
		form: "replace DISK DISK", does: "replaces a disk by another one",
		shell: func(o Op, p Place) string {
			return fmt.Sprintf("zpool replace -f -w %s %s %s", p.Pool, p.Disk(o.arg(0)), p.Disk(o.arg(1)))
		},
		foretell: perhaps,
		done: func(m *Model, o Op) {
			delete(m.disks, o.arg(0))
			m.disks[o.arg(1)] = true
		},
	},
	{
		form: "expand DISK", does: "makes raidz1-0 wider by a disk",
		shell: func(o Op, p Place) string {
			return fmt.Sprintf("zpool attach -f -w %s raidz1-0 %s", p.Pool, p.Disk(o.arg(0)))
		},
		foretell: perhaps,
		done:     func(m *Model, o Op) { m.disks[o.arg(0)] = true },
	},
	{
		form: "pool NAME DISK", does: "makes another pool, which snapshots can be sent to; a machine that was switched off does not import it",
		shell: func(o Op, p Place) string { return fmt.Sprintf("zpool create -f %s %s", o.arg(0), p.Disk(o.arg(1))) },
		foretell: func(m *Model, o Op) (Fate, string) {
			switch {
			case o.arg(0) == m.place.Pool || m.pools[o.arg(0)] != "":
				return Refused, "there is a pool " + o.arg(0)
			case m.disks[o.arg(1)]:
				return Refused, "the pool has the disk"
			}
			return Either, "" // another pool may have it
		},
		done: func(m *Model, o Op) { m.pools[o.arg(0)] = o.arg(1) },
	},
	{
		form: "parameter NAME VALUE", does: "sets a parameter of the module",
		shell: func(o Op, _ Place) string {
			return fmt.Sprintf("echo %s >/sys/module/zfs/parameters/%s", o.arg(1), o.arg(0))
		},
		request: func(o Op, _ Place) Request {
			return Request{Do: "put", Path: "/sys/module/zfs/parameters/" + o.arg(0), Value: o.arg(1)}
		},
		foretell: perhaps,
	},
}

// spares is about taking a disk away, which may not be the last one.
func (m *Model) spares(o Op) (Fate, string) {
	if m.disks[o.arg(0)] && len(m.disks) == 1 {
		return Refused, "it is the last disk"
	}
	return Either, ""
}

func always(*Model, Op) (Fate, string) { return Succeeds, "" }

func perhaps(*Model, Op) (Fate, string) { return Either, "" }

// txgs is where a guest tells the last transaction groups of a pool, the open one in the last line.
func txgs(pool string) string { return "/proc/spl/kstat/zfs/" + pool + "/txgs" }
