package checkpoint

import (
	"context"
	"errors"
	"path/filepath"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
)

// Kernels keeps what is known of guests' kernels: the types of an image's modules, and where a checkpoint has loaded them.
// Both are the same for all forks. No trial waits for the guest of another one here: it may hang.
type Kernels struct {
	// Dir is where parsed debug info is cached.
	Dir string

	loading singleflight.Group

	mu      sync.Mutex
	types   map[string]*kernel.Types // by ID of the image
	layouts map[string]kernel.Layout // by directory of the checkpoint
	code    map[string]*kernel.Code  // by ID of the image
}

// Open gives the kernel of a fork. The guest must run: it is asked, unless another fork of its checkpoint has answered
// before. Forks that come first, side by side, are each asked, which costs less than to depend on one of them.
func (k *Kernels) Open(ctx context.Context, img *images.Image, cp *machine.Checkpoint, vm machine.Machine, g *guest.Guest) (*kernel.Kernel, error) {
	types, err := k.typesOf(ctx, img)
	if err != nil {
		return nil, err
	}
	layout, err := k.layoutOf(ctx, cp, g)
	if err != nil {
		return nil, err
	}
	return kernel.New(vm, types, layout), nil
}

// Kernel gives the kernel of a fork. A guest that counts its time is not asked itself, as what it does later would be at another time: a
// fork beside it is.
func (c *Cache) Kernel(ctx context.Context, img *images.Image, cp *machine.Checkpoint, vm machine.Machine, g *guest.Guest) (*kernel.Kernel, error) {
	if g.Counted() {
		if _, err := c.layout(ctx, img, cp); err != nil {
			return nil, err
		}
	}
	return c.Kernels.Open(ctx, img, cp, vm, g)
}

// layout asks a fork of its own where the forks of a checkpoint have their modules, unless that is known.
func (c *Cache) layout(ctx context.Context, img *images.Image, cp *machine.Checkpoint) (layout kernel.Layout, err error) {
	if c.Kernels.knows(cp) {
		return c.Kernels.layoutOf(ctx, cp, nil)
	}
	err = c.Beside(ctx, img, cp, func(other *guest.Guest) error {
		layout, err = c.Kernels.layoutOf(ctx, cp, other)
		return err
	})
	return layout, err
}

// Code says where the functions of an image's modules are, and where the forks of a checkpoint have the modules. No fork that somebody
// uses is asked: it may have crashed.
func (c *Cache) Code(ctx context.Context, img *images.Image, cp *machine.Checkpoint) (*kernel.Code, kernel.Layout, error) {
	code, err := c.Kernels.codeOf(img)
	if err != nil {
		return nil, kernel.Layout{}, err
	}
	layout, err := c.layout(ctx, img, cp)
	return code, layout, err
}

// Beside asks the guest of a fork that is thrown away.
func (c *Cache) Beside(ctx context.Context, img *images.Image, cp *machine.Checkpoint, ask func(*guest.Guest) error) (err error) {
	vm, err := c.Driver.Fork(ctx, cp, machine.ForkOptions{For: "questions"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, vm.Close()) }()
	g, err := guest.Connect(ctx, vm, Keys(img))
	if err != nil {
		return err
	}
	defer g.Close()
	return ask(g)
}

func (k *Kernels) knows(cp *machine.Checkpoint) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	_, known := k.layouts[cp.Dir]
	return known
}

func (k *Kernels) layoutOf(ctx context.Context, cp *machine.Checkpoint, g *guest.Guest) (kernel.Layout, error) {
	k.mu.Lock()
	layout, known := k.layouts[cp.Dir]
	k.mu.Unlock()
	if known {
		return layout, nil
	}
	layout, err := kernel.ReadLayout(ctx, g)
	if err != nil {
		return kernel.Layout{}, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.layouts == nil {
		k.layouts = map[string]kernel.Layout{}
	}
	k.layouts[cp.Dir] = layout
	return layout, nil
}

// codeOf reads where the functions of an image's modules are, once, which takes less than a tenth of a second.
func (k *Kernels) codeOf(img *images.Image) (*kernel.Code, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if code := k.code[img.ID]; code != nil {
		return code, nil
	}
	code, err := kernel.ReadCode(modules(img)...)
	if err != nil {
		return nil, err
	}
	if k.code == nil {
		k.code = map[string]*kernel.Code{}
	}
	k.code[img.ID] = code
	return code, nil
}

// modules are the files of those that are looked into.
func modules(img *images.Image) []string {
	return []string{filepath.Join(img.Modules, "zfs.ko"), filepath.Join(img.Modules, "spl.ko")}
}

// typesOf loads the types of an image once. That is work for this computer alone, some seconds of it, which goes on for the
// others when whoever asked first has ended.
func (k *Kernels) typesOf(ctx context.Context, img *images.Image) (*kernel.Types, error) {
	k.mu.Lock()
	types, known := k.types[img.ID]
	k.mu.Unlock()
	if known {
		return types, nil
	}
	loaded := k.loading.DoChan(img.ID, func() (any, error) { return k.load(context.WithoutCancel(ctx), img) })
	select {
	case r := <-loaded:
		if r.Err != nil {
			return nil, r.Err
		}
		return r.Val.(*kernel.Types), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (k *Kernels) load(ctx context.Context, img *images.Image) (*kernel.Types, error) {
	types, err := kernel.LoadTypes(ctx, k.Dir, modules(img)...)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.types == nil {
		k.types = map[string]*kernel.Types{}
	}
	k.types[img.ID] = types
	return types, nil
}
