package trial

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/machine"
)

// Kernels keeps what is known of guests' kernels: the types of an image's modules, and where a checkpoint has loaded them.
// Both are the same for all forks.
type Kernels struct {
	// Dir is where parsed debug info is cached.
	Dir string

	mu      sync.Mutex
	types   map[string]*kernel.Types // by ID of the image
	layouts map[string]kernel.Layout // by directory of the checkpoint
}

// Open gives the kernel of a fork. The guest is asked once a checkpoint, so it must run then.
func (k *Kernels) Open(ctx context.Context, img *images.Image, cp *machine.Checkpoint, vm machine.Machine, g *guest.Guest) (*kernel.Kernel, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	types, err := k.typesOf(ctx, img)
	if err != nil {
		return nil, err
	}
	layout, ok := k.layouts[cp.Dir]
	if !ok {
		if layout, err = kernel.ReadLayout(ctx, g); err != nil {
			return nil, err
		}
		if k.layouts == nil {
			k.layouts = map[string]kernel.Layout{}
		}
		k.layouts[cp.Dir] = layout
	}
	return kernel.New(vm, types, layout), nil
}

func (k *Kernels) typesOf(ctx context.Context, img *images.Image) (*kernel.Types, error) {
	if t, ok := k.types[img.ID]; ok {
		return t, nil
	}
	t, err := kernel.LoadTypes(ctx, k.Dir, filepath.Join(img.Modules, "zfs.ko"), filepath.Join(img.Modules, "spl.ko"))
	if err != nil {
		return nil, err
	}
	if k.types == nil {
		k.types = map[string]*kernel.Types{}
	}
	k.types[img.ID] = t
	return t, nil
}
