package sqlite_test

import (
	"bytes"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

func TestOpenMakesNarrowFiles(t *testing.T) { // SYSTEM: secrets are for the owner of the data folder only
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b#c?d%20=é.db") // each of these means something in a URI
	db := openDB(t, path)
	if _, err := db.Keys().PutIfAbsent(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != 0o600 {
			t.Errorf("mode of %s = %o; want 600", filepath.Base(name), got)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	script := func(statements string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			db, err := sql.Open("sqlite", path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(statements); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	text := func(s string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			t.Helper()
			if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours := func(t *testing.T, path string) {
		t.Helper()
		db, err := sqlite.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name string
		make func(t *testing.T, path string)
		want string // part of the error; empty: opens
	}{
		{"text", text(strings.Repeat("a letter to ann\n", 100)), "not an OceanChat database"},
		{"another program's database", script("CREATE TABLE t (a); INSERT INTO t VALUES (1)"), "not an OceanChat database"},
		{"another program's empty database", script("PRAGMA application_id = 7; PRAGMA user_version = 1"), "not an OceanChat database"},
		{"newer schema", func(t *testing.T, path string) {
			t.Helper()
			ours(t, path)
			script("PRAGMA user_version = 99")(t, path)
		}, "version 99"},
		{"empty file, left by a crash", text(""), ""},
		{"our own", ours, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "x.db")
			tt.make(t, path)
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			db, err := sqlite.Open(path)
			if tt.want == "" {
				if err != nil {
					t.Fatalf("Open: %v; want it opened", err)
				}
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) {
				t.Fatalf("Open: %v; want an error that says %q and names the file", err, tt.want)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
				t.Fatalf("the refused file was changed (%v)", err)
			}
		})
	}
	t.Run("no folder", func(t *testing.T) {
		t.Parallel()
		if db, err := sqlite.Open(filepath.Join(t.TempDir(), "none", "x.db")); err == nil {
			_ = db.Close()
			t.Fatal("Open in a folder that does not exist succeeded; want an error")
		}
	})
}

func TestOpenNarrowsAWideFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	openDB(t, path)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("mode = %v (%v); want 600", fi.Mode(), err)
	}
}

// A full disk fails writes with ErrFull, hurts nothing that is stored, and is over when there is space again.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	w := newWorkload(100)
	if err := db.Log().Store(ctx, w.batch(100)); err != nil {
		t.Fatal(err)
	}
	pages, err := db.Pages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.LimitPages(ctx, pages+20); err != nil {
		t.Fatal(err)
	}
	var failed store.Batch
	for err == nil {
		failed = w.batch(100)
		err = db.Log().Store(ctx, failed)
	}
	if !errors.Is(err, store.ErrFull) {
		t.Fatalf("Store on a full disk: %v; want ErrFull", err)
	}
	if m, err := db.Log().Mark(ctx, 0); err != nil || m != failed.From {
		t.Fatalf("Mark after a failed Store = %v, %v; want %v", m, err, failed.From)
	}
	if es, err := db.Cursors().Cursors(ctx, "nobody", nil); err != nil || len(es) != 0 {
		t.Fatalf("a read on a full disk: %v", err)
	}
	if err := db.LimitPages(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if err := db.Log().Store(ctx, failed); err != nil {
		t.Fatalf("Store when there is space again: %v", err)
	}
	for _, e := range failed.Entries { // conversations that got their number in the failed write have one now
		if got, err := db.Cursors().Entry(ctx, e.ConversationID, e.Seq); err != nil || got.Dedupe != e.Dedupe {
			t.Fatalf("Entry(%s, %d) = %v, %v; want it stored", e.ConversationID, e.Seq, got.Dedupe, err)
		}
	}
}

// Invariant 1: power loss takes nothing only with these settings, and no test without a power cut would miss them.
func TestSettings(t *testing.T) {
	t.Parallel()
	db := openDB(t, filepath.Join(t.TempDir(), "x.db"))
	for name, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "busy_timeout": "5000", "cache_size": "-65536", "temp_store": "2",
		"wal_autocheckpoint": "8192", "journal_size_limit": "67108864",
	} {
		if got, err := db.Pragma(t.Context(), name); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", name, got, err, want)
		}
	}
}
