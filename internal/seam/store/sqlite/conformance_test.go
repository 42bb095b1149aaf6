package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/seam/store/storetest"
)

func openDB(t *testing.T, path string) *sqlite.DB {
	t.Helper()
	db, err := sqlite.Open(path)
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

func stores(db *sqlite.DB) storetest.Stores {
	return storetest.Stores{
		Accounts: db.Accounts(), Sessions: db.Sessions(), Outbox: db.Outbox(), Keys: db.Keys(), PushTokens: db.PushTokens(),
		Profiles: db.Profiles(), Relations: db.Relations(), Groups: db.Groups(), Members: db.Members(),
		Log: db.Log(), Cursors: db.Cursors(), Reader: db.Reader(),
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(t *testing.T) storetest.Stores {
		return stores(openDB(t, filepath.Join(t.TempDir(), "ocean.db")))
	})
}

func TestReopen(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ocean.db")
	var first *sqlite.DB
	storetest.TestReopen(t,
		func(t *testing.T) storetest.Stores {
			first = openDB(t, path)
			return stores(first)
		},
		func(t *testing.T) storetest.Stores {
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			return stores(openDB(t, path))
		})
}
