package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/vdevil/vdevil/images"
	"github.com/vdevil/vdevil/lab"
	"github.com/vdevil/vdevil/lab/campaign"
	"github.com/vdevil/vdevil/lab/verdict"
	"github.com/vdevil/vdevil/scenarios"
)

// reported is the condition of the panic that all scenarios are about.
const reported = "range-tree-add-overlap"

// scenarioSpecs are one spec for every scenario and OpenZFS version.
func scenarioSpecs(b *bench, all []*scenarios.Scenario) {
	Describe("scenario", Label("scenario"), func() {
		for _, s := range all {
			for _, recipe := range recipes() {
				if !s.Applies(recipe.OpenZFS) {
					continue
				}
				It(fmt.Sprintf("%s on OpenZFS %s", s.Name, recipe.OpenZFS), b.labels(s, recipe), func(ctx SpecContext) {
					r := b.ask(ctx, s, recipe.OpenZFS)
					if !recipe.Default {
						// What a scenario foretells, it foretells for the default version alone. Elsewhere the verdict is
						// news, not something to hold the lab to.
						Expect(r).To(RunWithoutLabTrouble())
						return
					}
					Expect(r).To(HoldItsExpectation())
					switch {
					case s.Expect.Verdict == scenarios.DoesNotReproduce:
						Expect(r).NotTo(Reproduce(reported))
					case s.Expect.Signature != "":
						Expect(r).To(Reproduce(s.Expect.Signature))
					}
				}, NodeTimeout(patience(4*time.Minute)))
			}
		}
	})
}

// labels are the scenario's own with the version. Versions and drivers beside the default ones are for the night.
func (b *bench) labels(s *scenarios.Scenario, r images.Recipe) Labels {
	list := s.Labels()
	if !r.Default || b.driver != lab.Drivers()[0] {
		list = slices.DeleteFunc(list, func(l string) bool { return strings.HasPrefix(l, "cost:") })
		list = append(list, "cost:"+string(scenarios.Nightly))
	}
	return append(list, "zfs:"+r.OpenZFS)
}

// recipes are those of the OpenZFS versions that there are images of.
func recipes() []images.Recipe {
	all, err := images.Recipes()
	if err != nil {
		panic(err) // they are embedded
	}
	return all
}

func defaultRecipe() images.Recipe {
	all := recipes()
	return all[slices.IndexFunc(all, func(r images.Recipe) bool { return r.Default })] // the loader sees to it that there is one
}

// ask runs the trials of a scenario, with the suite's seed. The report goes where Ginkgo's reports go.
func (b *bench) ask(ctx context.Context, s *scenarios.Scenario, version string) verdict.Summary {
	GinkgoHelper()
	results, err := b.lab.Run(ctx, lab.Request{
		Scenarios: []*scenarios.Scenario{s}, Versions: []string{version}, Seed: uint64(GinkgoRandomSeed()),
		Terms: lab.Terms{Name: b.campaign(s.Name, version), Keep: lab.KeepFailed, Observe: func(e campaign.Event) {
			if e, ok := e.(campaign.Ended); ok {
				ended := strings.TrimSpace(string(e.Result.Outcome) + " " + e.Result.Signature)
				GinkgoWriter.Printf("%s/%d: %s, %.1f s\n", e.Result.Arm, e.Result.Number, ended, e.Result.Seconds)
			}
		}},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(results).To(HaveLen(1))
	AddReportEntry("report", table(results[0]), ReportEntryVisibilityFailureOrVerbose)
	return results[0]
}
