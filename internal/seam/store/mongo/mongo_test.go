package mongo_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

func TestOpenTellsNoPassword(t *testing.T) { // invariant 9
	t.Parallel()
	for name, uri := range map[string]string{
		"not a connection string": "secret",
		"bad port":                "mongodb://user:secret@127.0.0.1:99999/",
		"bad escape":              "mongodb://user:sec%ret@127.0.0.1/",
		"nobody there":            "mongodb://user:secret@127.0.0.1:1/?serverSelectionTimeoutMS=50",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db, err := mongo.Open(t.Context(), mongo.Config{URI: uri, Timeout: time.Second}, slog.New(slog.DiscardHandler))
			if err == nil {
				t.Fatalf("Open(%q) = %v; want an error", uri, db)
			}
			if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec%ret") {
				t.Errorf("Open tells the password: %v", err)
			}
		})
	}
}

func TestOpenRefusesAnotherIndex(t *testing.T) {
	t.Parallel()
	uri := fresh(t)
	must(t, mongo.Misindex(t.Context(), uri))
	db, err := mongo.Open(t.Context(), mongo.Config{URI: uri}, slog.New(slog.DiscardHandler))
	if err == nil {
		must(t, db.Close())
	}
	if err == nil || !strings.Contains(err.Error(), "index") {
		t.Errorf("Open over an index that differs = %v; want an error that says so", err)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		err  error
		want error
	}{
		{"nothing", t.Context(), nil, nil},
		{"no document", t.Context(), driver.ErrNoDocuments, store.ErrNotFound},
		{"disk full", t.Context(), driver.CommandError{Code: 14031}, store.ErrFull},
		{"disk full in a bulk", t.Context(), driver.BulkWriteException{WriteErrors: []driver.BulkWriteError{{WriteError: driver.WriteError{Code: 14031}}}}, store.ErrFull},
		{"quota", t.Context(), driver.WriteException{WriteErrors: driver.WriteErrors{{Code: 12501}}}, store.ErrFull},
		{"ended", ended, driver.ErrClientDisconnected, context.Canceled},
		{"other", t.Context(), io.ErrUnexpectedEOF, io.ErrUnexpectedEOF},
	} {
		if err := mongo.Explain(tt.ctx, tt.err); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v; want %v", tt.name, err, tt.want)
		}
	}
}

// deaf is a network that, once told, takes what is sent and never answers.
type deaf struct{ now atomic.Bool }

func (d *deaf) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	return &deafConn{c, d}, err
}

type deafConn struct {
	net.Conn
	d *deaf
}

func (c *deafConn) Write(b []byte) (int, error) {
	if c.d.now.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// TestEveryCallEnds: a server that does not answer holds no caller longer than the timeout (invariant 7).
func TestEveryCallEnds(t *testing.T) {
	t.Parallel()
	var d deaf
	cfg := mongo.Tuned(mongo.Config{URI: fresh(t), Timeout: 500 * time.Millisecond}, func(o *options.ClientOptions) { o.SetDialer(&d) })
	db, err := mongo.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	d.now.Store(true)
	_, errGet := db.Profiles().Get(t.Context(), []chat.UserID{"ann"})
	for name, err := range map[string]error{
		"a read":  errGet,
		"a write": db.Profiles().Create(t.Context(), store.Profile{UserID: "ann", Username: "ann"}),
		"a batch": db.Log().Store(t.Context(), store.Batch{To: store.Mark{Incarnation: "first", Position: 1}}),
		"Ping":    db.Ping(t.Context()),
	} {
		if err == nil {
			t.Errorf("%s succeeded without a server", name)
		}
	}
}

// TestStoredEntryDiffers: two logs that number one conversation are told of, without the text (invariants 1 and 9).
func TestStoredEntryDiffers(t *testing.T) {
	t.Parallel()
	var said bytes.Buffer
	db, err := mongo.Open(t.Context(), mongo.Config{URI: fresh(t)}, slog.New(slog.NewTextHandler(&said, nil)))
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	said.Reset()
	const c = chat.ConversationID("g~team")
	batch := func(from store.Mark, to uint64, text string) store.Batch {
		return store.Batch{From: from, To: store.Mark{Incarnation: "a", Position: to}, Entries: []store.Entry{{ConversationID: c, Seq: 1, Data: []byte(text)}}}
	}
	first := batch(store.Mark{}, 1, "confidential")
	must(t, db.Log().Store(t.Context(), first))
	must(t, db.Log().Store(t.Context(), batch(first.To, 2, "confidential")))
	if said.Len() > 0 {
		t.Errorf("storing the same again said %q; want nothing", &said)
	}
	must(t, db.Log().Store(t.Context(), batch(store.Mark{Incarnation: "a", Position: 2}, 3, "other")))
	if got := said.String(); !strings.Contains(got, "ERROR") || !strings.Contains(got, string(c)) || strings.Contains(got, "confidential") {
		t.Errorf("storing another entry at the same seq said %q; want an error that names it without its text", got)
	}
}

// TestLateMembers: who completes a change long after it was done, and others since, undoes none of them.
func TestLateMembers(t *testing.T) {
	t.Parallel()
	db := openDB(t, fresh(t))
	member := func(role int32, seq uint64) []store.Member {
		return []store.Member{{GroupID: "g", UserID: "ann", Role: role, Spans: []store.Span{{From: seq}}}}
	}
	must(t, mongo.PutMembers(t.Context(), db, member(1, 1), 1))
	must(t, mongo.PutMembers(t.Context(), db, member(2, 5), 2))
	must(t, mongo.PutMembers(t.Context(), db, member(1, 1), 1)) // late
	got, err := db.Members().Get(t.Context(), "g", []chat.UserID{"ann"})
	must(t, err)
	if d := cmp.Diff(member(2, 5), got); d != "" {
		t.Errorf("after a late completion: (-want +got)\n%s", d)
	}
}
