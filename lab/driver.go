package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/machine/qemu"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// Drivers are the words for what may run the guests, the default first.
func Drivers() []string { return []string{"qemu", libvirt.Name} }

// Accel is what runs the guests of this computer: KVM where it can be used, and otherwise TCG.
func Accel() machine.Accel {
	if host.KVM() == nil {
		return machine.KVM
	}
	return machine.TCG
}

// needs are the packages that a driver needs besides those of the lab.
func needs(driver string) []host.Package {
	if driver == libvirt.Name {
		return host.Libvirt()
	}
	return nil
}

// newDriver starts the driver that was asked for.
func newDriver(ctx context.Context, o Options) (*vm.Driver, error) {
	at := vm.Options{Dir: MachinesDir(o.Dirs), Run: o.Dirs.Run, Accel: Accel(), Ahead: o.Jobs}
	switch o.Driver {
	case "", "qemu":
		return qemu.New(ctx, at)
	case libvirt.Name:
		uri, err := libvirt.ParseURI(cmp.Or(o.Connect, libvirt.System))
		if err != nil {
			return nil, err
		}
		if at.Dir, err = storage(uri, o.Dirs); err != nil {
			return nil, err
		}
		if err := remember(o.Dirs, at.Dir); err != nil {
			return nil, err
		}
		return libvirt.New(ctx, uri, at)
	}
	return nil, fmt.Errorf("no driver %q is known, only %s", o.Driver, strings.Join(Drivers(), " and "))
}

// storage is where libvirt's machines lie.
func storage(uri libvirt.URI, d host.Dirs) (string, error) {
	if !uri.Session() && os.Getuid() == 0 {
		return libvirt.Storage()
	}
	return MachinesDir(d), nil
}

// storagesFile lists the directories of libvirt's machines that labs have used, a line each: an environment that names
// another one is forgotten, and what a killed lab left there must be found all the same.
func storagesFile(d host.Dirs) string { return filepath.Join(d.State, "libvirt-storages") }

func storages(d host.Dirs) ([]string, error) {
	text, err := os.ReadFile(storagesFile(d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return slices.DeleteFunc(strings.Split(string(text), "\n"), func(line string) bool { return line == "" }), err
}

// remember notes a directory of libvirt's machines before there is anything in it.
func remember(d host.Dirs, dir string) error {
	known, err := storages(d)
	if err != nil || dir == MachinesDir(d) || slices.Contains(known, dir) {
		return err
	}
	if err := os.MkdirAll(d.State, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(storagesFile(d), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(dir + "\n")
	return errors.Join(err, f.Close())
}

// Doctor examines this computer for a driver, and for libvirt's the URI to connect to.
func Doctor(ctx context.Context, d host.Dirs, driver, connect string) ([]host.Check, error) {
	checks := host.Doctor(ctx, d, needs(driver)...)
	if driver != libvirt.Name {
		return checks, nil
	}
	uri, err := libvirt.ParseURI(cmp.Or(connect, libvirt.System))
	if err != nil {
		return nil, err
	}
	dir, err := storage(uri, d)
	if err != nil {
		return nil, err
	}
	return append(checks, libvirt.Check(ctx, uri, Accel(), dir, d.Cache)...), nil
}
