package sqlitestore_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/sdk/go/sqlitestore"
	"github.com/oceanchat/oceanchat/sdk/go/store"
	"github.com/oceanchat/oceanchat/sdk/go/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *sqlitestore.Store {
	t.Helper()
	s, err := sqlitestore.Open(path)
	if err != nil {
		t.Fatalf("Open = %v; want nil", err)
	}
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	var paths sync.Map
	storetest.Test(t, func(t *testing.T) store.Store {
		t.Helper()
		path, _ := paths.LoadOrStore(t.Name(), filepath.Join(t.TempDir(), "client store?.db"))
		return open(t, path.(string))
	}, true)
}

func TestFileIsPrivate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "a.db"))
	defer func() { _ = s.Close() }()
	if err := s.Apply(t.Context(), store.Batch{Meta: &store.Meta{UserID: "u1"}}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		info, err := f.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s = %v, %v; want 0600", f.Name(), info.Mode().Perm(), err)
		}
	}
}

// Two clients on one file would disconnect each other.
func TestSecondIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	s := open(t, path)
	if second, err := sqlitestore.Open(path); err == nil {
		_ = second.Close()
		t.Error("a second Open = nil; want an error")
	} else if want := "open client store " + path + ": another program has the file open"; err.Error() != want {
		t.Errorf("a second Open = %q; want %q", err, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := open(t, path).Close(); err != nil {
		t.Errorf("Close after another Open = %v; want nil", err)
	}
}

func TestForeignFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notes.txt")
	text := strings.Repeat("not a database\n", 100)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlitestore.Open(path); err == nil {
		_ = s.Close()
		t.Error("Open of a text = nil; want an error")
	} else if want := "open client store " + path + ": the file is not a client's store"; err.Error() != want {
		t.Errorf("Open of a text = %q; want %q", err, want)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != text {
		t.Errorf("the text was changed: %d bytes, %v", len(got), err)
	}
}
