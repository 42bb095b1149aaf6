package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Reader implements store.Reader. Owner: query.
type Reader struct{ db *DB }

var _ store.Reader = Reader{}

// Reader returns the part of db that query reads through.
func (db *DB) Reader() Reader { return Reader{db} }

const (
	queryOldest = `SELECT ` + entryColumns + ` FROM entry e WHERE e.conv = (SELECT id FROM conv WHERE name = ?1)
		AND e.seq BETWEEN ?2 AND ?3 ORDER BY e.seq LIMIT ?4`
	queryNewest = `SELECT ` + entryColumns + ` FROM entry e WHERE e.conv = (SELECT id FROM conv WHERE name = ?1)
		AND e.seq BETWEEN ?2 AND ?3 ORDER BY e.seq DESC LIMIT ?4`
)

// Range implements store.Reader.
func (r Reader) Range(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) (
	[]store.Entry, error,
) {
	if limit <= 0 || from > to {
		return nil, nil
	}
	query := queryOldest
	if newest {
		query = queryNewest
	}
	es, err := list(ctx, r.db, scanEntry(c), query, c, count(from), count(to), limit)
	if err != nil {
		return nil, fmt.Errorf("read entries %d to %d of %s: %w", from, to, c, err)
	}
	if newest {
		slices.Reverse(es)
	}
	return es, nil
}

const queryAt = `SELECT c.name, ` + entryColumns + ` FROM json_each(?1) j
	CROSS JOIN conv c ON c.name = json_extract(j.value, '$[0]')
	CROSS JOIN entry e ON e.conv = c.id AND e.seq = json_extract(j.value, '$[1]')`

// At implements store.Reader.
func (r Reader) At(ctx context.Context, at []store.EntryKey) ([]store.Entry, error) {
	if len(at) == 0 {
		return nil, nil
	}
	keys := make([][2]any, len(at))
	for i, k := range at {
		keys[i] = [2]any{k.ConversationID, count(k.Seq)}
	}
	es, err := list(ctx, r.db, func(r row, e *store.Entry) error { return scanColumns(r, e, &e.ConversationID) },
		queryAt, jsonOf(keys))
	if err != nil {
		return nil, fmt.Errorf("read %d entries: %w", len(at), err)
	}
	return es, nil
}

const (
	queryBounds = `SELECT (SELECT seq FROM entry WHERE conv = c.id ORDER BY seq LIMIT 1),
		(SELECT seq FROM entry WHERE conv = c.id ORDER BY seq DESC LIMIT 1)
		FROM conv c WHERE c.name = ?1 AND EXISTS (SELECT 1 FROM entry WHERE conv = c.id)`
	queryProbe = `SELECT seq, sent_at FROM entry WHERE conv = (SELECT id FROM conv WHERE name = ?1) AND seq >= ?2
		ORDER BY seq LIMIT 1`
)

// FirstAt implements store.Reader. As sentAt never falls within a conversation it halves the range of seqs again and
// again, some 20 look-ups for a million entries, and needs no index of times.
func (r Reader) FirstAt(ctx context.Context, c chat.ConversationID, t time.Time) (uint64, error) {
	seq, err := r.firstAt(ctx, c, t)
	if err != nil {
		return 0, fmt.Errorf("find first entry of %s at a time: %w", c, err)
	}
	return seq, nil
}

func (r Reader) firstAt(ctx context.Context, c chat.ConversationID, t time.Time) (found uint64, err error) {
	type pair struct{ a, b int64 }
	scan := func(r row, p *pair) error { return r.Scan(&p.a, &p.b) }
	bounds, err := one(ctx, r.db, scan, queryBounds, c)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	for lo, hi := bounds.a, bounds.b; err == nil && lo <= hi; {
		mid := lo + (hi-lo)/2
		var at pair // seq and time of the first entry from mid on; holes are skipped
		if at, err = one(ctx, r.db, scan, queryProbe, c, mid); err != nil {
			break
		}
		if at.b < millis(t) {
			lo = at.a + 1
		} else {
			found, hi = uint64(at.a), mid-1
		}
	}
	return found, err
}

// Heads implements store.Reader.
func (r Reader) Heads(ctx context.Context, ids []chat.ConversationID) ([]store.Head, error) {
	return r.db.heads(ctx, ids)
}

const queryDirects = `SELECT c.name FROM direct d CROSS JOIN conv c ON c.id = d.conv WHERE d.user_id = ?1`

// Directs implements store.Reader.
func (r Reader) Directs(ctx context.Context, u chat.UserID) ([]chat.ConversationID, error) {
	cs, err := list(ctx, r.db, scanString[chat.ConversationID], queryDirects, u)
	if err != nil {
		return nil, fmt.Errorf("list direct conversations of %s: %w", u, err)
	}
	return cs, nil
}

// Cursors implements store.Reader.
func (r Reader) Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	return r.db.cursors(ctx, u, cs)
}

const queryMentions = `SELECT c.name, m.seq FROM json_each(?1) j CROSS JOIN conv c ON c.name = j.key
	CROSS JOIN mention m ON m.user_id = ?2 AND m.conv = c.id AND m.seq =
	(SELECT min(f.seq) FROM mention f WHERE f.user_id = ?2 AND f.conv = c.id AND f.seq > j.value)`

// FirstMentions implements store.Reader.
func (r Reader) FirstMentions(ctx context.Context, u chat.UserID, after map[chat.ConversationID]uint64) (
	map[chat.ConversationID]uint64, error,
) {
	first := make(map[chat.ConversationID]uint64)
	if len(after) == 0 {
		return first, nil
	}
	bounds := make(map[chat.ConversationID]int64, len(after))
	for c, seq := range after {
		bounds[c] = count(seq)
	}
	err := each(ctx, r.db, func(r row) error {
		var c chat.ConversationID
		var seq uint64
		err := r.Scan(&c, counter{&seq})
		first[c] = seq
		return err
	}, queryMentions, jsonOf(bounds), u)
	if err != nil {
		return nil, fmt.Errorf("find first mentions of %s: %w", u, err)
	}
	return first, nil
}
