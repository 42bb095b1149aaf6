package app_test

import (
	"bytes"
	"os"
	"slices"
	"testing"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/internal/command"
)

// The thirteen targets of SYSTEM.md, by the names that operators use.
func TestTargets(t *testing.T) {
	want := []string{
		"api-gateway", "auth", "group", "message", "orchestrator", "persistence", "presence",
		"pusher-offline", "pusher-realtime", "query", "router", "user", "ws-gateway",
	}
	got := app.Targets()
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("Targets() = %q; want %q", got, want)
	}
}

// The page of settings cannot drift from the code.
func TestSettingsPage(t *testing.T) {
	const page = "../../docs/reference/configuration.md"
	var out, errs bytes.Buffer
	if code := app.Main(t.Context(), command.Call{Args: []string{"config", "doc"}, Out: &out, Err: &errs}); code != 0 {
		t.Fatalf("config doc = %d: %s", code, errs.String())
	}
	got, err := os.ReadFile(page)
	if err != nil || !bytes.Equal(got, out.Bytes()) {
		t.Errorf("%s is not what the code says (%v): run `make docs`", page, err)
	}
}
