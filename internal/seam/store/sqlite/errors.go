package sqlite

import (
	"errors"
	"fmt"
	"syscall"

	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

var (
	errClosed = errors.New("sqlite: the database is closed")
	// errForeign tells an operator that the path is wrong; the file is left alone.
	errForeign = errors.New("the file is not an OceanChat database; choose another path or move it away")
)

// alien returns err, of one write, for another write that it took along: only what SQLite said stays in the chain.
func alien(err error) error {
	var e *driver.Error
	if errors.As(err, &e) {
		return explain(e)
	}
	return errors.New(err.Error())
}

// explain says in words what an operator can do about err, or returns err. It keeps the chain.
func explain(err error) error {
	var e *driver.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case lib.SQLITE_FULL:
			return fmt.Errorf("%w: %w", store.ErrFull, err)
		case lib.SQLITE_IOERR:
			return fmt.Errorf("the disk answers with an error (sqlite code %d): %w", e.Code(), err)
		case lib.SQLITE_CORRUPT:
			return fmt.Errorf("the database file is damaged: %w", err)
		case lib.SQLITE_BUSY:
			return fmt.Errorf("another process holds the database: %w", err)
		case lib.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", errForeign, err)
		case lib.SQLITE_READONLY, lib.SQLITE_CANTOPEN, lib.SQLITE_PERM:
			return fmt.Errorf("the database file or its folder cannot be written: %w", err)
		}
		return err
	}
	if errors.Is(err, syscall.ENOSPC) && !errors.Is(err, store.ErrFull) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}
