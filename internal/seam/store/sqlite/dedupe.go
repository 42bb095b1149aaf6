package sqlite

import (
	"context"
	"fmt"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// An index of hashes costs a third of the rate of storing if each batch maintains it: every entry dirties one more page
// at a random place. So hashes are indexed thousands at a time, sorted, which touches each page once. What is not indexed
// yet is the end of the table, which ByDedupe looks through.

// indexEvery is how many entries are indexed at once: some 30 ms, for which other writes wait. ByDedupe takes up to 3 ms
// for as many that are not indexed yet.
const indexEvery = 8192

const (
	queryUpto   = `SELECT entry FROM dedupe_upto WHERE one = 1`
	queryLast   = `SELECT ifnull(max(rowid), 0) FROM entry`
	queryDedupe = `SELECT ` + entryColumns + ` FROM conv c CROSS JOIN dedupe d ON d.conv = c.id AND d.hash = ?2
			CROSS JOIN entry e ON e.conv = d.conv AND e.seq = d.seq WHERE c.name = ?1
		UNION ALL SELECT ` + entryColumns + ` FROM entry e NOT INDEXED
			WHERE e.rowid > (SELECT entry FROM dedupe_upto WHERE one = 1) AND e.dedupe = ?2
			AND e.conv = (SELECT id FROM conv WHERE name = ?1)
		ORDER BY 1 DESC LIMIT 16`
)

// indexHashes indexes the hashes of entries once enough have gathered.
func (t *tx) indexHashes() error {
	ctx := context.Background()
	upto, err := one(ctx, t, scanID, queryUpto)
	if err != nil {
		return err
	}
	last, err := one(ctx, t, scanID, queryLast)
	if err != nil || last-upto < indexEvery {
		return err
	}
	if _, err := t.exec(`INSERT OR IGNORE INTO dedupe (conv, hash, seq) SELECT conv, dedupe, seq FROM entry
		WHERE rowid > ? AND rowid <= ? ORDER BY conv, dedupe, seq`, upto, last); err != nil {
		return err
	}
	_, err = t.exec(`UPDATE dedupe_upto SET entry = ?`, last)
	return err
}

// ByDedupe implements store.Log.
func (l Log) ByDedupe(ctx context.Context, c chat.ConversationID, dedupe uint64) ([]store.Entry, error) {
	es, err := list(ctx, l.db, scanEntry(c), queryDedupe, c, int64(dedupe))
	if err != nil {
		return nil, fmt.Errorf("look up entry of %s by hash: %w", c, err)
	}
	return es, nil
}
