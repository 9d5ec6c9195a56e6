package lab

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/machine/qemu"
	"github.com/vdevil/vdevil/lab/machine/vm"
)

// Drivers are the words for what may run the guests, the default first.
func Drivers() []string { return []string{"qemu", libvirt.Name} }

// needs are the packages that a driver needs besides those of the lab.
func needs(driver string) []host.Package {
	if driver == libvirt.Name {
		return host.Libvirt()
	}
	return nil
}

// newDriver starts the driver that was asked for.
func newDriver(ctx context.Context, o Options) (*vm.Driver, error) {
	at := vm.Options{Dir: MachinesDir(o.Dirs), Run: o.Dirs.Run, Accel: host.Accel(), Ahead: o.Jobs}
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
	return append(checks, libvirt.Check(ctx, uri, host.Accel(), dir, d.Cache)...), nil
}
