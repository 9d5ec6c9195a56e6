package images

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

//go:embed recipes.yaml
var recipesYAML []byte

// Recipe says where an OpenZFS version comes from: one row of recipes.yaml, which explains the fields.
type Recipe struct {
	OpenZFS string `yaml:"openzfs" json:"openzfs"`
	Suite   string `yaml:"suite" json:"suite"`
	Base    string `yaml:"base" json:"base"`
	Default bool   `yaml:"default" json:"-"`
	Kernel  string `yaml:"kernel" json:"-"`
	// Bare is the version of Linux of an image that trees are put on: it has the row's programs, and no modules of OpenZFS.
	Bare string `yaml:"-" json:"bare,omitempty"`
}

// Name is what images of the recipe are called, and how their directories begin: without a dash.
func (r Recipe) Name() string {
	if r.Bare != "" {
		return "linux" + r.Bare
	}
	return r.OpenZFS
}

// what is what they are called in messages.
func (r Recipe) what() string {
	if r.Bare != "" {
		return "base of Linux " + r.Bare
	}
	return "image of OpenZFS " + r.OpenZFS
}

// bare is the recipe of the image that trees are put on, of a row with a kernel.
func (r Recipe) bare() Recipe {
	r.Bare = r.Kernel
	return r
}

// Recipes are the versions that the lab knows, as recipes.yaml lists them.
func Recipes() ([]Recipe, error) { return parseRecipes(recipesYAML) }

var (
	versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	kernelForm  = regexp.MustCompile(`^\d+\.\d+$`)
	suiteForm   = regexp.MustCompile(`^[a-z]+(-[a-z]+)*$`)
)

func parseRecipes(text []byte) ([]Recipe, error) {
	var rows []Recipe
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&rows)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("recipes: %w", err)
	}
	seen := map[string]bool{}
	defaults := 0
	for i := range rows {
		r := &rows[i]
		if r.Base == "" {
			r.Base = r.Suite
		}
		switch {
		case !versionForm.MatchString(r.OpenZFS):
			return nil, fmt.Errorf("recipes: row %d: openzfs is %q, want a version as in 2.3.2", i+1, r.OpenZFS)
		case seen[r.OpenZFS]:
			return nil, fmt.Errorf("recipes: row %d: openzfs %s has a row already", i+1, r.OpenZFS)
		case !suiteForm.MatchString(r.Suite):
			return nil, fmt.Errorf("recipes: openzfs %s: suite is %q, want a Debian suite as in bookworm-backports", r.OpenZFS, r.Suite)
		case !suiteForm.MatchString(r.Base):
			return nil, fmt.Errorf("recipes: openzfs %s: base is %q, want a Debian suite as in bookworm", r.OpenZFS, r.Base)
		}
		if r.Kernel != "" && !kernelForm.MatchString(r.Kernel) {
			return nil, fmt.Errorf("recipes: openzfs %s: kernel is %q, want a version of Linux as in 6.1", r.OpenZFS, r.Kernel)
		}
		seen[r.OpenZFS] = true
		if r.Default {
			defaults++
		}
	}
	if defaults != 1 {
		return nil, fmt.Errorf("recipes: %d rows are the default, want exactly one", defaults)
	}
	return rows, nil
}

// find is the recipe of a version, or the default one for "".
func find(rows []Recipe, version string) (Recipe, error) {
	i := slices.IndexFunc(rows, func(r Recipe) bool { return r.OpenZFS == version || version == "" && r.Default })
	if i >= 0 {
		return rows[i], nil
	}
	known := make([]string, len(rows))
	for i, r := range rows {
		known[i] = r.OpenZFS
	}
	return Recipe{}, fmt.Errorf("no image of OpenZFS %q: there are recipes for %s", version, strings.Join(known, ", "))
}
