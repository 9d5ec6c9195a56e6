package scenarios

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func schema(t *testing.T) (root any, s *jsonschema.Schema) {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	if root, err = jsonschema.UnmarshalJSON(bytes.NewReader(text)); err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("scenario.json", root); err != nil {
		t.Fatal(err)
	}
	if s, err = c.Compile("scenario.json"); err != nil {
		t.Fatal(err)
	}
	return root, s
}

func fits(t *testing.T, s *jsonschema.Schema, text string) error {
	t.Helper()
	var v any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// TestSchema expects all files that Parse takes to fit the schema, and those with a word that nobody knows not to.
func TestSchema(t *testing.T) {
	_, s := schema(t)
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := fits(t, s, string(text)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if err := fits(t, s, good); err != nil {
		t.Error(err)
	}
	for _, k := range kinds {
		if err := fits(t, s, strings.Replace(good, "  - arm\n", "  - arm\n  "+k.form+"\n", 1)); err != nil {
			t.Errorf("%s: %v", k.form, err)
		}
	}
	for _, tt := range [][2]string{
		{"trials: ", "trails: "}, {"cause: disk", "cause: water"}, {"- sync", "- sink"}, {"- churn: {dataset: tank/d,", "- churn: {data: tank/d,"},
		{"machine: {cpus: 2,", "machine: {"}, {"vdev-bitrot", "vdev-bitrust"}, {"verdict: ", "verdict: not "},
	} {
		text := strings.Replace(good, tt[0], tt[1], 1)
		if text == good {
			t.Fatalf("no %q", tt[0])
		}
		if fits(t, s, text) == nil {
			t.Errorf("%q in place of %q fits", tt[1], tt[0])
		}
	}
}

// TestSchemaKeys expects each mapping to have the keys in the schema that the decoder knows: of each call of fields there is an object
// of that title.
func TestSchemaKeys(t *testing.T) {
	root, _ := schema(t)
	has := map[string][]string{} // by title, the keys of each object
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if keys, ok := v["properties"].(map[string]any); ok && v["title"] != nil {
				title := v["title"].(string)
				has[title] = append(has[title], strings.Join(sortedKeys(keys), " "))
			}
			for _, below := range v {
				walk(below)
			}
		case []any:
			for _, below := range v {
				walk(below)
			}
		}
	}
	walk(root)
	words := make([]string, len(faults))
	for i, f := range faults {
		words[i] = f.word
	}
	spread := map[string][]string{"expectKeys": expectKeys, "whichRequests": whichRequests, "words": words}
	calls := 0
	compare := func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		f, ok := call.Fun.(*ast.SelectorExpr)
		if !ok || f.Sel.Name != "fields" {
			return true
		}
		title := texts(call.Args[1], nil)
		if len(title) == 0 { // it is that of the example
			title = strings.SplitN(texts(call.Args[2], nil)[0], ":", 2)
		}
		var keys []string
		for _, arg := range call.Args[3:] {
			keys = append(keys, texts(arg, spread)...)
		}
		slices.Sort(keys)
		switch title[0] {
		case "entry": // of another kind of file
			return true
		case "":
			title[0] = "scenario"
		case "expect of ":
			title[0] = "expect of a version"
		}
		calls++
		if name := strings.TrimSpace(title[0]); !slices.Contains(has[name], strings.Join(keys, " ")) {
			t.Errorf("%s has the keys %q, in the schema %q", name, keys, has[name])
		}
		return true
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, compare)
	}
	if calls < 30 {
		t.Errorf("%d mappings were compared", calls)
	}
}

// texts are the strings in an expression, those of some variables too.
func texts(e ast.Expr, of map[string][]string) (all []string) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
				all = append(all, s)
			}
		case *ast.Ident:
			all = append(all, of[n.Name]...)
		}
		return true
	})
	return all
}
