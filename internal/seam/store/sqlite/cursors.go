package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Cursors implements store.Cursors. Owner: message.
type Cursors struct{ db *DB }

var _ store.Cursors = Cursors{}

// Cursors returns the part of db that message owns.
func (db *DB) Cursors() Cursors { return Cursors{db} }

const queryCursor = `SELECT seq, ordinal FROM read_cursor
	WHERE conv = (SELECT id FROM conv WHERE name = ?1) AND user_id = ?2`

// cursor returns a cursor, the zero one if none is stored.
func cursor(ctx context.Context, q querier, c chat.ConversationID, u chat.UserID) (store.Cursor, error) {
	k, err := one(ctx, q, func(r row, k *store.Cursor) error { return r.Scan(counter{&k.Seq}, counter{&k.Ordinal}) },
		queryCursor, c, u)
	if errors.Is(err, store.ErrNotFound) {
		return store.Cursor{}, nil
	}
	return k, err
}

// Advance implements store.Cursors. One that need not move costs a read only.
func (k Cursors) Advance(ctx context.Context, c chat.ConversationID, u chat.UserID, to store.Cursor, at time.Time) (
	now store.Cursor, moved bool, err error,
) {
	now, err = cursor(ctx, k.db, c, u)
	if err == nil && to.Seq > now.Seq {
		err = k.db.w.write(ctx, func(t *tx) (err error) {
			now, moved, err = t.advance(c, u, to, at)
			return err
		})
	}
	if err != nil {
		return store.Cursor{}, false, fmt.Errorf("advance cursor of %s in %s: %w", u, c, err)
	}
	return now, moved, nil
}

func (t *tx) advance(c chat.ConversationID, u chat.UserID, to store.Cursor, at time.Time) (store.Cursor, bool, error) {
	now, err := cursor(context.Background(), t, c, u)
	if err != nil || to.Seq <= now.Seq {
		return now, false, err
	}
	id, err := t.conv(c)
	if err != nil {
		return now, false, err
	}
	err = upsertCursors.insert(t, []any{id, u, count(to.Seq), count(to.Ordinal), millis(at)})
	return to, err == nil, err
}

// Cursors implements store.Cursors.
func (k Cursors) Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	return k.db.cursors(ctx, u, cs)
}

const queryEntry = `SELECT ` + entryColumns + ` FROM entry e WHERE e.conv = (SELECT id FROM conv WHERE name = ?1)
	AND e.seq = ?2`

// Entry implements store.Cursors.
func (k Cursors) Entry(ctx context.Context, c chat.ConversationID, seq uint64) (store.Entry, error) {
	e, err := one(ctx, k.db, scanEntry(c), queryEntry, c, count(seq))
	if err != nil {
		return store.Entry{}, fmt.Errorf("read entry %d of %s: %w", seq, c, err)
	}
	return e, nil
}
