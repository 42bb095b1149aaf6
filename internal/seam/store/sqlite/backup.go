package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Backup copies the database in the file at from, as it is at one moment, into the file at to, which must not exist. A server may be at work
// on it: it is not held up. The copy is whole, on the disk, readable by its owner only, and can be opened like any other.
func Backup(ctx context.Context, from, to string) error {
	from, err := filepath.Abs(from)
	if err != nil {
		return err
	}
	if _, err := os.Stat(from); err != nil {
		return err
	}
	if err := inspect(from); err != nil {
		return fmt.Errorf("database %s: %w", from, explain(err))
	}
	if err := create(to); err != nil {
		return err
	}
	if i, err := os.Stat(to); err != nil || i.Size() > 0 {
		return errors.Join(fmt.Errorf("%s is there already", to), err)
	}
	if err := copyInto(ctx, from, to); err != nil {
		return errors.Join(err, os.Remove(to))
	}
	return nil
}

func copyInto(ctx context.Context, from, to string) (err error) {
	db, err := sql.Open("sqlite", dsn(from))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", to); err != nil { // an empty file may be there
		return fmt.Errorf("copy %s: %w", from, explain(err))
	}
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close()) // SQLite does not do it
}
