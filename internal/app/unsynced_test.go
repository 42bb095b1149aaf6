package app

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// After a process with log.sync interval that did not end by itself the epoch is raised, once for each, and not otherwise.
func TestUnsynced(t *testing.T) {
	dir := t.TempDir()
	db, err := sqlite.Open(filepath.Join(dir, "oceanchat.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := os.Mkdir(filepath.Join(dir, "nats"), 0o700); err != nil {
		t.Fatal(err)
	}
	ends := func(context.Context, func()) error { return nil }
	dies := func(context.Context, func()) error { return errors.New("killed") }
	for i, tt := range []struct {
		sync   string
		server func(context.Context, func()) error
		raised bool
	}{
		{"always", dies, false},
		{"always", ends, false},
		{"interval", ends, false},
		{"interval", dies, false},
		{"interval", dies, true},
		{"interval", ends, true},
		{"interval", dies, false},
		{"always", ends, true},
		{"always", ends, false},
	} {
		before, err := db.Log().Epoch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cfg := &Config{DataDir: dir}
		cfg.Log.Sync = tt.sync
		err = newUnsynced(cfg, db.Log(), slog.New(slog.DiscardHandler)).around(tt.server)(t.Context(), func() {})
		if died := tt.server(t.Context(), nil) != nil; (err != nil) != died {
			t.Fatalf("process %d = %v", i, err)
		}
		after, err := db.Log().Epoch(t.Context())
		if err != nil || (after > before) != tt.raised {
			t.Errorf("process %d, %s: the epoch went from %d to %d, %v; want it raised: %t", i, tt.sync, before, after, err, tt.raised)
		}
	}
}
