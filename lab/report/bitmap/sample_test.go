package bitmap

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/vdevil/vdevil/lab/trial"
	"github.com/vdevil/vdevil/lab/zfs/core"
)

// hostile is console text that would break out of a page that did not escape it.
const hostile = "PANIC at avl.c:625:avl_add()\n</script><script>alert(1)</script><img src=http://example.invalid/x onerror=alert(2)> \x1b[31m"

func ended(bit int, field string, o trial.Outcome, signature, text string) Bit {
	return Bit{Bit: bit, Field: core.FieldName(field, bit%64), Outcome: o, Signature: signature, Text: text, Seconds: 2 + float64(bit%40)/16}
}

func sampleHead(target string) Map {
	m := Map{
		Target: target, Trigger: "zio_free_sync", OpenZFS: "2.3.2", Seed: 42, VDevil: "0.1.0", Accel: "tcg",
		Started: time.Date(2026, 11, 20, 9, 30, 0, 0, time.UTC), Seconds: 412,
		Repeat: fmt.Sprintf("vdevil atlas '%s' --at zio_free_sync --zfs 2.3.2 --seed 42", target),
	}
	for i := range 8 {
		m.Controls = append(m.Controls, Control{Outcome: trial.Masked, Seconds: 4 + float64(i)/8})
	}
	return m
}

// dva is a map of blk_dva[0] with every outcome in it.
func dva() Map {
	m := sampleHead("blkptr.blk_dva[0]")
	m.Type, m.Size = "dva_t", 128
	for bit := range 64 {
		b := ended(bit, "dva_word[0]", trial.Latent, "", "free-but-referenced: vdev 0, metaslab 0, offset 0x32fc00, size 0x8000")
		switch {
		case bit == 4 || bit >= 24 && bit < 32:
			b = ended(bit, "dva_word[0]", trial.Masked, "", "")
		case bit == 21:
			b = ended(bit, "dva_word[0]", trial.Hang, "hung-task@txg_sync", "INFO: task txg_sync:412 blocked for more than 120 seconds.")
		case bit == 22:
			b = ended(bit, "dva_word[0]", trial.Warned, "range-tree-add-overlap@metaslab_free_concrete", "WARNING: zfs: adding existent segment")
		case bit < 24 && bit > 8:
			b = ended(bit, "dva_word[0]", trial.Panic, "range-tree-add-overlap@metaslab_free_concrete",
				"PANIC: zfs: adding existent segment to range tree (offset=93800 size=108000)")
		case bit >= 32 && bit < 56:
			b = ended(bit, "dva_word[0]", trial.Oops, "null-deref@metaslab_check_free_impl",
				"BUG: kernel NULL pointer dereference, address: 0000000000000018\nRIP: 0010:metaslab_check_free_impl+0x41/0x220 [zfs]")
		case bit >= 60:
			b = ended(bit, "dva_word[0]", trial.Invalid, "", "")
		}
		m.Bits = append(m.Bits, b)
	}
	for bit := 64; bit < 128; bit++ {
		b := ended(bit, "dva_word[1]", trial.Panic, "verify-metaslab-count@metaslab_free_concrete", "VERIFY3(m < vd->vdev_ms_count) failed (1048583 < 31)")
		switch i := bit - 64; {
		case i == 63:
			b = ended(bit, "dva_word[1]", trial.Detected, "", "pool reports 1 checksum error")
		case i == 4 || i == 6 || i >= 8 && i < 12:
			b = ended(bit, "dva_word[1]", trial.Latent, "", "free-but-referenced: vdev 0, metaslab 0, offset 0x32fc00, size 0x8000")
		case i == 13:
			b = ended(bit, "dva_word[1]", trial.Corrupt, "", "sha256 of /tank/fs/f3 differs")
		case i == 16:
			b = ended(bit, "dva_word[1]", trial.Healed, "", "scrub repaired 128K")
		case i == 17:
			b = ended(bit, "dva_word[1]", trial.Panic, "avl-find@avl_add", hostile)
		case i < 20:
			b = ended(bit, "dva_word[1]", trial.Panic, "range-tree-add-overlap@metaslab_free_concrete",
				"PANIC: zfs: adding existent segment to range tree (offset=93800 size=8000)")
		}
		m.Bits = append(m.Bits, b)
	}
	return m
}

// dnode is a map of a dnode_phys_t, 4096 bits.
func dnode() Map {
	m := sampleHead("dnode.dn_phys")
	m.Type, m.Size = "dnode_phys_t", 4096
	r := rand.New(rand.NewPCG(3, 4))
	member := func(name string, bits int, likely ...trial.Outcome) {
		for range bits {
			o := trial.Masked
			if len(likely) > 0 {
				o = likely[r.IntN(len(likely))]
			}
			b := ended(len(m.Bits), name, o, "", "")
			if o == trial.Panic {
				b.Signature, b.Text = "verify-dnode@dnode_sync", "VERIFY0(dn->dn_phys->dn_nlevels > 1) failed"
			}
			m.Bits = append(m.Bits, b)
		}
	}
	for _, name := range []string{"dn_type", "dn_indblkshift", "dn_nlevels", "dn_nblkptr", "dn_bonustype", "dn_checksum", "dn_compress", "dn_flags"} {
		member(name, 8, trial.Panic, trial.Panic, trial.Detected, trial.Masked)
	}
	member("dn_datablkszsec", 16, trial.Panic, trial.Corrupt)
	member("dn_bonuslen", 16, trial.Detected, trial.Masked)
	member("dn_extra_slots", 8, trial.Panic)
	for i := range 3 {
		member(fmt.Sprintf("dn_pad2[%d]", i), 8)
	}
	member("dn_maxblkid", 64, trial.Corrupt, trial.Detected, trial.Latent)
	member("dn_used", 64, trial.Masked, trial.Masked, trial.Masked, trial.Latent)
	for i := range 4 {
		member(fmt.Sprintf("dn_pad3[%d]", i), 64)
	}
	for d := range 3 {
		for w := range 2 {
			likely := []trial.Outcome{trial.Masked}
			if d == 0 {
				likely = []trial.Outcome{trial.Detected, trial.Detected, trial.Healed, trial.Latent}
			}
			member(fmt.Sprintf("dn_blkptr[0].blk_dva[%d].dva_word[%d]", d, w), 64, likely...)
		}
	}
	member("dn_blkptr[0].blk_prop", 64, trial.Detected, trial.Oops, trial.Panic)
	for i := range 2 {
		member(fmt.Sprintf("dn_blkptr[0].blk_pad[%d]", i), 64)
	}
	member("dn_blkptr[0].blk_phys_birth", 64, trial.Masked, trial.Latent)
	member("dn_blkptr[0].blk_birth", 64, trial.Latent)
	member("dn_blkptr[0].blk_fill", 64)
	for i := range 4 {
		member(fmt.Sprintf("dn_blkptr[0].blk_cksum.zc_word[%d]", i), 64, trial.Detected)
	}
	for i := range 320 {
		if i < 168 {
			member(fmt.Sprintf("dn_bonus[%d]", i), 8, trial.Masked, trial.Masked, trial.Detected, trial.Corrupt)
		} else {
			member(fmt.Sprintf("dn_bonus[%d]", i), 8)
		}
	}
	return m
}

// partial is an atlas of some bits of a structure that ends within a word, one control of which panicked.
func partial() Map {
	m := sampleHead("ms.ms_allocatable.seg[3]")
	m.Type, m.Size, m.Repeat = "zfs_range_seg_gap_t", 96, ""
	for bit := 10; bit < 40; bit++ {
		field := "rs_start"
		if bit >= 32 {
			field = "rs_end"
		}
		m.Bits = append(m.Bits, ended(bit, field, trial.Masked, "", ""))
	}
	for bit := 40; bit < 96; bit++ { // known, but not asked for
		field := "rs_end"
		if bit >= 64 {
			field = "rs_fill"
		}
		m.Bits = append(m.Bits, Bit{Bit: bit, Field: field})
	}
	m.Controls[2] = Control{Outcome: trial.Panic, Signature: "range-tree-add-overlap@metaslab_sync", Text: "PANIC: zfs: adding existent segment", Seconds: 3}
	return m
}
