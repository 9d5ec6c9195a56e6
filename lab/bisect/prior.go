package bisect

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/vdevil/vdevil/lab/report"
)

// Prior makes commits more or less probable before anything is tried: those that touch a path, or whose subject has a word, that
// matches Glob. In it * is any text, slashes included, ? one character, and (a|b) one or the other. A glob without a slash
// matches the last part of a path, too; words are compared without their case.
type Prior struct {
	Glob   string  `json:"glob"`
	Weight float64 `json:"weight"` // 1 changes nothing, 0 is never
}

// ParsePrior reads GLOB=WEIGHT.
func ParsePrior(text string) (Prior, error) {
	i := strings.LastIndex(text, "=")
	if i < 1 {
		return Prior{}, fmt.Errorf("prior %q: it must be GLOB=WEIGHT, as in module/zfs/ddt*=5", text)
	}
	weight, err := strconv.ParseFloat(text[i+1:], 64)
	if err != nil || !(weight >= 0 && weight <= 1e6) {
		return Prior{}, fmt.Errorf("prior %q: the weight must be a number from 0 to 1000000", text)
	}
	p := Prior{text[:i], weight}
	if _, err := p.pattern(); err != nil {
		return Prior{}, fmt.Errorf("prior %q: %w", text, err)
	}
	return p, nil
}

// String is what ParsePrior reads.
func (p Prior) String() string { return fmt.Sprintf("%s=%g", p.Glob, p.Weight) }

var globs = strings.NewReplacer(`\*`, ".*", `\?`, ".", `\(`, "(?:", `\)`, ")", `\|`, "|")

func (p Prior) pattern() (*regexp.Regexp, error) {
	return regexp.Compile("(?i)^(?:" + globs.Replace(regexp.QuoteMeta(p.Glob)) + ")$")
}

// weigh is the prior of a candidate: that of its most probable commit, for one of them made the modules what they are. That of a
// commit is the product of the priors that match it, and 0 where paths are named and it touches none.
func weigh(priors []Prior, paths []string, c Candidate) float64 {
	if len(c.Commits) == 0 {
		return 1
	}
	most := 0.0
	for _, k := range c.Commits {
		weight := 1.0
		if len(paths) > 0 && !slices.ContainsFunc(paths, func(glob string) bool { return Prior{Glob: glob}.touches(k) }) {
			weight = 0
		}
		for _, p := range priors {
			if p.matches(k) {
				weight *= p.Weight
			}
		}
		most = max(most, weight)
	}
	return most
}

// touches says whether a commit touches a path that is meant.
func (p Prior) touches(c report.Commit) bool {
	glob, err := p.pattern()
	return err == nil && slices.ContainsFunc(c.Paths, func(file string) bool { // Plan refuses what is none
		return glob.MatchString(file) || !strings.Contains(p.Glob, "/") && glob.MatchString(path.Base(file))
	})
}

func (p Prior) matches(c report.Commit) bool {
	glob, err := p.pattern()
	return err == nil && (p.touches(c) || slices.ContainsFunc(strings.Fields(c.Subject), func(word string) bool {
		return glob.MatchString(strings.Trim(word, ".,:;()[]\"'`"))
	}))
}
