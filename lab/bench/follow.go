package bench

import (
	"context"

	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/zfs/panics"
)

// Follower watches a guest for those who look at something else than a trial does.
type Follower struct {
	l     *life
	scale machine.Scale
}

// Follow begins at an offset of the console. It ends with ctx.
func Follow(ctx context.Context, vm machine.Machine, from int, scale machine.Scale) *Follower {
	return &Follower{&life{vm: vm, watch: watchConsole(ctx, vm, from)}, scale}
}

// Crash is closed when a message has begun that no workload survives.
func (f *Follower) Crash() <-chan struct{} { return f.l.watch.crash }

// Aftermath waits until what the guest has begun to say is complete, after something has failed. It returns the messages
// and, if the machine has ended, how; died is nil where that was the guest's own doing.
func (f *Follower) Aftermath(ctx context.Context) (events []panics.Event, ended bool, died error) {
	f.l.settle(ctx, f.scale, true)
	if ended = f.l.ended(); ended {
		died = f.l.vm.Wait(ctx)
	}
	return f.l.watch.events(), ended, died
}
