package mongo_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
	"github.com/oceanchat/oceanchat/internal/seam/store/storetest"
	"github.com/oceanchat/oceanchat/tools/mongostandin/standin"
)

// env names a real MongoDB to run against. Its user must be allowed to make and drop databases whose names begin with
// "oceanchat_test_".
const env = "OCEANCHAT_TEST_MONGO"

// shared is the stand-in that all tests of this package use, each with a database of its own.
var shared struct {
	once   sync.Once
	server *standin.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil && code == 0 {
			fmt.Fprintln(os.Stderr, "the MongoDB stand-in did not end well:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// server returns the connection string of the server to test against. Without one the test is skipped.
func server(t testing.TB) string {
	t.Helper()
	if uri := os.Getenv(env); uri != "" {
		return uri
	}
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		shared.server, shared.err = standin.Start(ctx, 0)
	})
	if errors.Is(shared.err, standin.ErrUnavailable) {
		t.Skipf("%v; or name a server by %s", shared.err, env)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.server.URI
}

var databases atomic.Int64

// fresh returns the connection string of an empty database, which is dropped when t ends.
func fresh(t testing.TB) string {
	t.Helper()
	u, err := url.Parse(server(t))
	if err != nil {
		t.Fatal(err)
	}
	u.Path = fmt.Sprintf("/oceanchat_test_%s_%d", chat.NewID(), databases.Add(1))
	uri := u.String()
	t.Cleanup(func() {
		if err := mongo.Drop(context.Background(), uri); err != nil {
			t.Errorf("drop the test's database: %v", err)
		}
	})
	return uri
}

func openDB(t testing.TB, uri string) *mongo.DB {
	t.Helper()
	cfg := mongo.Tuned(mongo.Config{URI: uri, Timeout: time.Minute}, watch(t))
	db, err := mongo.Open(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

func stores(db *mongo.DB) storetest.Stores {
	return storetest.Stores{
		Accounts: db.Accounts(), Sessions: db.Sessions(), Outbox: db.Outbox(), Keys: db.Keys(), PushTokens: db.PushTokens(),
		Profiles: db.Profiles(), Relations: db.Relations(),
		Groups: db.Groups(), Members: db.Members(),
		Log: db.Log(), Cursors: db.Cursors(), Reader: db.Reader(),
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T) storetest.Stores { return stores(openDB(t, fresh(t))) })
}

func TestReopen(t *testing.T) {
	t.Parallel()
	uri := fresh(t)
	open := func(t *testing.T) storetest.Stores { return stores(openDB(t, uri)) }
	storetest.TestReopen(t, open, open)
}
