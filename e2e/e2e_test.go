package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/gexec"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/guest"
	"github.com/vdevil/vdevil/lab/host"
	"github.com/vdevil/vdevil/lab/host/hosttest"
	"github.com/vdevil/vdevil/lab/labtest"
	"github.com/vdevil/vdevil/lab/machine"
	"github.com/vdevil/vdevil/lab/machine/libvirt"
	"github.com/vdevil/vdevil/lab/machine/libvirt/libvirttest"
	"github.com/vdevil/vdevil/lab/report"
	"github.com/vdevil/vdevil/lab/report/page"
	"github.com/vdevil/vdevil/lab/store"
	"github.com/vdevil/vdevil/scenarios"
)

// bench is what the specs work with. Every parallel process has its own lab; they share the caches.
type bench struct {
	dirs   host.Dirs
	lab    *lab.Lab
	vdevil string // path of the command
	// driver runs the guests; uri is that of the libvirtd that does, if one does.
	driver, uri string
	// soon is when the end of a guest is noticed.
	soon time.Duration
}

// ownStorage keeps root's domains where no lab of another test collects what a killed one has left here.
func ownStorage(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		return
	}
	usual, err := libvirt.Storage()
	if err != nil {
		t.Fatal(err)
	}
	images := filepath.Dir(usual)
	if err := os.MkdirAll(images, 0o711); err != nil {
		t.Fatal(err)
	}
	parent := filepath.Join(images, "vde2e") // short: sockets lie below it
	killed, err := host.Abandoned(parent)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(parent, strconv.Itoa(os.Getpid()))
	for _, gone := range append(killed, dir) {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
	}
	if err := host.Claim(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Release(dir); err != nil {
			t.Error(err)
		}
	})
	storage := filepath.Join(dir, "s")
	if err := errors.Join(os.Mkdir(storage, 0o711), os.Chmod(dir, 0o711)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(libvirt.StorageVariable, storage)
}

func TestE2E(t *testing.T) {
	RegisterFailHandler(Fail)
	// What never comes fails with what was there instead, long before the spec's time is up: that has room for preparation.
	EnforceDefaultTimeoutsWhenUsingContexts()
	SetDefaultEventuallyTimeout(10 * time.Minute)
	all, err := scenarios.Embedded()
	if err != nil {
		t.Fatal(err)
	}
	suite, reporter := GinkgoConfiguration()
	if suite.LabelFilter == "" {
		suite.LabelFilter = "!cost:nightly"
	}
	if deadline, ok := t.Deadline(); ok {
		// go test kills without a word to the guests, and without saying which spec it was.
		suite.Timeout = min(suite.Timeout, time.Until(deadline)-time.Minute)
	}
	b := &bench{driver: lab.Drivers()[0], soon: soon}
	// libvirt has its say about an end, and that waits for init to bury the process.
	underLibvirt := &bench{driver: libvirt.Name, soon: 5 * soon}
	var daemon *libvirttest.Daemon
	ownStorage(t)
	SynchronizedBeforeSuite(func(SpecContext) []byte {
		path, err := gexec.Build("github.com/vdevil/vdevil/lab/cmd/vdevil")
		Expect(err).NotTo(HaveOccurred())
		return []byte(path)
	}, func(ctx SpecContext, path []byte) {
		b.vdevil = string(path)
		b.dirs = hosttest.Dirs(GinkgoTB())
		if kept := os.Getenv(state); kept != "" {
			Expect(filepath.IsAbs(kept)).To(BeTrue(), "$%s is not an absolute path: %s", state, kept)
			b.dirs.State = filepath.Join(kept, "vdevil")
		}
		// Without the host's packages there is no lab: that may take an apt-get.
		jobs := max(1, runtime.NumCPU()/suite.ParallelTotal)
		b.lab = b.open(ctx, b.dirs, jobs)
		daemon = libvirttest.Start(GinkgoTB())
		underLibvirt.vdevil, underLibvirt.dirs, underLibvirt.uri = b.vdevil, b.dirs, daemon.URI
		underLibvirt.lab = underLibvirt.open(ctx, b.dirs, jobs)
	}, NodeTimeout(patience(0)))
	SynchronizedAfterSuite(func() {}, func(ctx SpecContext) {
		gexec.CleanupBuildArtifacts()
		b.report(ctx)
	}, NodeTimeout(time.Minute))

	Describe("under libvirt", Label("driver:"+libvirt.Name), func() {
		scenarioSpecs(underLibvirt, all)
		isolationSpecs(underLibvirt)
		deathSpecs(underLibvirt)
		hypervisorSpecs(underLibvirt)
		crashSpecs(underLibvirt)
		libvirtSpecs(underLibvirt, func() *libvirttest.Daemon { return daemon })
		if os.Getuid() == 0 {
			storageSpecs(underLibvirt)
		}
	})
	scenarioSpecs(b, all)
	killedLabSpecs(b)
	interruptSpecs(b)
	isolationSpecs(b)
	deathSpecs(b)
	hypervisorSpecs(b)
	partialSpecs(b)
	errorSpecs(b)
	campaignSpecs(b)
	atlasSpecs(b)
	auditSpecs(b)
	crashSpecs(b)
	sourceSpecs(b)
	RunSpecs(t, "vdevil", suite, reporter)
}

// state names the variable with the directory where the suite's campaigns are kept, as $XDG_STATE_HOME is for the command. With the
// same seed, trials that are stored there are not done again.
const state = "VDEVIL_TEST_STATE"

// campaign is the name of what a scenario is asked under in this suite.
func (b *bench) campaign(scenario, version string) string {
	return fmt.Sprintf("e2e-%d-%s-%s-%s", GinkgoRandomSeed(), scenario, version, b.driver)
}

// report attaches what the suite's campaigns say, and keeps it as a page beside their store where that is kept. Without
// that, processes that run specs in parallel have a store each, and the report is that of one.
func (b *bench) report(ctx context.Context) {
	GinkgoHelper()
	s, err := lab.OpenStore(ctx, b.dirs)
	Expect(err).NotTo(HaveOccurred())
	defer s.Close()
	stored, err := s.List(ctx)
	Expect(err).NotTo(HaveOccurred())
	ours := fmt.Sprintf("e2e-%d-", GinkgoRandomSeed())
	stored = slices.DeleteFunc(stored, func(c store.Campaign) bool { return !strings.HasPrefix(c.Name, ours) })
	if len(stored) == 0 {
		return
	}
	p, err := lab.Page(ctx, b.dirs, s, stored, report.Comparison{})
	Expect(err).NotTo(HaveOccurred())
	var summary strings.Builder
	Expect(p.Markdown(&summary)).To(Succeed())
	AddReportEntry("report", summary.String(), ReportEntryVisibilityFailureOrVerbose)
	if os.Getenv(state) == "" {
		return
	}
	f, err := os.Create(filepath.Join(os.Getenv(state), "report.html"))
	Expect(err).NotTo(HaveOccurred())
	Expect(errors.Join(page.Write(f, p), f.Close())).To(Succeed())
}

// patience is the time limit of a spec whose guests need d on the reference host. Whichever spec comes first installs
// packages, builds the image and boots the guest, or waits for another process that does.
func patience(d time.Duration) time.Duration {
	const preparation = 40 * time.Minute
	return preparation + lab.Accel().Default().Limit(d)
}

// open opens a lab that is closed after the spec, or the suite.
func (b *bench) open(ctx SpecContext, d host.Dirs, jobs int) *lab.Lab {
	GinkgoHelper()
	l, err := lab.Open(ctx, lab.Options{
		Dirs: d, Driver: b.driver, Connect: b.uri, Jobs: jobs, Install: hosttest.Install(d),
		Progress: func(p lab.Progress) {
			if p.Took == 0 || p.Done {
				GinkgoWriter.Printf("%s %s\n", p.What, p.Took)
			}
		},
	})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(l.Close)
	return l
}

// image is that of the default OpenZFS version.
func (b *bench) image(ctx SpecContext) *images.Image {
	GinkgoHelper()
	img, err := b.lab.Image(ctx, defaultRecipe().OpenZFS)
	Expect(err).NotTo(HaveOccurred())
	return img
}

// booted is a checkpoint of a guest that has just come up. Most scenarios begin with the same one.
func (b *bench) booted(ctx SpecContext) *machine.Checkpoint {
	GinkgoHelper()
	cp, err := b.lab.Checkpoints().Booted(ctx, b.image(ctx), labtest.Machine())
	Expect(err).NotTo(HaveOccurred())
	return cp
}

// fork starts a machine that is closed with the spec.
func (b *bench) fork(ctx SpecContext, cp *machine.Checkpoint, o machine.ForkOptions) machine.Machine {
	GinkgoHelper()
	m, err := b.lab.Driver().Fork(ctx, cp, o)
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(m.Close)
	return m
}

// connect logs in to a running guest.
func (b *bench) connect(ctx SpecContext, m machine.Machine) *guest.Guest {
	GinkgoHelper()
	img := b.image(ctx)
	g, err := guest.Connect(ctx, m, guest.Keys{Login: img.LoginKey, Host: img.HostKey})
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(g.Close)
	return g
}
