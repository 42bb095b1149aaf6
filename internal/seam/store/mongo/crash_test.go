package mongo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// wire is a network on which a process dies after it has sent some writes: the next write, or the answer to it, and
// everything afterwards, is lost. That is what kill -9 between two writes of an operation leaves behind.
type wire struct {
	mu     sync.Mutex
	armed  bool
	left   int  // writes that still get through
	answer bool // the last write arrives, only its answer is lost
	dead   bool
	sent   []string // the writes that arrived since armed
}

var errDead = errors.New("the process is dead")

func (w *wire) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	dead := w.dead
	w.mu.Unlock()
	if dead {
		return nil, errDead
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	return &wireConn{Conn: c, w: w}, err
}

type wireConn struct {
	net.Conn
	w *wire
}

// Write sees one command at a time, as the driver sends each by one call.
func (c *wireConn) Write(b []byte) (int, error) {
	w := c.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead {
		return 0, errDead
	}
	name := writeOf(b)
	if !w.armed || name == "" {
		return c.Conn.Write(b)
	}
	if w.left == 0 && !w.answer {
		w.dead = true
		return 0, errDead
	}
	w.sent = append(w.sent, name)
	n, err := c.Conn.Write(b)
	if w.left == 0 {
		w.dead = true
	}
	w.left--
	return n, err
}

// Read gives no answer to the dead. It waits for the server's, so that the write has happened.
func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	if c.w.dead {
		return 0, errDead
	}
	return n, err
}

// writeOf names the writing command in a message with its collection, or returns "".
func writeOf(msg []byte) string {
	for _, name := range []string{"insert", "update", "delete", "findAndModify"} {
		field := append([]byte{2}, name+"\x00"...)
		if _, rest, ok := bytes.Cut(msg[:min(len(msg), 100)], field); ok && len(rest) > 4 {
			coll, _, _ := strings.Cut(string(rest[4:]), "\x00")
			return name + " " + coll
		}
	}
	return ""
}

// mortal opens the database over a wire that dies as told.
func mortal(t *testing.T, uri string, left int, answer bool) (*mongo.DB, *wire) {
	t.Helper()
	w := &wire{left: left, answer: answer}
	cfg := mongo.Tuned(mongo.Config{URI: uri, Timeout: 20 * time.Second}, func(o *options.ClientOptions) {
		o.SetDialer(w).SetRetryWrites(false).SetRetryReads(false).SetServerSelectionTimeout(2 * time.Second)
	})
	db, err := mongo.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // its connections are dead
	w.mu.Lock()
	w.armed = true
	w.mu.Unlock()
	return db, w
}

// crashing is an operation of several writes.
type crashing struct {
	name    string
	prepare func(ctx context.Context, db *mongo.DB) error
	do      func(ctx context.Context, db *mongo.DB) error
	// look returns what the seam shows of it. between says what of that may be seen after a crash besides before and after.
	look    func(ctx context.Context, db *mongo.DB) (any, error)
	between func(seen any) bool
	writes  int // that do sends at least
}

// TestCrashBetweenWrites kills a process before and after each write of every operation that has more than one, and then
// repeats the operation, as its caller does: everything is as if nothing had happened (invariant 1).
func TestCrashBetweenWrites(t *testing.T) {
	t.Parallel()
	for _, op := range crashes() {
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			server(t)
			want := untroubled(t, op)
			for _, answer := range []bool{false, true} {
				for left := 0; crash(t, op, left, answer, want); left++ {
					if left > 20 {
						t.Fatal("it never ends")
					}
				}
			}
		})
	}
}

// untroubled returns what is seen after op on a network without faults.
func untroubled(t *testing.T, op crashing) any {
	t.Helper()
	db := openDB(t, fresh(t))
	must(t, op.prepare(t.Context(), db))
	must(t, op.do(t.Context(), db))
	seen, err := op.look(t.Context(), db)
	must(t, err)
	return seen
}

// crash runs op so that it dies at a write, repeats it and compares. It returns false if op did not die.
func crash(t *testing.T, op crashing, left int, answer bool, want any) (died bool) {
	t.Helper()
	uri := fresh(t)
	db := openDB(t, uri)
	must(t, op.prepare(t.Context(), db))
	before, err := op.look(t.Context(), db)
	must(t, err)
	dying, w := mortal(t, uri, left, answer)
	if err := op.do(t.Context(), dying); err == nil {
		if len(w.sent) < op.writes {
			t.Fatalf("%d writes %q; want at least %d", len(w.sent), w.sent, op.writes)
		}
		return false
	}
	seen, err := op.look(t.Context(), db)
	must(t, err)
	what := fmt.Sprintf("died after %q (answer lost: %v)", w.sent, answer)
	if same := func(a any) bool { return cmp.Equal(a, seen, cmpopts.EquateEmpty()) }; !same(before) && !same(want) && !op.between(seen) {
		t.Errorf("%s: seen %v", what, seen)
	}
	if err := op.do(t.Context(), db); err != nil && !errors.Is(err, store.ErrConflict) {
		t.Fatalf("%s: repeated: %v", what, err)
	}
	seen, err = op.look(t.Context(), db)
	must(t, err)
	if d := cmp.Diff(want, seen, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("%s, then repeated: (-want +got)\n%s", what, d)
	}
	return true
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func crashes() []crashing {
	return []crashing{crashingStore(), crashingCommit(), crashingPut()}
}

// logSeen is what the seam shows of a log.
type logSeen struct {
	Mark     store.Mark
	Heads    []store.Head
	Entries  []store.Entry
	Cursors  []store.CursorOf
	Directs  []chat.ConversationID
	Mentions map[chat.ConversationID]uint64
}

func crashingStore() crashing {
	const c = chat.ConversationID("d~ann~bob")
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	b := store.Batch{
		To:       store.Mark{Incarnation: "first", Position: 7},
		Heads:    []store.Head{{ConversationID: c, Seq: 3, Ordinal: 3, SentAt: at, Position: 7}},
		Read:     []store.CursorOf{{ConversationID: c, UserID: "ann", Cursor: store.Cursor{Seq: 3, Ordinal: 3}, ChangedAt: at}},
		Mentions: []store.Mention{{UserID: "bob", ConversationID: c, Seq: 2}},
		Raw:      []store.Raw{{Position: 5, Data: []byte("junk")}},
	}
	for seq := uint64(1); seq <= 3; seq++ {
		b.Entries = append(b.Entries, store.Entry{ConversationID: c, Seq: seq, Ordinal: seq, SenderID: "ann", SentAt: at, Kind: 1, Dedupe: seq, Data: []byte("x")})
	}
	return crashing{
		name: "Log.Store", writes: 7,
		prepare: func(context.Context, *mongo.DB) error { return nil },
		do:      func(ctx context.Context, db *mongo.DB) error { return db.Log().Store(ctx, b) },
		look: func(ctx context.Context, db *mongo.DB) (any, error) {
			var s logSeen
			var errs [6]error
			s.Mark, errs[0] = db.Log().Mark(ctx, 0)
			s.Heads, errs[1] = db.Log().Heads(ctx, []chat.ConversationID{c})
			s.Entries, errs[2] = db.Reader().Range(ctx, c, 1, 9, 9, false)
			s.Cursors, errs[3] = db.Cursors().Cursors(ctx, "ann", []chat.ConversationID{c})
			s.Directs, errs[4] = db.Reader().Directs(ctx, "bob")
			s.Mentions, errs[5] = db.Reader().FirstMentions(ctx, "bob", map[chat.ConversationID]uint64{c: 0})
			return s, errors.Join(errs[:]...)
		},
		between: func(seen any) bool { // what is not marked may be there, but no head without its entries
			s, ok := seen.(logSeen)
			return ok && s.Mark == (store.Mark{}) && (len(s.Heads) == 0 || len(s.Entries) == 3)
		},
	}
}

func crashingCommit() crashing {
	g := store.Group{ID: "g1", Name: "team", OwnerID: "ann", Version: 0}
	var ms []store.Member
	for _, u := range []chat.UserID{"ann", "bob", "cid"} {
		ms = append(ms, store.Member{GroupID: "g1", UserID: u, Role: 1, Spans: []store.Span{{From: 1}}})
	}
	g.MemberCount, g.NoticeSeq = len(ms), 1
	type seen struct {
		Groups  []store.Group
		Members []chat.UserID
		Of      []chat.GroupID
	}
	return crashing{
		name: "Groups.Commit", writes: 2,
		prepare: func(ctx context.Context, db *mongo.DB) error {
			return db.Groups().Create(ctx, store.Group{ID: "g1"}, store.Change{Data: []byte("x"), At: time.UnixMilli(5), Users: []chat.UserID{"ann"}})
		},
		do: func(ctx context.Context, db *mongo.DB) error { return db.Groups().Commit(ctx, g, ms) },
		look: func(ctx context.Context, db *mongo.DB) (any, error) {
			var s seen
			var errs [3]error
			s.Groups, errs[0] = db.Groups().Get(ctx, []chat.GroupID{"g1"})
			s.Members, errs[1] = db.Members().PresentIDs(ctx, "g1")
			s.Of, errs[2] = db.Groups().UnfinishedOf(ctx, "bob")
			return s, errors.Join(errs[:]...)
		},
		between: func(v any) bool { // members of a change that is still pending, so that it will be completed
			s, ok := v.(seen)
			return ok && s.Groups[0].Version == 0 && len(s.Groups[0].Pending) > 0 && len(s.Of) == 1
		},
	}
}

func crashingPut() crashing {
	token := func(u chat.UserID, text string, ms int64) store.PushToken {
		return store.PushToken{UserID: u, DeviceID: "phone", Provider: 1, Token: text, RegisteredAt: time.UnixMilli(ms).UTC()}
	}
	return crashing{
		name: "PushTokens.Put", writes: 2,
		prepare: func(ctx context.Context, db *mongo.DB) error {
			return errors.Join(db.PushTokens().Put(ctx, token("ann", "old", 1)), db.PushTokens().Put(ctx, token("bob", "new", 2)))
		},
		do: func(ctx context.Context, db *mongo.DB) error { return db.PushTokens().Put(ctx, token("ann", "new", 3)) },
		look: func(ctx context.Context, db *mongo.DB) (any, error) {
			return db.PushTokens().OfUsers(ctx, []chat.UserID{"ann", "bob"})
		},
		between: func(any) bool { return false }, // one document makes it count
	}
}
