// Package sqlite keeps everything of package store in one SQLite file: the embedded side of the seam.
//
// It owns the file, its schema and its one writing connection. It knows no rule of any service: what a change means is
// decided above it. It never touches a file that is not its own, and never one that a newer version has written.
//
// Invariants: a write that returned nil is on the disk (WAL, synchronous=FULL); what a read sees is on the disk too, as
// readers see committed transactions only; a write is done as a whole or not at all, whatever else is in its group.
//
// Writes go through one goroutine that gathers those which wait into one transaction and commits once (see writer.go).
// Measured alternatives: Pebble is faster (spike D) but needs hand-made indexes; WITHOUT ROWID for entries halves the
// rate of storing, so entries are a rowid table with a unique index, and only small rows live in their key's tree.
package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	_ "modernc.org/sqlite" // the driver, registered as "sqlite"

	"github.com/oceanchat/oceanchat/internal/durable"
)

const (
	readers     = 8    // connections that read
	writerCache = 64   // MiB of page cache
	readerCache = 4    // MiB of page cache, for each reader
	busyTimeout = 5000 // ms to wait for another process, for instance one that makes a backup
	// checkpointPages is how many pages the WAL gathers before they are copied into the file, 32 MiB: hot pages are
	// then copied once for many commits. The default of 1,000 did so after every second batch.
	checkpointPages = 8192
)

// DB is an open database. Its methods return the parts of the seam, each for its owner; all share the file and are
// safe for concurrent use.
type DB struct {
	pool  *sql.DB // readers
	slots chan struct{}
	stmts sync.Map // query string -> *sql.Stmt, of pool
	w     *writer
}

// Open opens the database in the file at path, which it makes if there is none, and brings its schema up to date. The
// folder must exist. The file and those beside it (-wal, -shm) are readable by their owner only. A file that is not
// OceanChat's, or of a newer version, is refused and left as it is. Close the DB when done.
func Open(path string) (*DB, error) {
	db, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", path, explain(err))
	}
	return db, nil
}

func open(path string) (*DB, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := create(path); err != nil {
		return nil, err
	}
	if err := inspect(path); err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, err
	}
	w, err := newWriter(dsn(path, "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", writerCache<<10), fmt.Sprintf("wal_autocheckpoint(%d)", checkpointPages),
		"journal_size_limit(67108864)"))
	if err != nil {
		return nil, err
	}
	db := &DB{w: w, slots: make(chan struct{}, readers)}
	db.pool, err = sql.Open("sqlite", dsn(path, "query_only(1)", fmt.Sprintf("cache_size(-%d)", readerCache<<10)))
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	db.pool.SetMaxOpenConns(readers)
	db.pool.SetMaxIdleConns(readers)
	return db, nil
}

// create makes an empty file with narrow rights, if there is none, and its name durable.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(path))
}

// dsn names the file for the driver, with pragmas that it runs on each new connection.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{fmt.Sprintf("busy_timeout(%d)", busyTimeout)}, pragmas...)}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String()
}

// Close waits for the writes that were handed in, refuses further ones, and closes the file. Reads must have ended.
func (db *DB) Close() error {
	// Readers go first: the connection that closes last copies the WAL into the file and removes it.
	return errors.Join(db.pool.Close(), db.w.close())
}
