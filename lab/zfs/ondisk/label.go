package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/nvlist"
)

// Where things lie on a device (include/sys/vdev_impl.h). The labels are two at the start and two at the end.
const (
	labelSize      = 256 << 10
	labels         = 4
	labelConfig    = 16 << 10  // of the nvlist in a label
	labelConfigLen = 112 << 10 // with its checksum
	labelRing      = 128 << 10 // of the uberblocks in a label
	labelRingLen   = 128 << 10
	dataStart      = 4 << 20 // VDEV_LABEL_START_SIZE: offset 0 of a vdev lies here

	minRingShift, maxRingShift = 10, 13 // UBERBLOCK_SHIFT, MAX_UBERBLOCK_SHIFT
)

// Label is one of the four labels of a device.
type Label struct {
	// Index is 0 to 3, Offset that of the label on the device in bytes.
	Index  int
	Offset uint64
	// Config is the configuration, or nil with the reason in Err.
	Config *nvlist.List
	Err    error
	// Ring are the uberblocks with a good checksum, in the order of their slots.
	Ring []Slot
	// BadSlots is how many slots of the ring are neither empty nor good.
	BadSlots int

	slotShift uint // binary logarithm of the size of a slot
}

// Slot is a place in the ring of uberblocks.
type Slot struct {
	Index int
	// Offset is on the device in bytes.
	Offset    uint64
	Uberblock Uberblock
}

// LabelOffset is where label i of a device of a size lies, in bytes. The last two count from the end, rounded down to
// a whole label.
func LabelOffset(size uint64, i int) uint64 {
	if i < labels/2 {
		return uint64(i) * labelSize
	}
	return size&^(labelSize-1) - uint64(labels-i)*labelSize
}

// ReadLabels reads all labels of a device. What is wrong with a label is told there; an error means that there is no
// device to read.
func ReadLabels(ctx context.Context, d Device) ([]Label, error) {
	if d.Size < labels*labelSize {
		return nil, fmt.Errorf("labels of %s: its %d bytes have no room for them", d.Name, d.Size)
	}
	h := checksum.NewHasher(checksum.Salt{})
	all := make([]Label, labels)
	for i := range all {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		all[i] = readLabel(ctx, &d, h, i)
	}
	return all, nil
}

func readLabel(ctx context.Context, d *Device, h *checksum.Hasher, i int) Label {
	l := Label{Index: i, Offset: LabelOffset(uint64(d.Size), i)}
	p := make([]byte, labelSize)
	if err := d.read(ctx, p, l.Offset); err != nil {
		l.Err = err
		return l
	}
	l.Config, l.Err = decodeConfig(h, p[labelConfig:labelConfig+labelConfigLen], l.Offset+labelConfig)
	l.readRing(h, p[labelRing:labelRing+labelRingLen])
	return l
}

// decodeConfig verifies and unpacks the configuration that lies at an offset of a device.
func decodeConfig(h *checksum.Hasher, p []byte, offset uint64) (*nvlist.List, error) {
	if err := verifyEmbedded(h, checksum.Label, p, len(p)-eckSize, checksum.Sum{offset}); err != nil {
		return nil, fmt.Errorf("label at %d: %w", offset, err)
	}
	l, err := nvlist.Decode(p[:len(p)-eckSize])
	if err != nil {
		return nil, fmt.Errorf("label at %d: %w", offset, err)
	}
	return l, nil
}

// readRing reads the uberblocks. The size of a slot follows from ashift; when the label does not tell it, the size is
// the one with which most slots are good.
func (l *Label) readRing(h *checksum.Hasher, ring []byte) {
	if tree, ok := l.Config.List("vdev_tree"); ok {
		if ashift, ok := tree.Uint64("ashift"); ok {
			l.slotShift = min(max(uint(min(ashift, 64)), minRingShift), maxRingShift)
			l.Ring, l.BadSlots = l.slots(h, ring, l.slotShift)
			return
		}
	}
	for shift := uint(minRingShift); shift <= maxRingShift; shift++ {
		if found, bad := l.slots(h, ring, shift); len(found) > len(l.Ring) {
			l.Ring, l.BadSlots, l.slotShift = found, bad, shift
		}
	}
}

func (l *Label) slots(h *checksum.Hasher, ring []byte, shift uint) (found []Slot, bad int) {
	for i := range len(ring) >> shift {
		p := ring[i<<shift : (i+1)<<shift]
		if binary.LittleEndian.Uint64(p) == 0 {
			continue
		}
		offset := l.Offset + labelRing + uint64(i)<<shift
		err := verifyEmbedded(h, checksum.Label, p, len(p)-eckSize, checksum.Sum{offset})
		if err == nil {
			var u Uberblock
			if u, err = DecodeUberblock(p); err == nil {
				found = append(found, Slot{Index: i, Offset: offset, Uberblock: u})
			}
		}
		if err != nil {
			bad++
		}
	}
	return found, bad
}

// member is a device with the labels that were found on it.
type member struct {
	device Device
	labels []Label
	// config is that of the newest label.
	config         *nvlist.List
	guid, poolGUID uint64
	txg            uint64
}

// readMember finds out what a device says it is. Not being a member of an imported or exported pool is an error.
func readMember(ctx context.Context, d Device) (*member, error) {
	all, err := ReadLabels(ctx, d)
	if err != nil {
		return nil, err
	}
	m := &member{device: d, labels: all}
	var problems []error
	for _, l := range all {
		if l.Err != nil {
			problems = append(problems, l.Err)
			continue
		}
		txg, _ := l.Config.Uint64("txg")
		if m.config == nil || txg > m.txg {
			m.config, m.txg = l.Config, txg
		}
	}
	if m.config == nil {
		return nil, fmt.Errorf("%s has no good label: %w", d.Name, errors.Join(problems...))
	}
	m.guid, _ = m.config.Uint64("guid")
	m.poolGUID, _ = m.config.Uint64("pool_guid")
	if m.guid == 0 {
		return nil, fmt.Errorf("%s: %w", d.Name, corrupt("the label has no guid"))
	}
	return m, nil
}
