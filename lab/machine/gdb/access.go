package gdb

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/vdevil/vdevil/lab/machine"
)

// registersSize is the size of machine.Registers at the beginning of a g or G packet of an x86-64 stub
// (gdb-xml/i386-64bit.xml), in whatever mode the CPU is; the fields stand in the same order.
const registersSize = 17 * 8

// Registers are those of a CPU, 0 being the first.
func (c *Client) Registers(ctx context.Context, cpu int) (machine.Registers, error) {
	if err := c.begin(ctx); err != nil {
		return machine.Registers{}, err
	}
	defer c.end()
	return c.registers(ctx, cpu)
}

func (c *Client) registers(ctx context.Context, cpu int) (r machine.Registers, err error) {
	if err := c.selectCPU(ctx, cpu); err != nil {
		return r, err
	}
	answer, err := c.ask(ctx, "g")
	if err != nil {
		return r, fmt.Errorf("reading the registers of CPU %d: %w", cpu, err)
	}
	if len(answer) < 2*registersSize {
		return r, fmt.Errorf("reading the registers of CPU %d: %d digits are not those of an x86-64", cpu, len(answer))
	}
	raw, err := hex.DecodeString(answer[:2*registersSize])
	if err != nil {
		return r, fmt.Errorf("reading the registers of CPU %d: %w", cpu, err)
	}
	_, err = binary.Decode(raw, binary.LittleEndian, &r)
	return r, err
}

// SetRegisters writes the registers of a CPU, 0 being the first. All others (flags, segments, vectors) stay.
func (c *Client) SetRegisters(ctx context.Context, cpu int, r machine.Registers) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	if err := c.selectCPU(ctx, cpu); err != nil {
		return err
	}
	raw, err := binary.Append(nil, binary.LittleEndian, r)
	if err != nil {
		return err
	}
	// The stub writes as many registers as the packet has. P, for single ones, it only knows after a client has asked
	// for a description of the CPU in XML.
	if err := c.order(ctx, "G"+hex.EncodeToString(raw)); err != nil {
		return fmt.Errorf("writing the registers of CPU %d: %w", cpu, err)
	}
	return nil
}

// ReadVirt fills p from a virtual address, through the page tables of a CPU. An address that is not mapped is an *Error
// with code E14.
func (c *Client) ReadVirt(ctx context.Context, cpu int, addr uint64, p []byte) error {
	return c.memory(ctx, cpu, addr, p, c.read1)
}

// WriteVirt writes p at a virtual address, through the page tables of a CPU and whatever they say about writing. Code is
// as good a target as data. On error a part may have been written.
func (c *Client) WriteVirt(ctx context.Context, cpu int, addr uint64, p []byte) error {
	return c.memory(ctx, cpu, addr, p, c.write1)
}

// ReadPhys and WritePhys do the same at a physical address, with registers of devices, too: each access that a packet has room for is one.
func (c *Client) ReadPhys(ctx context.Context, addr uint64, p []byte) error {
	return c.memory(ctx, 0, addr, p, c.physical(c.read1))
}

// WritePhys writes.
func (c *Client) WritePhys(ctx context.Context, addr uint64, p []byte) error {
	return c.memory(ctx, 0, addr, p, c.physical(c.write1))
}

// physical has one transfer go past the page tables, by an extension of QEMU's.
func (c *Client) physical(transfer func(context.Context, uint64, []byte) error) func(context.Context, uint64, []byte) error {
	return func(ctx context.Context, addr uint64, p []byte) error {
		if err := c.order(ctx, "Qqemu.PhyMemMode:1"); err != nil {
			return err
		}
		err := transfer(ctx, addr, p)
		return errors.Join(err, c.order(ctx, "Qqemu.PhyMemMode:0"))
	}
}

// memory transfers p in pieces that fit into packets, in both directions.
func (c *Client) memory(ctx context.Context, cpu int, addr uint64, p []byte, transfer func(context.Context, uint64, []byte) error) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.end()
	if err := c.selectCPU(ctx, cpu); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(len(p), (c.size-len("$M0123456789abcdef,01234567:#00"))/2) // two digits a byte
		if err := transfer(ctx, addr, p[:n]); err != nil {
			return err
		}
		addr, p = addr+uint64(n), p[n:]
	}
	return nil
}

func (c *Client) read1(ctx context.Context, addr uint64, p []byte) error {
	answer, err := c.ask(ctx, fmt.Sprintf("m%x,%x", addr, len(p)))
	if err == nil && len(answer) != 2*len(p) {
		err = fmt.Errorf("%d digits", len(answer))
	}
	if err == nil {
		_, err = hex.Decode(p, []byte(answer))
	}
	if err != nil {
		return fmt.Errorf("reading %d bytes at %#x: %w", len(p), addr, err)
	}
	return nil
}

func (c *Client) write1(ctx context.Context, addr uint64, p []byte) error {
	if err := c.order(ctx, fmt.Sprintf("M%x,%x:%x", addr, len(p), p)); err != nil {
		return fmt.Errorf("writing %d bytes at %#x: %w", len(p), addr, err)
	}
	return nil
}

// selectCPU makes a CPU the one that registers and memory are asked of.
func (c *Client) selectCPU(ctx context.Context, cpu int) error {
	if cpu < 0 || cpu >= len(c.threads) {
		return fmt.Errorf("no CPU %d, the machine has %d", cpu, len(c.threads))
	}
	if err := c.order(ctx, "Hg"+c.threads[cpu]); err != nil {
		return fmt.Errorf("selecting CPU %d: %w", cpu, err)
	}
	return nil
}
