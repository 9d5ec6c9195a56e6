package vm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// A timer of the guest's HPET that Linux leaves alone stops the machine at an instant: it raises a non-maskable interrupt, at whose entry
// there is a trigger. Nothing but a timer of the guest's time can, for QEMU counts what the CPU executes up to the next of them and no
// further. Nothing is changed of what the guest has executed until then. (IA-PC HPET Specification 1.0a, 2.3; 82093AA, 3.2.4.)
const (
	// The HPET of every q35, which Linux starts early, counts ticks of the guest's time.
	hpetCounter = 0xfed000f0
	hpetTick    = 10 * time.Nanosecond

	hpetTimer = 0xfed00000 + 0x100 + 2*0x20 // the third; Linux uses the first two at most where the CPU has a timer of its own
	// Of a timer's configuration: whether it interrupts, and by which pin of the I/O APIC; whether it repeats, the comparator is set next,
	// and not only the time to the one after; whether it is short. Which pins it can have is in the upper half.
	hpetInterrupts, hpetRepeats, hpetSet, hpetShort, hpetPin, hpetPins = 1 << 2, 1 << 3, 1 << 6, 1 << 8, 9, 4

	hpetComparator = 8

	ioapicIndex = 0xfec00000
	ioapicData  = ioapicIndex + 0x10
	// Of a pin: two registers from ioapicPins on. One that is masked is nobody's.
	ioapicPins, ioapicMasked, ioapicNMI = 0x10, 1 << 16, 4 << 8
)

// SetAlarm has a machine that stands at its bell interrupted at an instant to come of the guest's time.
func (m *vm) SetAlarm(ctx context.Context, at time.Duration) error { return m.setTimer(ctx, at, 0) }

// SetTicks gives it a timer that comes at an instant and again and again, and interrupts nobody.
func (m *vm) SetTicks(ctx context.Context, from, every time.Duration) error {
	return m.setTimer(ctx, from, every)
}

func (m *vm) setTimer(ctx context.Context, at, every time.Duration) error {
	b := m.hung()
	if b == nil || !b.standing() {
		return fmt.Errorf("machine %s does not stand at a bell", m.ID())
	}
	if now, _, _ := m.Elapsed(ctx); at <= now {
		return fmt.Errorf("the guest is at %.8f s already, and %.8f s is over", now.Seconds(), at.Seconds())
	}
	if err := b.setTimer(ctx, uint64(at/hpetTick), uint64(every/hpetTick)); err != nil {
		return m.explain("set a timer of the guest's", err)
	}
	return nil
}

func (b *bell) setTimer(ctx context.Context, at, every uint64) error {
	config, err := b.register(ctx, hpetTimer)
	if err != nil {
		return err
	}
	if config&hpetInterrupts != 0 {
		return errors.New("the guest uses this timer of its HPET itself")
	}
	pins, err := b.register(ctx, hpetTimer+hpetPins)
	if err != nil {
		return err
	}
	pin, err := b.freePin(ctx, pins)
	if err != nil {
		return err
	}
	config = config&^(hpetShort|hpetRepeats|31<<hpetPin) | pin<<hpetPin
	type write struct{ addr, value uint64 }
	writes := []write{
		{ioapicIndex, ioapicPins + 2*pin + 1}, {ioapicData, 0}, // to the first CPU
		{ioapicIndex, ioapicPins + 2*pin}, {ioapicData, ioapicNMI},
		{hpetTimer + hpetComparator, at & (1<<32 - 1)},
		{hpetTimer + hpetComparator + 4, at >> 32},
	}
	if every > 0 { // the pin stays masked
		config |= hpetRepeats
		writes = []write{
			{hpetTimer, config | hpetSet}, {hpetTimer + hpetComparator, at & (1<<32 - 1)},
			{hpetTimer, config | hpetSet}, {hpetTimer + hpetComparator + 4, at >> 32},
			{hpetTimer + hpetComparator, every}, {hpetTimer + hpetComparator + 4, 0},
		}
	}
	for _, w := range append(writes, write{hpetTimer, config | hpetInterrupts}) {
		if err := b.setRegister(ctx, w.addr, w.value); err != nil {
			return err
		}
	}
	return nil
}

// freePin is a pin of the I/O APIC that is one of a set and has no user.
func (b *bell) freePin(ctx context.Context, pins uint64) (uint64, error) {
	for pin := uint64(23); pin >= 16; pin-- { // those that no device of a PC has for its own
		if pins>>pin&1 == 0 {
			continue
		}
		if err := b.setRegister(ctx, ioapicIndex, ioapicPins+2*pin); err != nil {
			return 0, err
		}
		entry, err := b.register(ctx, ioapicData)
		if err != nil {
			return 0, err
		}
		if entry&ioapicMasked != 0 {
			return pin, nil
		}
	}
	return 0, errors.New("each pin of the I/O APIC that the HPET can have is in use")
}

// register reads 32 bits of a device.
func (b *bell) register(ctx context.Context, addr uint64) (uint64, error) {
	var p [4]byte
	err := b.client.ReadPhys(ctx, addr, p[:])
	return uint64(binary.LittleEndian.Uint32(p[:])), err
}

func (b *bell) setRegister(ctx context.Context, addr, value uint64) error {
	return b.client.WritePhys(ctx, addr, binary.LittleEndian.AppendUint32(nil, uint32(value)))
}
