package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// owners says which service may mention which interface of the stores: each is the only owner of its data. query reads
// what others wrote through an interface of its own; the hall and the seam itself know all.
var owners = map[string]string{
	"Accounts": "internal/business/auth", "Sessions": "internal/business/auth", "Outbox": "internal/business/auth", "Keys": "internal/business/auth",
	"Profiles": "internal/business/user", "Relations": "internal/business/user",
	"Groups": "internal/business/group", "Members": "internal/business/group",
	"Cursors": "internal/business/message",
	"Log":     "internal/support/persistence", "Reader": "internal/support/query",
	"PushTokens": "internal/delivery/pusheroffline",
}

// TestStoreOwners holds that a store is used by its owner alone.
func TestStoreOwners(t *testing.T) {
	t.Parallel()
	used := map[string]bool{}
	for _, layer := range []string{"access", "business", "delivery", "support", "permit", "convlog"} {
		err := filepath.WalkDir(filepath.Join(root, "internal", layer), func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(name, "convlogtest") {
				return err
			}
			src, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			pkg := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(name)), root+"/")
			for _, s := range storesIn(t, src) {
				used[s] = true
				if owner := owners[s]; owner != pkg {
					t.Errorf("%s mentions store.%s, which belongs to %s", strings.TrimPrefix(name, root+"/"), s, owner)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for s, owner := range owners {
		if !used[s] {
			t.Errorf("nobody mentions store.%s; the table says %s does", s, owner)
		}
	}
}

// storesIn returns the interfaces of package store that a file mentions and that have an owner.
func storesIn(t *testing.T, src []byte) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "", src, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return strings.HasSuffix(i.Path.Value, "/internal/seam/store\"") }) {
		return nil
	}
	var found []string
	ast.Inspect(f, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "store" && owners[sel.Sel.Name] != "" {
				found = append(found, sel.Sel.Name)
			}
		}
		return true
	})
	return found
}

// The check is shown to see what it is for.
func TestStoresIn(t *testing.T) {
	t.Parallel()
	const src = `package p
import "github.com/oceanchat/oceanchat/internal/seam/store"
type deps struct { a store.Accounts; e store.Event }
var _ = store.ErrNotFound`
	if got := storesIn(t, []byte(src)); !slices.Equal(got, []string{"Accounts"}) {
		t.Errorf("storesIn = %q; want Accounts", got)
	}
	if got := storesIn(t, []byte("package p\nimport \"x/store\"\nvar _ store.Accounts")); got != nil {
		t.Errorf("storesIn of another package store = %q; want none", got)
	}
}
