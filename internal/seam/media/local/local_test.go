package local_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/media"
	"github.com/oceanchat/oceanchat/internal/seam/media/local"
	"github.com/oceanchat/oceanchat/internal/seam/media/mediatest"
)

func open(t *testing.T, dir string) *local.Blobs {
	t.Helper()
	b, err := local.Open(dir)
	if err != nil {
		t.Fatalf("Open(%s) = %v; want no error", dir, err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

func TestBlobs(t *testing.T) {
	mediatest.TestBlobs(t, func(t *testing.T) media.Blobs { return open(t, t.TempDir()) })
}

// TestReopen: blobs stay, and what a crash left half written goes.
func TestReopen(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "media")
	b := open(t, dir)
	if err := b.Put(t.Context(), "m1", strings.NewReader("hello"), 5); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "parts.tmp", "half"), []byte("he"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	b = open(t, dir)
	r, info, err := b.Open(t.Context(), "m1")
	if err != nil || info.Size != 5 {
		t.Fatalf("Open after reopening = %+v, %v; want 5 bytes", info, err)
	}
	_ = r.Close()
	if got := files(t, dir); len(got) != 1 {
		t.Errorf("files = %v; want the blob alone", got)
	}
}

// TestStaysInside: no id leaves the folder, and a failed Put leaves nothing behind (invariant 8).
func TestStaysInside(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	b := open(t, filepath.Join(parent, "media"))
	for _, id := range []string{"../evil", "a/../../evil", "/evil", "..", ".", "", "a\x00b", "parts.tmp", `..\evil`} {
		if err := b.Put(t.Context(), id, strings.NewReader("x"), 1); err == nil {
			t.Errorf("Put(%q) = nil; want an error", id)
		}
	}
	if err := b.Put(t.Context(), "short", strings.NewReader("x"), 2); err == nil {
		t.Error("Put of too few bytes = nil; want an error")
	}
	if got := files(t, parent); len(got) != 0 {
		t.Errorf("files = %v; want none", got)
	}
}

func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
