package libvirt_test

import (
	"slices"
	"testing"
	"time"

	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/machine/libvirt/libvirttest"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// rounds is how often each way of starting is measured. The drivers take turns: what else the computer does hits both.
const rounds = 25

// BenchmarkFork compares, in one run, how long it takes from the request to a machine whose CPUs run: with a QEMU child
// and through libvirt, from nothing and restored ahead, as trials have them. Times are medians. From nothing libvirt needs
// somewhat more than twice as long as a child, most of the difference for cgroups.
//
//	go test -run '^$' -bench Fork -benchtime 1x ./lab/machine/libvirt
func BenchmarkFork(b *testing.B) {
	child := labtest.Open(b)
	daemon := labtest.OpenDriver(b, libvirt.Name, libvirttest.Start(b).URI)
	for b.Loop() {
		fork := compare(b, child, daemon, 0)
		ahead := compare(b, child, daemon, 1)
		b.ReportMetric(fork[0].Seconds()*1000, "child-ms")
		b.ReportMetric(fork[1].Seconds()*1000, "libvirt-ms")
		b.ReportMetric(fork[1].Seconds()/fork[0].Seconds(), "libvirt/child")
		b.ReportMetric(ahead[0].Seconds()*1000, "child-ahead-ms")
		b.ReportMetric(ahead[1].Seconds()*1000, "libvirt-ahead-ms")
		b.ReportMetric(ahead[1].Seconds()/ahead[0].Seconds(), "ahead-libvirt/child")
	}
	b.ReportMetric(0, "ns/op") // of all together, it says nothing
}

func compare(b *testing.B, one, other *lab.Lab, next int) (medians [2]time.Duration) {
	var times [2][]time.Duration
	for i := range rounds + 1 {
		for j, l := range []*lab.Lab{one, other} {
			_, cp := labtest.Booted(b, l)
			took := measure(b, l.Driver().(*vm.Driver), cp, next)
			if i > 0 { // the first has nothing to take
				times[j] = append(times[j], took)
			}
		}
	}
	for j := range times {
		slices.Sort(times[j])
		medians[j] = times[j][rounds/2]
	}
	return medians
}

func measure(b *testing.B, d *vm.Driver, cp *machine.Checkpoint, next int) time.Duration {
	start := time.Now()
	m, err := d.Fork(b.Context(), cp, machine.ForkOptions{Next: next})
	took := time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
	d.Settle() // what is restored ahead is not to disturb the next measurement
	if err := m.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}
