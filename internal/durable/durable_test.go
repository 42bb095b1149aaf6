package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/oceanchat/oceanchat/internal/durable"
)

func TestWriteFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	for _, want := range []string{"the first", "", "another"} {
		if err := durable.WriteFile(path, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("read %q, %v; want %q", got, err, want)
		}
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(files) != 1 {
		t.Errorf("the directory holds %v, %v; want the file alone", files, err)
	}
	missing := filepath.Join(t.TempDir(), "no", "f")
	for name, err := range map[string]error{"WriteFile": durable.WriteFile(missing, nil), "Sync": durable.Sync(missing)} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s where there is no directory = %v; want ErrNotExist", name, err)
		}
	}
}
