package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// querier is what both the readers and an open transaction can do.
type querier interface {
	// rows runs a query. The caller closes the rows, then calls done.
	rows(ctx context.Context, query string, args []any) (rows *sql.Rows, done func(), err error)
}

// row is one row of a result.
type row interface{ Scan(dest ...any) error }

// rows implements querier on the readers. ctx bounds the wait for one; the query itself is short and runs to its end,
// since the driver drops a connection, with its cache, that was interrupted.
func (db *DB) rows(ctx context.Context, query string, args []any) (*sql.Rows, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	select {
	case db.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	done := func() { <-db.slots }
	ctx = context.WithoutCancel(ctx)
	stmt, err := db.stmt(ctx, query)
	if err != nil {
		done()
		return nil, nil, err
	}
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		done()
		return nil, nil, err
	}
	return rows, done, nil
}

// stmt returns the prepared statement of query; there are as many as queries in this package.
func (db *DB) stmt(ctx context.Context, query string) (*sql.Stmt, error) {
	if s, ok := db.stmts.Load(query); ok {
		return s.(*sql.Stmt), nil
	}
	s, err := db.pool.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	if old, loaded := db.stmts.LoadOrStore(query, s); loaded {
		_ = s.Close() // another was faster
		return old.(*sql.Stmt), nil
	}
	return s, nil
}

// each calls scan for every row of a query.
func each(ctx context.Context, q querier, scan func(row) error, query string, args ...any) (err error) {
	rows, done, err := q.rows(ctx, query, args)
	if err != nil {
		return explain(err)
	}
	defer done()
	defer func() { // closing twice is harmless
		if e := rows.Close(); err == nil {
			err = explain(e)
		}
	}()
	for n := 0; rows.Next(); n++ {
		if n%256 == 255 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := scan(rows); err != nil {
			return fmt.Errorf("read stored row: %w", err)
		}
	}
	return explain(rows.Err())
}

// list returns all rows of a query.
func list[T any](ctx context.Context, q querier, scan func(row, *T) error, query string, args ...any) ([]T, error) {
	var all []T
	err := each(ctx, q, func(r row) error {
		var v T
		if err := scan(r, &v); err != nil {
			return err
		}
		all = append(all, v)
		return nil
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return all, nil
}

// one returns the first row of a query, or store.ErrNotFound.
func one[T any](ctx context.Context, q querier, scan func(row, *T) error, query string, args ...any) (T, error) {
	all, err := list(ctx, q, scan, query, args...)
	if err == nil && len(all) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		var none T
		return none, err
	}
	return all[0], nil
}

// scanString, scanCount and scanBytes are for results of one column.
func scanString[T ~string](r row, v *T) error { return r.Scan(v) }

func scanCount(r row, n *uint64) error { return r.Scan(counter{n}) }

func scanBytes(r row, b *[]byte) error { return r.Scan(b) }
