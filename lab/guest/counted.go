package guest

import (
	"context"
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/vdevil/vdevil/lab/machine"
)

// Listen makes the guest of a machine with a bell, in which the helper is, listen on its line in place of the network, which it has no more then. The machine
// stands at its bell when Listen returns, and so does every fork of a checkpoint that is taken then. This connection has ended.
func (g *Guest) Listen(ctx context.Context) error {
	const command = "setsid %s line </dev/null >/dev/null 2>/run/vdevil-line &"
	if _, err := g.run(ctx, fmt.Sprintf(command, path.Join(helperDir, HelperName())), nil); err != nil {
		return err
	}
	if err := g.Close(); err != nil {
		return err
	}
	bell, ok := g.machine.(machine.Ringer)
	if !ok || !bell.HasBell() {
		return fmt.Errorf("machine %s has no bell", g.machine.ID())
	}
	at, err := g.announced(ctx)
	if err == nil {
		err = bell.Hang(ctx, at)
	}
	if err == nil {
		err = bell.Rung(ctx)
	}
	if err != nil {
		return evidence(g.machine, "wait for the guest to listen", err)
	}
	return nil
}

// announced waits until the guest says where its bell is.
func (g *Guest) announced(ctx context.Context) (bell uint64, err error) {
	text := make([]byte, 0, 1<<16)
	for console, piece := g.machine.Console().Reader(ctx, 0), make([]byte, 4096); ; {
		n, err := console.Read(piece)
		if err != nil {
			return 0, err
		}
		text = append(text, piece[:n]...)
		if at := lineAt.FindSubmatch(text); at != nil {
			return strconv.ParseUint(string(at[2]), 16, 64)
		}
	}
}

// Counted says whether the guest's time goes on only while somebody waits for what it does.
func (g *Guest) Counted() bool { return g.line != nil }

// Stir makes the random numbers of a counted guest's kernel follow from a seed. Those of others differ from fork to fork.
func (g *Guest) Stir(ctx context.Context, seed uint64) error {
	if g.line == nil {
		return nil
	}
	return g.line.tell(ctx, frame{kind: frameStir, data: binary.LittleEndian.AppendUint64(nil, seed)})
}

// Pass lets the time of a counted guest go by.
func (g *Guest) Pass(ctx context.Context, d time.Duration) error {
	_, err := g.Run(ctx, fmt.Sprintf("sleep %.3f", d.Seconds()))
	return err
}

// Branch notes that n go on with a counted guest side by side where one was. Each of them works with a context of its own, see InBranch,
// and calls leave when it is through.
func (g *Guest) Branch(n int) (leave func()) {
	if g.line == nil {
		return func() {}
	}
	return g.line.branch(n)
}

type branchKey struct{}

// InBranch is the context of one of them, by number. What several of them ask for at once is done in this order.
func InBranch(ctx context.Context, number int) context.Context {
	return context.WithValue(ctx, branchKey{}, number)
}

// BranchOf is its number, 0 where there is one alone.
func BranchOf(ctx context.Context) int {
	number, _ := ctx.Value(branchKey{}).(int)
	return number
}

// Free lets a counted guest go on for good, when it is to be looked at and nothing must be the same in a repeat any more.
func (g *Guest) Free(ctx context.Context) {
	if g.line != nil {
		go g.line.free(ctx)
	}
}

// OnTrouble has stay asked when the kernel of a counted guest has printed something grave, while the machine stands: if it is to stay
// there, Stays is closed, and what waits for the guest fails.
func (g *Guest) OnTrouble(stay func(context.Context) bool) {
	if g.line != nil {
		g.line.trouble = stay
	}
}

// Stays is nil for a guest that is not counted.
func (g *Guest) Stays() <-chan struct{} {
	if g.line == nil {
		return nil
	}
	return g.line.stayed
}
