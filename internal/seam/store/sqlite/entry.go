package sqlite

import (
	"context"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// What several owners read of conversations.

const entryColumns = `e.seq, e.ordinal, e.sender, e.sent_at, e.kind, e.dedupe, e.data`

// scanEntry scans entryColumns of an entry of c.
func scanEntry(c chat.ConversationID) func(row, *store.Entry) error {
	return func(r row, e *store.Entry) error {
		e.ConversationID = c
		return scanColumns(r, e)
	}
}

// scanColumns scans entryColumns and whatever else there is before them.
func scanColumns(r row, e *store.Entry, before ...any) error {
	var dedupe int64
	dest := append(before, counter{&e.Seq}, counter{&e.Ordinal}, &e.SenderID, stamp{&e.SentAt}, &e.Kind, &dedupe, &e.Data)
	err := r.Scan(dest...)
	e.Dedupe = uint64(dedupe)
	return err
}

// CROSS JOIN fixes the order of joining: from the list that the caller gives to the rows it names.
const queryHeads = `SELECT c.name, h.seq, h.ordinal, h.notice_seq, h.sent_at, h.position FROM json_each(?1) j
	CROSS JOIN conv c ON c.name = j.value CROSS JOIN head h ON h.conv = c.id`

func (db *DB) heads(ctx context.Context, ids []chat.ConversationID) ([]store.Head, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	hs, err := list(ctx, db, func(r row, h *store.Head) error {
		return r.Scan(&h.ConversationID, counter{&h.Seq}, counter{&h.Ordinal}, counter{&h.NoticeSeq}, stamp{&h.SentAt},
			counter{&h.Position})
	}, queryHeads, jsonOf(ids))
	if err != nil {
		return nil, fmt.Errorf("read %d heads: %w", len(ids), err)
	}
	return hs, nil
}

const queryCursors = `SELECT c.name, k.seq, k.ordinal, k.changed_at FROM json_each(?1) j
	CROSS JOIN conv c ON c.name = j.value CROSS JOIN read_cursor k ON k.conv = c.id AND k.user_id = ?2`

func (db *DB) cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	if len(cs) == 0 {
		return nil, nil
	}
	ks, err := list(ctx, db, func(r row, k *store.CursorOf) error {
		k.UserID = u
		return r.Scan(&k.ConversationID, counter{&k.Seq}, counter{&k.Ordinal}, stamp{&k.ChangedAt})
	}, queryCursors, jsonOf(cs), u)
	if err != nil {
		return nil, fmt.Errorf("read cursors of %s: %w", u, err)
	}
	return ks, nil
}

const queryPeerCursors = `SELECT c.name, k.user_id, k.seq, k.ordinal, k.changed_at FROM json_each(?1) j
	CROSS JOIN conv c ON c.name = j.value CROSS JOIN read_cursor k ON k.conv = c.id AND k.user_id <> ?2`

// PeerCursors implements store.Reader.
func (r Reader) PeerCursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	if len(cs) == 0 {
		return nil, nil
	}
	ks, err := list(ctx, r.db, func(r row, k *store.CursorOf) error {
		return r.Scan(&k.ConversationID, &k.UserID, counter{&k.Seq}, counter{&k.Ordinal}, stamp{&k.ChangedAt})
	}, queryPeerCursors, jsonOf(cs), u)
	if err != nil {
		return nil, fmt.Errorf("read cursors of the peers of %s: %w", u, err)
	}
	return ks, nil
}
