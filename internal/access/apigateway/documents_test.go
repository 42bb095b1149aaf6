package apigateway_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/wire"
)

var aMethod = regexp.MustCompile("`([a-z]+\\.[a-zA-Z]+)`")

// Of a method without a path /openapi.json says nothing, so docs/reference/connection.md does.
func TestMethodsWithoutPathAreDocumented(t *testing.T) {
	t.Parallel()
	page := document(t, "connection.md")
	bound := map[string]bool{}
	for _, b := range bindings(t) {
		bound[b.method.Name] = true
	}
	found := 0
	for _, m := range wire.Methods() {
		if bound[m.Name] {
			continue
		}
		if found++; !strings.Contains(page, "\n| `"+m.Name+"` | `{") {
			t.Errorf("docs/reference/connection.md has no row of %s with its params", m.Name)
		}
	}
	if found == 0 {
		t.Error("every method has a path; want message.typing to have none")
	}
}

// What docs/reference/api.md says is not there yet is not there.
func TestMissingMethodsAreMissing(t *testing.T) {
	t.Parallel()
	_, list, ok := strings.Cut(document(t, "api.md"), "\n## Not there yet\n")
	list, _, _ = strings.Cut(list, "\n## ")
	named := aMethod.FindAllStringSubmatch(list, -1)
	if !ok || len(named) == 0 {
		t.Fatal("docs/reference/api.md names no method that is not there yet")
	}
	for _, m := range named {
		if _, there := wire.Lookup(m[1]); there {
			t.Errorf("docs/reference/api.md says that %s is not there yet; it is", m[1])
		}
	}
}

func document(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/reference/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
