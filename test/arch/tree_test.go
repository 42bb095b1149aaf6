package arch_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the module's folder, seen from this package's.
const root = "../.."

// source is what the tests know of one package.
type source struct {
	pkg
	name       string
	documented bool
	generated  bool
	exits      []string // where os.Exit is called outside tests
	sleeps     []string // where time.Sleep is called in tests that know no synctest
}

// tree is the module's packages by path. It is parsed here and not taken from `go list`, for two reasons:
// go test caches a result by the files the test itself opens, and the files of other systems count too.
type tree map[string]*source

// readTree parses every Go file of this module.
func readTree(t *testing.T) tree {
	t.Helper()
	tr := tree{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && skipDir(name, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasPrefix(d.Name(), "_") || strings.HasPrefix(d.Name(), ".") {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return tr.add(filepath.ToSlash(rel), src)
	})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// skipDir leaves out what `go list ./...` leaves out, data and modules of their own.
func skipDir(name, base string) bool {
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") ||
		slices.Contains([]string{"testdata", "vendor", "node_modules", "bin", "oceanchat-data"}, base) {
		return true
	}
	_, err := os.Stat(filepath.Join(name, "go.mod"))
	return err == nil
}

// add parses one file into the package of its folder.
func (tr tree) add(file string, src []byte) error {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	dir := path.Dir(file)
	s := tr[dir]
	if s == nil {
		s = &source{pkg: pkg{path: dir}}
		tr[dir] = s
	}
	before := len(s.testImports)
	test := strings.HasSuffix(file, "_test.go")
	for _, imp := range f.Imports {
		name, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			return err
		}
		if test {
			s.testImports = append(s.testImports, name)
		} else {
			s.imports = append(s.imports, name)
		}
	}
	if test {
		if !slices.Contains(s.testImports[before:], "testing/synctest") {
			s.sleeps = append(s.sleeps, calls(fset, f, "time", "Sleep")...)
		}
		return nil
	}
	s.name = f.Name.Name
	s.documented = s.documented || strings.TrimSpace(f.Doc.Text()) != ""
	s.generated = s.generated || ast.IsGenerated(f)
	s.exits = append(s.exits, calls(fset, f, "os", "Exit")...)
	return nil
}

// calls returns where f mentions the function name of the package with the identifier in. (A renamed
// import would hide it; nobody renames os and time.)
func calls(fset *token.FileSet, f *ast.File, in, name string) (found []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == name {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == in {
				at := fset.Position(sel.Pos())
				found = append(found, fmt.Sprintf("%s:%d", at.Filename, at.Line))
			}
		}
		return true
	})
	return found
}

// packages lists the packages in order of their paths.
func (tr tree) packages() []pkg {
	var out []pkg
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		out = append(out, tr[p].pkg)
	}
	return out
}

// checkSource returns one line per package without a comment, with a name that says nothing,
// that exits, or whose tests sleep.
func (tr tree) checkSource() []string {
	var broken []string
	for _, p := range slices.Sorted(maps.Keys(tr)) {
		s := tr[p]
		for _, at := range s.sleeps {
			broken = append(broken, at+" sleeps; poll for the condition, or use testing/synctest")
		}
		if s.name == "" { // only tests
			continue
		}
		if !s.documented && !s.generated {
			broken = append(broken, p+" has no package comment")
		}
		for _, name := range []string{s.name, path.Base(p)} {
			if slices.Contains(badNames, name) {
				broken = append(broken, fmt.Sprintf("%s: %s says nothing about what the package owns", p, name))
			}
		}
		if s.name != "main" {
			for _, at := range s.exits {
				broken = append(broken, at+" calls os.Exit; only main ends the process")
			}
		}
	}
	return slices.Compact(broken)
}
