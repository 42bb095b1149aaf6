package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/oceanchat/oceanchat/internal/durable"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// unsynced knows whether the log may have lost its end without a trace. With log.sync interval an entry may be delivered and lost in
// a power cut before either the log or the database has it on the disk. Its number is then given again, and nothing that is
// left tells: so after a process that did not end by itself the epoch is raised, and clients ask again for what they hold (L7).
//
// A file says that such a process runs. It is there also after a kill, which loses nothing: nobody can tell the two apart.
type unsynced struct {
	file     string
	nats     string // the folder of the server's files
	interval bool   // log.sync
	db       store.Log
	log      *slog.Logger
}

func newUnsynced(cfg *Config, db store.Log, log *slog.Logger) unsynced {
	return unsynced{
		file: filepath.Join(cfg.DataDir, "unsynced"), nats: filepath.Join(cfg.DataDir, "nats"),
		interval: cfg.Log.Sync == embedded.SyncInterval, db: db, log: log,
	}
}

// around runs the server of the log, and raises the epoch before if need be.
func (u unsynced) around(server func(context.Context, func()) error) func(context.Context, func()) error {
	return func(ctx context.Context, ready func()) error {
		if err := u.begin(ctx); err != nil {
			return err
		}
		if err := server(ctx, ready); err != nil || !u.interval {
			return err
		}
		return u.end()
	}
}

func (u unsynced) begin(ctx context.Context) error {
	_, err := os.Stat(u.file)
	there := err == nil
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("look whether the last process ended by itself: %w", err)
	}
	if there {
		if err := u.raise(ctx); err != nil {
			return fmt.Errorf("raise the epoch: %w", err)
		}
	}
	switch {
	case u.interval && !there:
		if err := durable.WriteFile(u.file, nil); err != nil {
			return fmt.Errorf("note that the log is not synced at once: %w", err)
		}
	case there && !u.interval:
		return os.Remove(u.file)
	}
	return nil
}

// raise raises the epoch, which is one for all partitions.
func (u unsynced) raise(ctx context.Context) error {
	mark, err := u.db.Mark(ctx, 0)
	if err != nil {
		return err
	}
	if err := u.db.MoveMark(ctx, 0, mark, mark, true); err != nil {
		return err
	}
	u.log.WarnContext(ctx, "the last process did not end by itself and log.sync is interval: the log may have lost its end, epoch raised")
	return nil
}

// end makes all of the log durable: the server leaves its last writes to time.
func (u unsynced) end() error {
	root, err := os.OpenRoot(u.nats)
	if err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	defer func() { _ = root.Close() }() // it was only read
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		f, err := root.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	if err != nil {
		return fmt.Errorf("sync the log: %w", err)
	}
	return os.Remove(u.file)
}
