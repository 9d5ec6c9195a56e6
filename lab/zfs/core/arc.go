package core

import (
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/kernel"
)

// header is an arc_buf_hdr_t.
type header struct {
	value kernel.Value
	// state is "anon" for data that is not on disk yet, else "mru", "mfu" or what other list it is on.
	state    string
	metadata bool
	l1       bool // there is something in memory, not only on a cache device
}

// arcStates are the names of the lists by address. A version that lacks a state has nothing on it.
func (z *ZFS) arcStates() map[uint64]string {
	states := map[uint64]string{}
	for _, name := range []string{"anon", "mru", "mru_ghost", "mfu", "mfu_ghost", "l2c_only", "uncached"} {
		if v := z.view.Var("ARC_" + name); v.Err() == nil {
			states[v.Addr()] = name
		}
	}
	return states
}

// flag is an enumerator that all versions have.
func (z *ZFS) flag(name string) (uint64, error) {
	value, ok := z.types.Const(name)
	if !ok {
		return 0, fmt.Errorf("enumerator %s: %w", name, kernel.ErrUnknown)
	}
	return uint64(value), nil
}

// headers are those of the ARC: of blocks on disk through buf_hash_table (module/zfs/arc.c), of new data through the
// buffers that it is written from. Data that only an I/O in flight knows of is not among them.
func (z *ZFS) headers(arcBufs []uint64) ([]header, error) {
	t, err := z.typed("arc_buf_hdr_t")
	if err != nil {
		return nil, err
	}
	var out []header
	states, seen := z.arcStates(), map[uint64]bool{}
	add := func(v kernel.Value) error {
		h, err := z.newHeader(v, states)
		out = append(out, h)
		return err
	}
	table := z.view.Var("buf_hash_table")
	mask, err := table.Field("ht_mask").Uint()
	if err != nil {
		return nil, err
	}
	err = z.hashTable(table.Field("ht_table"), mask, func(_ int, first uint64) error {
		return z.chain(t, first, "b_hash_next", seen, add)
	})
	if err != nil {
		return nil, fmt.Errorf("list the ARC: %w", err)
	}
	buf, err := z.typed("arc_buf_t")
	if err != nil {
		return nil, err
	}
	for _, addr := range arcBufs {
		hdr, err := z.view.At(buf, addr, "").Field("b_hdr").Uint()
		if err != nil {
			return nil, fmt.Errorf("header of arc_buf_t@%#x: %w", addr, err)
		}
		if hdr == 0 || seen[hdr] { // without a header it is just being freed
			continue
		}
		seen[hdr] = true
		if err := add(z.view.At(t, hdr, fmt.Sprintf("arc_buf_hdr_t@%#x", hdr))); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (z *ZFS) newHeader(v kernel.Value, states map[uint64]string) (header, error) {
	h := header{value: v}
	hasL1, err := z.flag("ARC_FLAG_HAS_L1HDR")
	if err != nil {
		return h, err
	}
	metadata, err := z.flag("ARC_FLAG_BUFC_METADATA")
	if err != nil {
		return h, err
	}
	flags, err := v.Field("b_flags").Uint()
	if err != nil {
		return h, err
	}
	h.l1, h.metadata, h.state = flags&hasL1 != 0, flags&metadata != 0, "l2c_only"
	if !h.l1 {
		return h, nil
	}
	state, err := v.Field("b_l1hdr").Field("b_state").Uint()
	if err != nil {
		return h, err
	}
	var ok bool
	if h.state, ok = states[state]; !ok {
		return h, fmt.Errorf("%s: no state of the ARC is at %#x", v.Path(), state)
	}
	return h, nil
}

// bufData is what the buffers of a header have, in the form in which a block is used, named by their arc_buf_t.
func (z *ZFS) bufData(h header) ([]kernel.Value, error) {
	const most, sector = 1024, 512
	var n numbers
	lsize, psize := n.uint(h.value.Field("b_lsize"))*sector, n.uint(h.value.Field("b_psize"))*sector
	compressed, err := z.flag("ARC_BUF_FLAG_COMPRESSED")
	if err != nil {
		return nil, err
	}
	bytes, err := z.typed("uint8_t")
	if err != nil {
		return nil, err
	}
	var out []kernel.Value
	for p := h.value.Field("b_l1hdr").Field("b_buf"); n.err == nil; p = p.Field("b_next") {
		addr := n.uint(p)
		if addr == 0 || n.err != nil {
			break
		}
		if len(out) > most {
			return nil, fmt.Errorf("%s has more than %d buffers", h.value.Path(), most)
		}
		size := lsize
		if n.uint(p.Field("b_flags"))&compressed != 0 {
			size = psize
		}
		if data := n.uint(p.Field("b_data")); data != 0 {
			out = append(out, z.view.At(z.types.ArrayOf(bytes, int(size)), data, fmt.Sprintf("arc_buf_t@%#x.data", addr)))
		}
	}
	return out, n.err
}

// chunks are the runs of contiguous memory that an abd_t consists of (module/os/linux/zfs/abd_os.c).
func (z *ZFS) chunks(abd kernel.Value) ([]kernel.Value, error) {
	const most = 16<<20 + 4096
	var n numbers
	flags, size := n.uint(abd.Field("abd_flags")), n.uint(abd.Field("abd_size"))
	if n.err != nil {
		return nil, n.err
	}
	linear, err := z.flag("ABD_FLAG_LINEAR")
	if err != nil {
		return nil, err
	}
	gang, err := z.flag("ABD_FLAG_GANG")
	if err != nil {
		return nil, err
	}
	bytes, err := z.typed("uint8_t")
	if err != nil {
		return nil, err
	}
	var out []kernel.Value
	add := func(addr uint64, size int) {
		out = append(out, z.view.At(z.types.ArrayOf(bytes, size), addr, fmt.Sprintf("%s.chunk[%d]", abd.Path(), len(out))))
	}
	u := abd.Field("abd_u")
	switch {
	case size == 0 || size > most:
		return nil, fmt.Errorf("%s has %d bytes", abd.Path(), size)
	case flags&gang != 0:
		return nil, fmt.Errorf("%s is a gang of other ones", abd.Path())
	case flags&linear != 0:
		addr := n.uint(u.Field("abd_linear").Field("abd_buf"))
		add(addr, int(size))
		return out, n.err
	}
	scatter := u.Field("abd_scatter")
	skip, entries := n.uint(scatter.Field("abd_offset")), n.uint(scatter.Field("abd_nents"))
	sg := n.uint(scatter.Field("abd_sgl"))
	if n.err != nil {
		return nil, n.err
	}
	return out, z.scatter(abd, sg, int(entries), skip, size, add)
}

// Bits of page_link in a struct scatterlist (include/linux/scatterlist.h of Linux).
const (
	sgChain = 1
	sgEnd   = 2
	sgBits  = sgChain | sgEnd
)

// scatter walks a scatterlist, leaving out skip bytes at the beginning.
func (z *ZFS) scatter(abd kernel.Value, addr uint64, entries int, skip, size uint64, add func(uint64, int)) error {
	t, err := z.typed("struct scatterlist")
	if err != nil {
		return err
	}
	const most = 1 << 16 // pages of the largest block, and as many links again
	for i, steps := 0, 0; i < entries && size > 0; steps++ {
		if steps > most {
			return fmt.Errorf("%s: its scatterlist has no end", abd.Path())
		}
		sg := z.view.At(t, addr, abd.Path())
		var n numbers
		link, offset, length := n.uint(sg.Field("page_link")), n.uint(sg.Field("offset")), n.uint(sg.Field("length"))
		if n.err != nil {
			return n.err
		}
		if link&sgChain != 0 {
			addr = link &^ sgBits
			continue
		}
		i++
		if skip >= length {
			skip -= length
		} else {
			page, err := z.view.PageAddr(link &^ sgBits)
			if err != nil {
				return fmt.Errorf("%s: %w", abd.Path(), err)
			}
			run := min(length-skip, size)
			add(page+offset+skip, int(run))
			skip, size = 0, size-run
		}
		addr += uint64(t.Size())
	}
	if size > 0 {
		return fmt.Errorf("%s: its scatterlist ends %d bytes early", abd.Path(), size)
	}
	return nil
}

func (z *ZFS) chunkItems(from place) (items, error) {
	values, err := z.chunks(from.Value)
	return valueItems("chunk", from, values), err
}

// hdrChunks are the chunks of a header's copy of what is on disk, none if there is no such copy.
func (z *ZFS) hdrChunks(h kernel.Value) ([]kernel.Value, error) {
	p := h.Field("b_l1hdr").Field("b_pabd")
	if null, err := p.IsNull(); err != nil || null {
		return nil, err
	}
	return z.chunks(p.Deref().Rename(h.Path()))
}

func (z *ZFS) hdrChunkItems(from place) (items, error) {
	h, err := z.newHeader(from.Value, z.arcStates())
	if err == nil && !h.l1 {
		err = errors.New("the block is not in memory")
	}
	if err != nil {
		return items{}, err
	}
	values, err := z.hdrChunks(from.Value)
	return valueItems("chunk", from, values), err
}

// arcBufData is arc_buf_t.data.
func (z *ZFS) arcBufData(from place) (place, error) {
	h, err := z.newHeader(from.Field("b_hdr").Deref(), z.arcStates())
	if err != nil {
		return from, err
	}
	data, err := from.Field("b_data").Uint()
	if err != nil {
		return from, err
	}
	bufs, err := z.bufData(h)
	if err != nil {
		return from, err
	}
	for _, v := range bufs {
		if v.Addr() == data {
			return place{Value: v.Rename(from.Path() + ".data")}, nil
		}
	}
	return from, absent("%s has no data", from.Path())
}
