package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// schema returns the version of the one process's database, from the header of its file. The process must have ended.
func (w *world) schema() (uint32, error) {
	const at = 60 // the header's field for user_version
	var header [at + 4]byte
	f, err := os.Open(filepath.Join(w.dir, "data", "oceanchat.db"))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	_, err = f.ReadAt(header[:], 0)
	return binary.BigEndian.Uint32(header[at:]), err
}

// open starts the one process as a version, on the data that another has left. The old version refuses a database that
// the new one has migrated, and says so; then there is no way back but a back-up, and the new one goes on.
func (w *world) open(ctx context.Context, p *local.Process, to version) (version, error) {
	now, err := w.schema()
	if err != nil {
		return to, err
	}
	if to == w.fresh || now == w.made {
		if to == w.fresh && w.made == 0 {
			w.made = now // what the old version has made
		}
		return to, p.Restart(ctx)
	}
	const words = "its schema is version"
	if err := p.Restart(ctx); err == nil {
		return to, fmt.Errorf("the old version opens a database that was migrated from %d to %d", w.made, now)
	} else if !strings.Contains(err.Error(), words) {
		return to, fmt.Errorf("the old version on a database that was migrated from %d to %d: %w; want an end with %q", w.made, now, err, words)
	}
	_, _ = fmt.Fprintf(w.out, "the new version has migrated the database from %d to %d, and the old one refuses it as it should: on with the new one\n", w.made, now)
	p.Use(w.fresh.path)
	return w.fresh, p.Restart(ctx)
}
