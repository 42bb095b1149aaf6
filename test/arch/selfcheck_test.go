package arch_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The checker itself is tried with packages that do not exist, so that a rule that catches nothing shows.
func TestCheckImports(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		path    string
		imports []string // a leading "./" stands for our module
		tests   []string
		want    string // a part of the one complaint; empty: none
	}{
		{name: "service uses a seam", path: "internal/business/user", imports: []string{"./internal/seam/store", "context"}},
		{name: "service uses its own vendor package", path: "internal/delivery/pusheroffline", imports: []string{"./internal/delivery/pusheroffline/apns"}},
		{name: "vendor package of a service is bound as it is", path: "internal/delivery/pusheroffline/apns", imports: []string{"./internal/business/user"}, want: "level 5"},
		{name: "service uses another service", path: "internal/business/user", imports: []string{"./internal/business/auth"}, want: "internal/business/user must not import " + module + "/internal/business/auth (level 5"},
		{name: "service uses a service of like name", path: "internal/business/user", imports: []string{"./internal/business/userx"}, want: "level 5"},
		{name: "service uses an implementation", path: "internal/support/query", imports: []string{"./internal/seam/store/sqlite"}, want: "level 5"},
		{name: "service uses the hall", path: "internal/support/query", imports: []string{"./internal/app"}, want: "level 5"},
		{name: "service test uses an implementation", path: "internal/support/query", tests: []string{"./internal/seam/store/sqlite"}},
		{name: "service test uses a driver", path: "internal/support/query", tests: []string{"modernc.org/sqlite"}, want: "behind its seam"},
		{name: "chat uses a foreign module", path: "internal/chat", imports: []string{"golang.org/x/text/width"}, want: "level 0"},
		{name: "fault uses chat", path: "internal/fault", imports: []string{"./internal/chat"}, want: "level 0"},
		{name: "chat uses fault", path: "internal/chat", imports: []string{"./internal/fault", "strings"}},
		{name: "helper uses helper", path: "internal/obs", imports: []string{"./internal/config"}, want: "level 2"},
		{name: "seam uses seam", path: "internal/seam/calls", imports: []string{"./internal/seam/backbone"}, want: "level 3"},
		{name: "seam uses its implementation", path: "internal/seam/store", imports: []string{"./internal/seam/store/sqlite"}, want: "level 3"},
		{name: "implementation uses a foreign seam", path: "internal/seam/store/sqlite", imports: []string{"./internal/seam/faststate"}, want: "level 4"},
		{name: "implementation uses its driver", path: "internal/seam/store/sqlite", imports: []string{"modernc.org/sqlite/lib"}},
		{name: "embedded backbone uses jetstream", path: "internal/seam/backbone/embedded", imports: []string{"./internal/seam/backbone/jetstream", "github.com/nats-io/nats-server/v2/server"}},
		{name: "jetstream uses the server", path: "internal/seam/backbone/jetstream", imports: []string{"github.com/nats-io/nats-server/v2/server"}, want: "only one package"},
		{name: "jetstream's test uses the server", path: "internal/seam/backbone/jetstream", tests: []string{"github.com/nats-io/nats-server/v2/server"}},
		{name: "a service's test uses the server", path: "internal/business/auth", tests: []string{"github.com/nats-io/nats-server/v2/server"}, want: "only one package"},
		{name: "log uses nats directly", path: "internal/convlog", imports: []string{"github.com/nats-io/nats.go/jetstream"}, want: "behind the backbone"},
		{name: "log uses the store", path: "internal/convlog", imports: []string{"./internal/seam/store"}, want: "level 3"},
		{name: "permit uses config", path: "internal/permit", imports: []string{"./internal/config"}, want: "level 3"},
		{name: "hall uses all", path: "internal/app", imports: []string{"./internal/seam/store/sqlite", "./internal/business/auth"}},
		{name: "hall uses the door", path: "internal/app", imports: []string{"./cmd/oceanchat"}, want: "level 6"},
		{name: "hall takes signals", path: "internal/app", imports: []string{"os/signal"}, want: "main"},
		{name: "door uses a service", path: "cmd/oceanchat", imports: []string{"./internal/business/auth"}, want: "level 7"},
		{name: "sdk uses the server", path: "sdk/go", imports: []string{"./internal/chat"}, want: "client"},
		{name: "product uses a tool", path: "internal/app", imports: []string{"./tools/testreport"}, want: "level 6"},
		{name: "product code uses a test package", path: "internal/app", imports: []string{"./internal/seam/store/storetest"}, want: "only test files"},
		{name: "test code uses a test package", path: "internal/app", tests: []string{"./internal/seam/store/storetest"}},
		{name: "test package uses anything", path: "test/system", imports: []string{"./internal/app", "github.com/nats-io/nats.go", "os/signal"}},
		{name: "package without a place", path: "internal/shiny", want: "no place"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := checkImports([]pkg{{tt.path, full(tt.imports), full(tt.tests)}}, layers, fences)
			switch {
			case tt.want == "" && len(got) == 0:
			case tt.want != "" && len(got) == 1 && strings.Contains(got[0], tt.want):
			default:
				t.Errorf("checkImports(%s imports %v, tests %v) = %q; want one with %q", tt.path, tt.imports, tt.tests, got, tt.want)
			}
		})
	}
}

func full(imports []string) []string {
	out := make([]string, len(imports))
	for i, imp := range imports {
		out[i] = strings.Replace(imp, "./", module+"/", 1)
	}
	return out
}

func TestCheckPatterns(t *testing.T) {
	t.Parallel()
	pkgs := []pkg{{path: "internal/chat"}, {path: "internal/seam/store/sqlite"}}
	tests := []struct {
		name             string
		patterns, notYet []string
		want             []string
	}{
		{name: "all there", patterns: []string{"internal/chat", "internal/seam/...", "internal/seam/store/*"}},
		{name: "gone", patterns: []string{"internal/chats"}, want: []string{"internal/chats names no package any more: correct the rule"}},
		{name: "expected", patterns: []string{"web/..."}, notYet: []string{"web/..."}},
		{name: "came", patterns: []string{"internal/chat"}, notYet: []string{"internal/chat"}, want: []string{"internal/chat exists now: take it out of notYet"}},
		{name: "in no rule", notYet: []string{"web"}, want: []string{"web stands in notYet but in no rule: take it out"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, checkPatterns(pkgs, tt.patterns, tt.notYet)); diff != "" {
				t.Errorf("checkPatterns (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckSource(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, file, src, want string }{
		{"documented", "internal/x/a.go", "// Package x owns x.\npackage x\n", ""},
		{"bare", "internal/x/a.go", "package x\n", "internal/x has no package comment"},
		{"only a directive", "internal/x/a.go", "//go:build linux\n\npackage x\n", "internal/x has no package comment"},
		{"generated", "gen/x/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage x\n", ""},
		{"says nothing", "internal/util/a.go", "// Package util is a drawer.\npackage util\n", "internal/util: util says nothing about what the package owns"},
		{"exits", "internal/x/a.go", "// Package x owns x.\npackage x\nimport \"os\"\nfunc f() { os.Exit(1) }\n", "internal/x/a.go:4 calls os.Exit; only main ends the process"},
		{"test sleeps", "internal/x/a_test.go", "package x\nimport \"time\"\nfunc f() { time.Sleep(1) }\n", "internal/x/a_test.go:3 sleeps; poll for the condition, or use testing/synctest"},
		{"test sleeps in a bubble", "internal/x/a_test.go", "package x\nimport (\"testing/synctest\"; \"time\")\nfunc f() { synctest.Wait(); time.Sleep(1) }\n", ""},
		{"main exits", "cmd/x/a.go", "// Command x runs.\npackage main\nimport \"os\"\nfunc main() { os.Exit(1) }\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tr := tree{}
			if err := tr.add(tt.file, []byte(tt.src)); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(tr.checkSource(), "; "); got != tt.want {
				t.Errorf("checkSource(%q) = %q; want %q", tt.src, got, tt.want)
			}
		})
	}
}

func TestLinks(t *testing.T) {
	t.Parallel()
	const doc = "[a](x.md) [b](https://e.org/x) [c](#here) ![d](img/p.png \"title\") [e](<y z.md>#part)\n" +
		"`[no](code.md)`\n```\n[no](fence.md)\n```\n[f](../up.go#L3)\n[ref]: ref.md\n"
	want := []string{"x.md", "img/p.png", "y z.md", "../up.go", "ref.md"}
	if diff := cmp.Diff(want, links(doc)); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
}
