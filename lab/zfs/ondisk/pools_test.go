package ondisk_test

import (
	"testing"

	"github.com/vdevil/vdevil/lab/zfs/ondisk"
	"github.com/vdevil/vdevil/lab/zfs/ondisk/ondisktest"
)

func poolDir(t testing.TB, name string) string { return ondisktest.Dir(t, "", name) }

func images(t testing.TB, dir string) []ondisk.Device { return ondisktest.Images(t, dir) }

func openPool(t testing.TB, dir, name string) *ondisk.Pool { return ondisktest.Open(t, dir, name) }
