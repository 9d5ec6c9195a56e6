package ondisk

import (
	"context"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

const (
	// oldGangHeader is the size of a gang header that holds three block pointers (SPA_OLD_GANGBLOCKSIZE). With the
	// feature dynamic_gang_header it is as large as the smallest allocation of its vdevs.
	oldGangHeader = 512
	// maxGangDepth bounds nesting: each level has three members at least in a block of at most 2^24 bytes.
	maxGangDepth = 24

	featureGangHeader = "com.klarasystems:dynamic_gang_header"
)

// GangMembers reads the header of a gang block, verified, and gives the block pointers of its parts, in order.
func (p *Pool) GangMembers(ctx context.Context, b BlkPtr) ([]BlkPtr, error) {
	if !b.Gang() {
		return nil, fmt.Errorf("%v is no gang block", b)
	}
	_, members, err := p.gangHeader(ctx, b)
	return members, err
}

// gangHeader reads the header from the first good copy. The verifier is where the first copy lies and when the block was
// written (zio_checksum_gang_verifier).
func (p *Pool) gangHeader(ctx context.Context, b BlkPtr) (header []byte, members []BlkPtr, err error) {
	verifier := checksum.Sum{uint64(b.DVA[0].VDev()), b.DVA[0].Offset(), b.Birth(), 0}
	if err := p.Spend(16); err != nil {
		return nil, nil, fmt.Errorf("read %v: %w", b, err)
	}
	var problems []error
	for i, d := range b.DVAs() {
		header, members, err := p.gangHeaderAt(ctx, b, d, verifier, p.gangHeaderSizes(b))
		if err == nil {
			return header, members, nil
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		problems = append(problems, fmt.Errorf("copy %d of the gang header: %w", i, err))
	}
	return nil, nil, errors.Join(problems...)
}

// gangHeaderSizes are the sizes that a header can have, the likelier one first.
func (p *Pool) gangHeaderSizes(b BlkPtr) []uint64 {
	if p.Features[featureGangHeader] == 0 {
		return []uint64{oldGangHeader}
	}
	size := uint64(1) << maxAShift
	for _, d := range b.DVAs() {
		if v, err := p.top(d.VDev()); err == nil {
			size = min(size, max(uint64(1)<<v.AShift, oldGangHeader))
		}
	}
	if size == oldGangHeader {
		return []uint64{oldGangHeader}
	}
	return []uint64{size, oldGangHeader}
}

func (p *Pool) gangHeaderAt(ctx context.Context, b BlkPtr, d DVA, verifier checksum.Sum, sizes []uint64) ([]byte, []BlkPtr, error) {
	var problems []error
	for _, size := range sizes {
		v, err := p.place(d, 0)
		if err != nil {
			return nil, nil, err
		}
		birth := verifier[2]
		for header, err := range v.attempts(ctx, d.Offset(), size, birth, 0) {
			if err == nil {
				var members []BlkPtr
				if members, err = p.gangMembers(b, header, verifier); err == nil {
					return header, members, nil
				}
			}
			if len(problems) < maxProblems {
				problems = append(problems, err)
			}
		}
	}
	return nil, nil, errors.Join(problems...)
}

func (p *Pool) gangMembers(b BlkPtr, header []byte, verifier checksum.Sum) ([]BlkPtr, error) {
	actual, expected, order, err := embeddedSums(p.hasher, checksum.GangHeader, header, len(header)-eckSize, verifier)
	if err != nil {
		return nil, err
	}
	if b.Crypt() && b.Type() != TypeObjSet {
		actual, expected = withoutMAC(checksum.GangHeader, actual, expected)
	}
	if actual != expected {
		return nil, ErrChecksum
	}
	var members []BlkPtr
	for at := 0; at+BlkPtrSize <= len(header)-eckSize; at += BlkPtrSize {
		if b := decodeBlkPtr(header[at:], order); !b.Hole() {
			members = append(members, b)
		}
	}
	return members, nil
}

// checkMembers says whether the parts can be those of a block of so many bytes.
func checkMembers(members []BlkPtr, size uint64) error {
	var total uint64
	for _, m := range members {
		if m.Embedded() {
			return corrupt("an embedded block is part of a gang block")
		}
		total += m.PSize()
	}
	if total != size {
		return corrupt("the parts of a gang block have %d bytes instead of %d", total, size)
	}
	return nil
}

func (p *Pool) readGang(ctx context.Context, b BlkPtr, depth int) ([]byte, error) {
	if depth > maxGangDepth || b.PSize() > maxBlockSize {
		return nil, corrupt("gang blocks nested deeper than %d, or %d bytes long", maxGangDepth, b.PSize())
	}
	_, members, err := p.gangHeader(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := checkMembers(members, b.PSize()); err != nil {
		return nil, err
	}
	data := make([]byte, 0, b.PSize())
	for _, m := range members {
		var part []byte
		if m.Gang() {
			part, err = p.readGang(ctx, m, depth+1)
		} else {
			var block Block
			block, err = p.ReadRaw(ctx, m)
			part = block.Data
		}
		if err != nil {
			return nil, fmt.Errorf("part of a gang block: %w", err)
		}
		data = append(data, part...)
	}
	return data, nil
}

// checkGang checks the header's copies and, below it, those of the parts.
func (p *Pool) checkGang(ctx context.Context, b BlkPtr, depth int) ([]Copy, error) {
	if depth > maxGangDepth {
		return nil, corrupt("gang blocks nested deeper than %d", maxGangDepth)
	}
	header, members, err := p.gangHeader(ctx, b)
	if err != nil {
		return nil, err
	}
	if err := checkMembers(members, b.PSize()); err != nil {
		return nil, err
	}
	all, err := p.compareCopies(ctx, b, header, len(header))
	if err != nil {
		return nil, err
	}
	for _, m := range members {
		var below []Copy
		if m.Gang() {
			below, err = p.checkGang(ctx, m, depth+1)
		} else {
			below, err = p.Check(ctx, m)
		}
		if err != nil {
			return nil, err
		}
		for i, c := range below {
			if i < len(all) {
				all[i].Damage = append(all[i].Damage, c.Damage...)
			}
		}
	}
	return all, nil
}
