package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Log implements store.Log. Owner: persistence.
type Log struct{ db *DB }

var _ store.Log = Log{}

// Log returns the part of db that persistence owns.
func (db *DB) Log() Log { return Log{db} }

var (
	insertEntries = newBulk("INSERT OR FAIL INTO entry (conv, seq, ordinal, sender, sent_at, kind, dedupe, data)", 8,
		"ON CONFLICT (conv, seq) DO NOTHING")
	upsertHeads = newBulk("INSERT INTO head (conv, seq, ordinal, notice_seq, sent_at, position)", 6,
		`ON CONFLICT (conv) DO UPDATE SET seq = excluded.seq, ordinal = excluded.ordinal,
		notice_seq = excluded.notice_seq, sent_at = excluded.sent_at, position = excluded.position
		WHERE excluded.seq > head.seq`)
	upsertCursors = newBulk("INSERT INTO read_cursor (conv, user_id, seq, ordinal, changed_at)", 5,
		`ON CONFLICT (conv, user_id) DO UPDATE SET seq = excluded.seq, ordinal = excluded.ordinal,
		changed_at = excluded.changed_at WHERE excluded.seq > read_cursor.seq`)
	insertMentions = newBulk("INSERT OR IGNORE INTO mention (user_id, conv, seq)", 3, "")
	insertRaw      = newBulk("INSERT OR IGNORE INTO raw (partition, incarnation, position, data)", 4, "")
	insertDirects  = newBulk("INSERT OR IGNORE INTO direct (user_id, conv)", 2, "")
)

// Store implements store.Log; on a conflict it stores nothing.
func (l Log) Store(ctx context.Context, b store.Batch) error {
	err := l.db.w.write(ctx, func(t *tx) error { return t.storeBatch(b) })
	if err != nil {
		return fmt.Errorf("store batch of partition %d up to %d: %w", b.Partition, b.To.Position, err)
	}
	return nil
}

func (t *tx) storeBatch(b store.Batch) error {
	if err := t.moveMark(b.Partition, b.From, b.To); err != nil {
		return err
	}
	for _, step := range []func(store.Batch) error{t.storeEntries, t.storeHeads, t.storeRead, t.storeMentions, t.storeRaw} {
		if err := step(b); err != nil {
			return err
		}
	}
	return t.indexHashes()
}

func (t *tx) storeHeads(b store.Batch) error {
	args := make([]any, 0, len(b.Heads)*upsertHeads.cols)
	for _, h := range b.Heads {
		id, err := t.conv(h.ConversationID)
		if err != nil {
			return err
		}
		args = append(args, id, count(h.Seq), count(h.Ordinal), count(h.NoticeSeq), millis(h.SentAt), count(h.Position))
	}
	return upsertHeads.insert(t, args)
}

func (t *tx) storeRead(b store.Batch) error {
	args := make([]any, 0, len(b.Read)*upsertCursors.cols)
	for _, r := range b.Read {
		id, err := t.conv(r.ConversationID)
		if err != nil {
			return err
		}
		args = append(args, id, r.UserID, count(r.Seq), count(r.Ordinal), millis(r.ChangedAt))
	}
	return upsertCursors.insert(t, args)
}

func (t *tx) storeMentions(b store.Batch) error {
	args := make([]any, 0, len(b.Mentions)*insertMentions.cols)
	for _, m := range b.Mentions {
		id, err := t.conv(m.ConversationID)
		if err != nil {
			return err
		}
		args = append(args, m.UserID, id, count(m.Seq))
	}
	return insertMentions.insert(t, args)
}

func (t *tx) storeRaw(b store.Batch) error {
	args := make([]any, 0, len(b.Raw)*insertRaw.cols)
	for _, r := range b.Raw {
		args = append(args, b.Partition, b.To.Incarnation, count(r.Position), blob(r.Data))
	}
	return insertRaw.insert(t, args)
}

// storeEntries stores entries and lists the direct conversations that begin with them.
func (t *tx) storeEntries(b store.Batch) error {
	args := make([]any, 0, len(b.Entries)*insertEntries.cols)
	var directs []any
	for i := range b.Entries {
		e := &b.Entries[i]
		id, err := t.conv(e.ConversationID)
		if err != nil {
			return err
		}
		args = append(args, id, count(e.Seq), count(e.Ordinal), string(e.SenderID), millis(e.SentAt), int64(e.Kind),
			int64(e.Dedupe), blob(e.Data))
		if e.Seq == 1 && e.ConversationID.Kind() == chat.KindDirect {
			one, other := e.ConversationID.Users()
			directs = append(directs, one, id, other, id)
		}
	}
	if err := insertEntries.insert(t, args); err != nil {
		return err
	}
	return insertDirects.insert(t, directs)
}

// moveMark moves a mark from from to to, or returns store.ErrConflict.
func (t *tx) moveMark(partition int, from, to store.Mark) error {
	now, err := readMark(context.Background(), t, partition)
	if err != nil {
		return err
	}
	if now != from {
		return store.ErrConflict
	}
	_, err = t.exec(`INSERT INTO mark (partition, incarnation, position) VALUES (?, ?, ?) ON CONFLICT (partition)
		DO UPDATE SET incarnation = excluded.incarnation, position = excluded.position`,
		partition, to.Incarnation, count(to.Position))
	return err
}

const queryMark = `SELECT incarnation, position FROM mark WHERE partition = ?`

func readMark(ctx context.Context, q querier, partition int) (store.Mark, error) {
	m, err := one(ctx, q, func(r row, m *store.Mark) error { return r.Scan(&m.Incarnation, counter{&m.Position}) },
		queryMark, partition)
	if errors.Is(err, store.ErrNotFound) {
		return store.Mark{}, nil
	}
	return m, err
}

// Mark implements store.Log.
func (l Log) Mark(ctx context.Context, partition int) (store.Mark, error) {
	m, err := readMark(ctx, l.db, partition)
	if err != nil {
		return store.Mark{}, fmt.Errorf("read mark of partition %d: %w", partition, err)
	}
	return m, nil
}

// MoveMark implements store.Log.
func (l Log) MoveMark(ctx context.Context, partition int, from, to store.Mark, raise bool) error {
	err := l.db.w.write(ctx, func(t *tx) error {
		if err := t.moveMark(partition, from, to); err != nil || !raise {
			return err
		}
		_, err := t.exec(`UPDATE epoch SET value = max(value + 1, ?)`, time.Now().UnixMilli())
		return err
	})
	if err != nil {
		return fmt.Errorf("move mark of partition %d: %w", partition, err)
	}
	return nil
}

const queryEpoch = `SELECT value FROM epoch WHERE one = 1`

// Epoch implements store.Log.
func (l Log) Epoch(ctx context.Context) (uint64, error) {
	n, err := one(ctx, l.db, scanCount, queryEpoch)
	if err != nil {
		return 0, fmt.Errorf("read epoch: %w", err)
	}
	return n, nil
}

// Heads implements store.Log.
func (l Log) Heads(ctx context.Context, ids []chat.ConversationID) ([]store.Head, error) {
	return l.db.heads(ctx, ids)
}
