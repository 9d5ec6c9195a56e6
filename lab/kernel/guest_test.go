package kernel_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/kernel"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
)

// limit is for a guest to do something small, on a host that is busy with other tests.
const limit = 2 * time.Minute

func modules(img *images.Image) []string {
	return []string{filepath.Join(img.Modules, "zfs.ko"), filepath.Join(img.Modules, "spl.ko")}
}

func load(t testing.TB, img *images.Image) *kernel.Types {
	t.Helper()
	types, err := kernel.LoadTypes(t.Context(), filepath.Join(hosttest.Dirs(t).Cache, "types"), modules(img)...)
	if err != nil {
		t.Fatal(err)
	}
	return types
}

func named(t *testing.T, types *kernel.Types, names ...string) kernel.Type {
	t.Helper()
	found, err := types.Named(names...)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestGuest reads a pool's structures from outside and asks the guest for the same.
func TestGuest(t *testing.T) {
	l := labtest.Open(t)
	img, cp := labtest.Booted(t, l)
	types := load(t, img)
	m := labtest.Fork(t, l, cp, machine.ForkOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	g, err := guest.Connect(ctx, m, guest.Keys{Login: img.LoginKey, Host: img.HostKey})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	run := func(command string) string {
		t.Helper()
		out, err := g.Run(ctx, command)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(out.Stdout))
	}
	for pool, disk := range map[string]string{"tank": "v0", "zebra": "v1"} {
		if err := g.CreatePool(ctx, guest.PoolSpec{Name: pool, Layout: []string{disk}}); err != nil {
			t.Fatal(err)
		}
	}
	layout := readLayout(ctx, t, g)
	k := kernel.New(m, types, layout)
	checkSymbols(t, k, g)
	checkCode(t, k, layout, img)

	// Txgs go on, and memory has them before the disks do, so the guest is asked before and afterwards.
	const ask = `zpool sync tank && awk '$3 == "C" {txg = $1} END {print txg}' /proc/spl/kstat/zfs/tank/txgs`
	before := number(t, run(ask))
	if err := m.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	checkPools(t, k.View(ctx), named(t, types, "spa_t"))
	tank := pool(t, k.View(ctx), named(t, types, "spa_t"))
	txg, err := tank.Field("spa_uberblock").Field("ub_txg").Uint()
	if err != nil {
		t.Fatal(err)
	}
	guid, err := tank.Field("spa_root_vdev").Field("vdev_guid").Uint()
	if err != nil {
		t.Fatal(err)
	}
	checkPieces(t, m, tank.Field("spa_name"))
	checkPageAddr(t, k.View(ctx), named(t, types, "struct page"), tank.Addr())
	if text, err := tank.Field("spa_uberblock").Format(); err != nil || !strings.Contains(text, "\t.ub_magic = 12235020,\n") {
		t.Errorf("the uberblock prints as %s, %v", text, err)
	}
	if err := m.Resume(ctx); err != nil {
		t.Fatal(err)
	}
	if after := number(t, run(ask)); txg < before || txg > after {
		t.Errorf("txg %d was read; the guest said %d before and %d afterwards", txg, before, after)
	}
	if want := number(t, run("zpool get -Hp -o value guid tank")); guid != want {
		t.Errorf("guid %d was read, the guest says %d", guid, want)
	}
}

func number(t *testing.T, text string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readLayout reads the layout and sees that it survives being written down.
func readLayout(ctx context.Context, t *testing.T, g *guest.Guest) kernel.Layout {
	t.Helper()
	layout, err := kernel.ReadLayout(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(layout)
	if err != nil {
		t.Fatal(err)
	}
	var again kernel.Layout
	if err := json.Unmarshal(text, &again); err != nil || !reflect.DeepEqual(layout, again) {
		t.Errorf("%s is not the layout that it was made from: %v", text, err)
	}
	return layout
}

// checkCode looks for functions by addresses in their code.
func checkCode(t *testing.T, k *kernel.Kernel, layout kernel.Layout, img *images.Image) {
	t.Helper()
	code, err := kernel.ReadCode(modules(img)...)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"metaslab_free_concrete", "spl_kmem_cache_alloc", "zio_free_sync"}
	addresses := make([]uint64, len(want), len(want)+1)
	for i, name := range want {
		if addresses[i], err = k.Addr(name); err != nil {
			t.Fatal(err)
		}
		addresses[i] += uint64(i)
	}
	addresses = append(addresses, layout.Symbols["_stext"])
	if got, err := code.Reached(layout, addresses); err != nil || !slices.Equal(got, want) {
		t.Errorf("the addresses lie in %v, %v", got, err)
	}
	if n := code.Functions(); n < 5000 {
		t.Errorf("there are %d functions", n)
	}
	if got, err := code.Reached(kernel.Layout{}, addresses); err == nil {
		t.Errorf("without a module in memory they lie in %v", got)
	}
}

// checkSymbols compares addresses with those of the guest.
func checkSymbols(t *testing.T, k *kernel.Kernel, g *guest.Guest) {
	t.Helper()
	symbols := []string{"zio_free_sync", "space_map_write", "spa_namespace_avl", "spl_kmem_cache_alloc", "init_top_pgt"}
	want, err := g.Symbols(t.Context(), symbols...)
	if err != nil {
		t.Fatal(err)
	}
	for _, symbol := range symbols {
		if got, err := k.Addr(symbol); err != nil || got != want[symbol] {
			t.Errorf("%s is at %#x (%v), the guest says %#x", symbol, got, err, want[symbol])
		}
	}
}

// checkPools walks the tree of all pools.
func checkPools(t *testing.T, v *kernel.View, spa kernel.Type) {
	t.Helper()
	var names []string
	for value, err := range v.Var("spa_namespace_avl").AVL(spa) {
		if err != nil {
			t.Fatal(err)
		}
		name, err := value.Field("spa_name").CString()
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if want := []string{"tank", "zebra"}; !reflect.DeepEqual(names, want) {
		t.Errorf("the pools are %q, the guest made %q", names, want)
	}
}

func pool(t *testing.T, v *kernel.View, spa kernel.Type) kernel.Value {
	t.Helper()
	for value, err := range v.Var("spa_namespace_avl").AVL(spa) {
		if err != nil {
			t.Fatal(err)
		}
		return value.Rename(`spa("tank")`)
	}
	t.Fatal("no pool")
	return kernel.Value{}
}

// checkPieces finds a value's bytes in physical memory.
func checkPieces(t *testing.T, m machine.Memory, name kernel.Value) {
	t.Helper()
	pieces, err := name.Pieces()
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	for _, p := range pieces {
		data := make([]byte, p.Len)
		if err := m.ReadPhys(t.Context(), p.Phys, data); err != nil {
			t.Fatal(err)
		}
		raw = append(raw, data...)
	}
	if !strings.HasPrefix(string(raw), "tank\x00") {
		t.Errorf("%s is %q in physical memory", name.Path(), raw)
	}
	if name.Path() != `spa("tank").spa_name` {
		t.Errorf("it is called %s", name.Path())
	}
}

// checkPageAddr goes from a virtual address to its page's struct page and to the direct map, which has the same page.
func checkPageAddr(t *testing.T, v *kernel.View, structPage kernel.Type, addr uint64) {
	t.Helper()
	phys, err := v.Phys(addr)
	if err != nil {
		t.Fatal(err)
	}
	at, err := v.Kernel().Addr("vmemmap_base")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := v.Uint64(at)
	if err != nil {
		t.Fatal(err)
	}
	page := pages + phys/4096*uint64(structPage.Size())
	direct, err := v.PageAddr(page)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := v.Phys(direct); err != nil || again != phys&^4095 {
		t.Errorf("the page of %#x is at %#x, that of %#x at %#x, %v", addr, phys, direct, again, err)
	}
	if _, err := v.PageAddr(page + 1); err == nil {
		t.Error("what is inside of a struct page was taken for one")
	}
}
