// Package sqlitestore keeps a client's memory in one SQLite file, without cgo: outbox, tokens, sync token and entries
// outlive the process, also one that is killed. It decides nothing; see package store for what each part means.
//
// The file holds tokens and messages, so only its owner may read it. It is locked while it is open: a second client on
// the same file is refused, because two with one device would disconnect each other. A file that something else wrote,
// or a newer version, is refused and left as it is.
package sqlitestore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"modernc.org/sqlite" // it also registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

const (
	applicationID = 0x4f434344 // "OCCD": a client's data
	schemaVersion = 1
	cacheKiB      = 2048
)

const schema = `
CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 0), user_id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE conversation (id TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE held (conversation TEXT PRIMARY KEY, ranges BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entry (conversation TEXT NOT NULL, seq INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (conversation, seq)) WITHOUT ROWID;
CREATE TABLE outbox (id TEXT PRIMARY KEY, n INTEGER NOT NULL, request BLOB NOT NULL, failed BLOB);
CREATE TABLE cursor (reader TEXT NOT NULL, conversation TEXT NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (reader, conversation)) WITHOUT ROWID;
`

// Store is an open file. It is safe for concurrent use by one client.
type Store struct{ db *sql.DB }

var _ store.Store = (*Store)(nil)

// Open opens the file at path, which it makes if there is none; the folder must exist. One file is for one user on one
// device: name it after both. Close it after the client.
func Open(path string) (*Store, error) {
	s, err := open(path)
	if err != nil {
		return nil, fmt.Errorf("open client store %s: %w", path, err)
	}
	return s, nil
}

func open(path string) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	// One connection: the client writes one batch at a time, and a locked file has room for no other.
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {
		"busy_timeout(0)", "locking_mode(EXCLUSIVE)", "journal_mode(WAL)", "synchronous(NORMAL)", "temp_store(MEMORY)",
		fmt.Sprintf("cache_size(-%d)", cacheKiB),
	}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}).String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	db.SetConnMaxLifetime(0)
	s := &Store{db}
	if err := s.prepare(context.Background()); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// prepare makes the schema of a new file, or checks that of an old one. Its transaction also takes the lock.
func (s *Store) prepare(ctx context.Context) error {
	return s.write(ctx, func(t tx) error {
		var id, version, tables int
		for pragma, to := range map[string]*int{"application_id": &id, "user_version": &version} {
			if err := t.QueryRowContext(ctx, "PRAGMA "+pragma).Scan(to); err != nil {
				return err
			}
		}
		if err := t.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil {
			return err
		}
		switch {
		case id == applicationID && version == schemaVersion:
			_, err := t.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", schemaVersion)) // a write: the lock is ours
			return err
		case id == applicationID:
			return fmt.Errorf("the file has version %d; this is version %d", version, schemaVersion)
		case id != 0 || tables > 0:
			return errors.New("the file is not a client's store")
		}
		_, err := t.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d; %s", applicationID, schemaVersion, schema))
		return err
	})
}

// Close implements store.Store.
func (s *Store) Close() error { return s.db.Close() }

// tx is a transaction that remembers its context.
type tx struct {
	*sql.Tx
	ctx context.Context //nolint:containedctx // as long as the transaction
}

func (t tx) exec(query string, args ...any) error {
	_, err := t.ExecContext(t.ctx, query, args...)
	return err
}

func (s *Store) write(ctx context.Context, f func(t tx) error) error {
	t, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	if err := f(tx{t, ctx}); err != nil {
		return errors.Join(explain(err), t.Rollback())
	}
	return explain(t.Commit())
}

// explain says in plain words what may happen to anybody, and gives a closed database its name in package store.
func explain(err error) error {
	var lite *sqlite.Error
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "database is closed"): // database/sql does not export it
		return store.ErrClosed
	case !errors.As(err, &lite):
		return err
	}
	switch lite.Code() & 0xff { // the rest of an extended code
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return errors.New("another program has the file open")
	case sqlite3.SQLITE_NOTADB:
		return errors.New("the file is not a client's store")
	case sqlite3.SQLITE_CORRUPT:
		return fmt.Errorf("the file is damaged: %w", err)
	case sqlite3.SQLITE_FULL:
		return fmt.Errorf("the disk is full: %w", err)
	}
	return err
}

// Apply implements store.Store.
func (s *Store) Apply(ctx context.Context, b store.Batch) error {
	err := s.write(ctx, func(t tx) error {
		for _, step := range []func(tx, store.Batch) error{remove, putMeta, putCache, putOutbox} {
			if err := step(t, b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("apply a batch: %w", err)
	}
	return nil
}

// remove does what comes first: wipe, truncate, forget.
func remove(t tx, b store.Batch) error {
	if b.Wipe {
		empty, err := json.Marshal(store.Meta{})
		if err != nil {
			return err
		}
		for _, q := range []string{"DELETE FROM conversation", "DELETE FROM held", "DELETE FROM entry"} {
			if err := t.exec(q); err != nil {
				return err
			}
		}
		if err := t.exec("UPDATE meta SET body = ?", empty); err != nil {
			return err
		}
	}
	for c, last := range b.Truncate {
		if err := truncate(t, c, last); err != nil {
			return err
		}
	}
	for c, first := range b.Forget {
		if err := t.exec("DELETE FROM entry WHERE conversation = ? AND seq < ?", c, int64(first)); err != nil {
			return err
		}
	}
	return nil
}

func truncate(t tx, c string, last uint64) error {
	if err := t.exec("DELETE FROM entry WHERE conversation = ? AND seq > ?", c, int64(last)); err != nil {
		return err
	}
	if err := t.exec("UPDATE cursor SET seq = ?2 WHERE conversation = ?1 AND seq > ?2", c, int64(last)); err != nil {
		return err
	}
	var body []byte
	err := t.QueryRowContext(t.ctx, "SELECT ranges FROM held WHERE conversation = ?", c).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	var held store.Ranges
	if err := json.Unmarshal(body, &held); err != nil {
		return err
	}
	return putHeld(t, c, held.Truncate(last))
}

// The user's id has a column of its own, as it stays when the rest is wiped.
func putMeta(t tx, b store.Batch) error {
	if b.Meta == nil {
		return nil
	}
	body, err := json.Marshal(b.Meta)
	if err != nil {
		return err
	}
	return t.exec("INSERT OR REPLACE INTO meta (id, user_id, body) VALUES (0, ?, ?)", b.Meta.UserID, body)
}

func putHeld(t tx, c string, held store.Ranges) error {
	body, err := json.Marshal(held)
	if err != nil {
		return err
	}
	return t.exec("INSERT OR REPLACE INTO held (conversation, ranges) VALUES (?, ?)", c, body)
}

func putCache(t tx, b store.Batch) error {
	for _, c := range b.Conversations {
		body, err := proto.Marshal(c)
		if err != nil {
			return err
		}
		if err := t.exec("INSERT OR REPLACE INTO conversation (id, body) VALUES (?, ?)", c.GetConversationId(), body); err != nil {
			return err
		}
	}
	for _, e := range b.Entries {
		body, err := proto.Marshal(e)
		if err != nil {
			return err
		}
		err = t.exec("INSERT OR REPLACE INTO entry (conversation, seq, body) VALUES (?, ?, ?)", e.GetConversationId(), int64(e.GetSeq()), body)
		if err != nil {
			return err
		}
	}
	for c, held := range b.Held {
		if err := putHeld(t, c, held); err != nil {
			return err
		}
	}
	return nil
}

func putOutbox(t tx, b store.Batch) error {
	for _, it := range b.Put {
		err := t.exec("INSERT OR REPLACE INTO outbox (id, n, request, failed) VALUES (?, ?, ?, ?)", it.ID, int64(it.N), it.Request, it.Failed)
		if err != nil {
			return err
		}
	}
	for _, id := range b.Remove {
		if err := t.exec("DELETE FROM outbox WHERE id = ?", id); err != nil {
			return err
		}
	}
	for _, c := range b.Cursors {
		err := t.exec("INSERT OR REPLACE INTO cursor (reader, conversation, seq) VALUES (?, ?, ?)", c.Reader, c.Conversation, int64(c.Seq))
		if err != nil {
			return err
		}
	}
	return nil
}

// Load implements store.Store.
func (s *Store) Load(ctx context.Context) (store.State, error) {
	st := store.State{Held: map[string]store.Ranges{}}
	err := s.write(ctx, func(t tx) error { // one transaction: all of one moment
		for _, step := range []func(tx, *store.State) error{loadMeta, loadConversations, loadHeld, loadOutbox, loadCursors} {
			if err := step(t, &st); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return store.State{}, fmt.Errorf("load: %w", err)
	}
	return st, nil
}

// each calls scan for every row of a query.
func each(rows *sql.Rows, err error, scan func(r *sql.Rows) error) error {
	if err != nil {
		return explain(err)
	}
	for rows.Next() {
		if err := scan(rows); err != nil {
			return errors.Join(err, rows.Close())
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}

func loadMeta(t tx, st *store.State) error {
	rows, err := t.QueryContext(t.ctx, "SELECT user_id, body FROM meta")
	return each(rows, err, func(r *sql.Rows) error {
		var user string
		var body []byte
		if err := r.Scan(&user, &body); err != nil {
			return err
		}
		err := json.Unmarshal(body, &st.Meta)
		st.Meta.UserID = user
		return err
	})
}

func loadConversations(t tx, st *store.State) error {
	rows, err := t.QueryContext(t.ctx, "SELECT body FROM conversation")
	return each(rows, err, func(r *sql.Rows) error {
		var body sql.RawBytes
		if err := r.Scan(&body); err != nil {
			return err
		}
		c := &queryv1.Conversation{}
		st.Conversations = append(st.Conversations, c)
		return proto.Unmarshal(body, c)
	})
}

func loadHeld(t tx, st *store.State) error {
	rows, err := t.QueryContext(t.ctx, "SELECT conversation, ranges FROM held")
	return each(rows, err, func(r *sql.Rows) error {
		var c string
		var body []byte
		var held store.Ranges
		if err := r.Scan(&c, &body); err != nil {
			return err
		}
		err := json.Unmarshal(body, &held)
		st.Held[c] = held
		return err
	})
}

func loadOutbox(t tx, st *store.State) error {
	rows, err := t.QueryContext(t.ctx, "SELECT id, n, request, failed FROM outbox ORDER BY n")
	return each(rows, err, func(r *sql.Rows) error {
		var it store.Item
		err := r.Scan(&it.ID, &it.N, &it.Request, &it.Failed)
		st.Outbox = append(st.Outbox, it)
		return err
	})
}

func loadCursors(t tx, st *store.State) error {
	rows, err := t.QueryContext(t.ctx, "SELECT reader, conversation, seq FROM cursor")
	return each(rows, err, func(r *sql.Rows) error {
		var c store.Cursor
		err := r.Scan(&c.Reader, &c.Conversation, &c.Seq)
		st.Cursors = append(st.Cursors, c)
		return err
	})
}

// Entries implements store.Store.
func (s *Store) Entries(ctx context.Context, conversation string, after uint64, limit int) ([]*messagev1.Entry, error) {
	var out []*messagev1.Entry
	rows, err := s.db.QueryContext(ctx, "SELECT body FROM entry WHERE conversation = ? AND seq > ? ORDER BY seq LIMIT ?",
		conversation, int64(min(after, 1<<62)), limit)
	err = each(rows, err, func(r *sql.Rows) error {
		var body sql.RawBytes
		if err := r.Scan(&body); err != nil {
			return err
		}
		e := &messagev1.Entry{}
		out = append(out, e)
		return proto.Unmarshal(body, e)
	})
	if err != nil {
		return nil, fmt.Errorf("read entries of %s: %w", conversation, err)
	}
	return out, nil
}
