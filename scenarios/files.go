package scenarios

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed *.yaml
var embedded embed.FS

// Embedded are the repository's own scenarios, by name.
func Embedded() ([]*Scenario, error) {
	files, err := embedded.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("reading embedded scenarios: %w", err)
	}
	all := make([]*Scenario, 0, len(files))
	var errs []error
	for _, f := range files {
		data, err := embedded.ReadFile(f.Name())
		if err != nil {
			return nil, fmt.Errorf("reading embedded scenario: %w", err)
		}
		s, err := Parse(f.Name(), data)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *Scenario) int { return strings.Compare(a.Name, b.Name) }) // of files, a dash is before the dot
	return all, errors.Join(errs...)
}

// Load reads and checks one file. Its File then has a slash, which that of an embedded one has not.
func Load(path string) (*Scenario, error) {
	if !strings.Contains(path, "/") {
		path = "./" + path
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading scenario: %w", err)
	}
	if len(data) <= maxSource {
		if data, err = bring(path, data, filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	return Parse(path, data)
}

// Find gives the scenarios that args mean, each once, in that order: names of embedded ones, or paths, which have a
// slash or end in .yaml. Without args it gives those that run by default.
func Find(args []string) ([]*Scenario, error) {
	all, err := Embedded()
	if err != nil {
		return nil, err
	}
	return choose(args, all)
}

func choose(args []string, all []*Scenario) ([]*Scenario, error) {
	var found []*Scenario
	var errs []error
	names := map[string]bool{}
	for _, s := range all {
		if len(args) == 0 && s.Default {
			found = append(found, s)
		}
	}
	for _, arg := range args {
		s, err := find(arg, all)
		switch {
		case err != nil:
			errs = append(errs, err)
		case !names[s.Name]:
			names[s.Name] = true
			found = append(found, s)
		}
	}
	return found, errors.Join(errs...)
}

func find(arg string, all []*Scenario) (*Scenario, error) {
	if strings.Contains(arg, "/") || strings.HasSuffix(arg, ".yaml") {
		return Load(arg)
	}
	names := make([]string, len(all))
	for i, s := range all {
		if s.Name == arg {
			return s, nil
		}
		names[i] = s.Name
	}
	return nil, fmt.Errorf("there is no scenario %q; %s, or the path of a file", arg, instead(arg, names))
}
