package ondisk

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/vdevil/vdevil/lab/zfs/ondisk/checksum"
)

// ZILHeader is the head of the intent log of an object set (zil_header_t in include/sys/zil.h).
type ZILHeader struct {
	// ClaimTXG is the txg in which the log's blocks were claimed after a crash, 0 if they were not.
	ClaimTXG  uint64
	ReplaySeq uint64
	// Log points at the first block of the chain, a hole if there is none.
	Log         BlkPtr
	ClaimBlkSeq uint64
	Flags       uint64
	ClaimLRSeq  uint64
}

const (
	zilHeaderSize      = 192
	zilChainSize       = 184 // zil_chain_t: pad, next block, bytes used, checksum
	zilChainNext       = 8
	zilChainUsed       = 136
	zilChainEck        = 144
	zilMinBlock        = 4096
	zilClaimLRSeqValid = 2
	zilSeq             = 3 // word of a block's checksum that is its sequence number
)

func decodeZILHeader(p []byte, order binary.ByteOrder) ZILHeader {
	word := func(i int) uint64 { return order.Uint64(p[8*i:]) }
	const after = 2 + BlkPtrSize/8
	return ZILHeader{
		ClaimTXG: word(0), ReplaySeq: word(1), Log: decodeBlkPtr(p[16:], order), ClaimBlkSeq: word(after),
		Flags: word(after + 1), ClaimLRSeq: word(after + 2),
	}
}

// logSums are the sums of a block that carries its checksum at the front and is only written as far as it is used.
func (p *Pool) logSums(data []byte, verifier checksum.Sum) (actual, expected checksum.Sum, order binary.ByteOrder, err error) {
	if len(data) < zilChainSize {
		return actual, expected, nil, corrupt("a log block of %d bytes", len(data))
	}
	if order = magicOrder(data[zilChainEck:]); order == nil {
		return actual, expected, nil, ErrChecksum
	}
	used := order.Uint64(data[zilChainUsed:])
	if used > uint64(len(data)) {
		return actual, expected, nil, ErrChecksum
	}
	used = (used + zilMinBlock - 1) &^ (zilMinBlock - 1)
	if used < zilChainSize || used > uint64(len(data)) {
		return actual, expected, nil, ErrChecksum
	}
	return embeddedSums(p.hasher, checksum.ZILog2, data[:used], zilChainEck, verifier)
}

// Types of log records that name blocks (include/sys/zil.h).
const (
	TXWrite      = 9
	TXCloneRange = 24
)

// ZILBlock is a block of a chain.
type ZILBlock struct {
	// Seq is 1 for the first block of a chain, and so on.
	Seq uint64
	Ptr BlkPtr
	// Records are nil when Err says why the block is not part of the log: it was never written, and the chain ends here,
	// or it is damaged, which looks the same.
	Records []ZILRecord
	Err     error
}

// ZILRecord is a record of a log (lr_t and what follows it).
type ZILRecord struct {
	TXType, TXG, Seq uint64
	// Body is what follows the common part; in encrypted datasets much of it is ciphertext.
	Body []byte
	// Object is the object written to, Offset and Length say where, for records of writes and clones.
	Object, Offset, Length uint64
	// Blocks are the blocks that the record refers to: of data that was written beside the log, or was cloned.
	Blocks []BlkPtr
}

// maxZILBlocks bounds a chain whose sequence numbers are forged.
const maxZILBlocks = 1 << 20

// ZILBlocks walks the chain of an intent log as zil_parse does. The block that ends it is yielded with its error.
func (o *ObjSet) ZILBlocks(ctx context.Context) iter.Seq[ZILBlock] {
	return func(yield func(ZILBlock) bool) {
		h := o.ZIL
		claimed := h.ClaimTXG != 0
		b := h.Log
		for n := 0; !b.Hole() && n < maxZILBlocks; n++ {
			z := ZILBlock{Seq: b.Cksum[zilSeq], Ptr: b}
			if claimed && z.Seq > h.ClaimBlkSeq {
				return
			}
			var next BlkPtr
			z.Records, next, z.Err = o.zilBlock(ctx, b)
			if !yield(z) || z.Err != nil || claimed && z.Seq == h.ClaimBlkSeq && h.Flags&zilClaimLRSeqValid != 0 {
				return
			}
			b = next
		}
	}
}

func (o *ObjSet) zilBlock(ctx context.Context, b BlkPtr) ([]ZILRecord, BlkPtr, error) {
	if b.Embedded() || b.Type() != TypeIntentLog || b.Level() != 0 {
		return nil, BlkPtr{}, corrupt("%v as block of an intent log", b)
	}
	block, err := o.pool.Read(ctx, b)
	if err != nil {
		return nil, BlkPtr{}, err
	}
	return decodeZILBlock(b, block)
}

func decodeZILBlock(b BlkPtr, block Block) ([]ZILRecord, BlkPtr, error) {
	p, order := block.Data, block.Order
	if len(p) < zilChainSize {
		return nil, BlkPtr{}, corrupt("a log block of %d bytes", len(p))
	}
	var chain, records []byte
	switch checksum.Algorithm(b.Checksum()) {
	case checksum.ZILog2:
		chain = p[:zilChainSize]
		used := order.Uint64(chain[zilChainUsed:])
		if used < zilChainSize || used > uint64(len(p)) {
			return nil, BlkPtr{}, corrupt("a log block with %d bytes used", used)
		}
		records = p[zilChainSize:used]
	case checksum.ZILog:
		chain = p[len(p)-zilChainSize:]
		used := order.Uint64(chain[zilChainUsed:])
		if used > uint64(len(p)-zilChainSize) {
			return nil, BlkPtr{}, corrupt("a log block with %d bytes used", used)
		}
		records = p[:used]
	default:
		return nil, BlkPtr{}, corrupt("a log block with checksum %d", b.Checksum())
	}
	next := decodeBlkPtr(chain[zilChainNext:], order)
	want := b.Cksum
	want[zilSeq]++
	if next.Cksum != want {
		return nil, BlkPtr{}, fmt.Errorf("%w: the next block does not follow this one", ErrChecksum)
	}
	all, err := decodeZILRecords(records, order)
	return all, next, err
}

// decodeZILRecords reads the records of one block.
func decodeZILRecords(p []byte, order binary.ByteOrder) ([]ZILRecord, error) {
	const common, outOfOrder = 32, 1 << 63
	var all []ZILRecord
	for len(p) > 0 {
		if len(p) < common {
			return nil, corrupt("%d bytes are no log record", len(p))
		}
		size := order.Uint64(p[8:])
		if size < common || size > uint64(len(p)) {
			return nil, corrupt("a log record of %d bytes in %d", size, len(p))
		}
		r := ZILRecord{TXType: order.Uint64(p) &^ outOfOrder, TXG: order.Uint64(p[16:]), Seq: order.Uint64(p[24:]), Body: p[common:size]}
		if err := r.decode(order); err != nil {
			return nil, err
		}
		all = append(all, r)
		p = p[size:]
	}
	return all, nil
}

var errShortRecord = errors.New("a log record that is too short")

func (r *ZILRecord) decode(order binary.ByteOrder) error {
	word := func(i int) uint64 { return order.Uint64(r.Body[8*i:]) }
	switch r.TXType {
	case TXWrite:
		const ptr, size = 32, 32 + BlkPtrSize
		if len(r.Body) < size {
			return corrupt("%w", errShortRecord)
		}
		r.Object, r.Offset, r.Length = word(0), word(1), word(2)
		if b := decodeBlkPtr(r.Body[ptr:], order); !b.Hole() {
			r.Blocks = []BlkPtr{b}
		}
	case TXCloneRange:
		const ptrs = 40
		if len(r.Body) < ptrs || word(4) > uint64(len(r.Body)-ptrs)/BlkPtrSize {
			return corrupt("%w", errShortRecord)
		}
		r.Object, r.Offset, r.Length = word(0), word(1), word(2)
		for i := range int(word(4)) {
			if b := decodeBlkPtr(r.Body[ptrs+i*BlkPtrSize:], order); !b.Hole() {
				r.Blocks = append(r.Blocks, b)
			}
		}
	}
	return nil
}
