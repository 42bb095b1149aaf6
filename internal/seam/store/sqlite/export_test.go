package sqlite

import (
	"context"
	"strconv"
	"strings"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Reads are the queries whose plans the tests check.
var Reads = map[string]string{
	"mark": queryMark, "epoch": queryEpoch, "heads": queryHeads, "dedupe": queryDedupe, "cursor": queryCursor,
	"cursors": queryCursors, "peer cursors": queryPeerCursors, "entry": queryEntry, "oldest": queryOldest, "newest": queryNewest, "at": queryAt,
	"bounds": queryBounds, "probe": queryProbe, "directs": queryDirects, "mentions": queryMentions,
	"account by username": queryByUsername, "account by id": queryByUserID, "outbox": queryOutbox, "secret": queryKept,
	"sessions": querySessions, "sessions of": querySessionsOf, "session": querySession, "device": queryDevice,
	"tokens": queryTokens, "profiles": queryProfiles, "profile": queryProfile, "username": queryUsername,
	"nicknames": queryNicknames, "relation": queryRelation, "pair": queryPair, "friends": queryFriends,
	"friend ids": queryFriendIDs, "outgoing": queryOutgoing, "incoming": queryIncoming, "blocks": queryBlocks,
	"unsettled": queryUnsettled, "groups": queryGroups, "unfinished": queryUnfinished, "unfinished of": queryUnfinishedOf, "waiting": queryWaiting, "members": queryMembers,
	"present": queryPresent, "present ids": queryPresentIDs, "memberships": queryMemberships, "ever": queryEver,
}

// Plan returns how SQLite runs a query, a line each step.
func (db *DB) Plan(ctx context.Context, query string) (string, error) {
	args := make([]any, 4)
	rows, err := db.pool.QueryContext(ctx, "EXPLAIN QUERY PLAN "+query, args[:params(query)]...)
	if err != nil {
		return "", err
	}
	defer func() { _ = rows.Close() }()
	var plan strings.Builder
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			return "", err
		}
		plan.WriteString(detail + "\n")
	}
	return plan.String(), rows.Err()
}

func params(query string) int {
	for n := 4; n > 0; n-- {
		if strings.Contains(query, "?"+string(rune('0'+n))) {
			return n
		}
	}
	return strings.Count(query, "?")
}

// LimitPages makes the file full at n pages; 0 takes the limit away.
func (db *DB) LimitPages(ctx context.Context, n int) error {
	if n == 0 {
		n = 1 << 30
	}
	_, err := db.w.conn.ExecContext(ctx, "PRAGMA max_page_count = "+strconv.Itoa(n))
	return err
}

// Pages returns how many pages the file has.
func (db *DB) Pages(ctx context.Context) (n int, err error) {
	err = db.pool.QueryRowContext(ctx, "PRAGMA page_count").Scan(&n)
	return n, err
}

// Write runs fn, with statements to run, as one write.
func (db *DB) Write(ctx context.Context, fn func(exec func(string, ...any) (int64, error)) error) error {
	return db.w.write(ctx, func(t *tx) error { return fn(t.exec) })
}

// FailAfter stores b and then fails with err, as a write does whose last statement fails.
func (db *DB) FailAfter(ctx context.Context, b store.Batch, err error) error {
	return db.w.write(ctx, func(t *tx) error {
		if e := t.storeBatch(b); e != nil {
			return e
		}
		return err
	})
}

// Waiting returns how many writes are in the queue.
func (db *DB) Waiting() int { return len(db.w.queue) }

// Pragma returns a setting of the writing connection.
func (db *DB) Pragma(ctx context.Context, name string) (value string, err error) {
	err = db.w.conn.QueryRowContext(ctx, "PRAGMA "+name).Scan(&value)
	return value, err
}

// Schemas is how many there are, the present one included.
func Schemas() int { return len(migrations) }

// Script returns the statements that make a file of an older schema.
func Script(version int) string {
	return strings.Join(migrations[:version], "\n") +
		"\nPRAGMA application_id = " + strconv.Itoa(applicationID) + "; PRAGMA user_version = " + strconv.Itoa(version)
}
