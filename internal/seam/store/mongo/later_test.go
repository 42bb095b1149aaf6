package mongo_test

import (
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// Invariant 10: what a newer version keeps in a document, at its top or deeper, is still there after this one has changed it.
func TestLaterFieldsStay(t *testing.T) {
	t.Parallel()
	uri := fresh(t)
	db, ctx, now := openDB(t, uri), t.Context(), time.Now()
	event := store.Event{ID: "e1", Subject: "s", Data: []byte("x")}
	session := store.Session{ID: "s1", UserID: "ann", DeviceID: "d1", CreatedAt: now, RefreshedAt: now, ExpiresAt: now.Add(time.Hour)}
	befriend := func(ab, ba *store.Relation) error {
		ab.Friend, ba.Friend = true, true
		ab.Starred = !ab.Starred
		return nil
	}
	must(t, db.Accounts().Create(ctx, store.Account{UserID: "ann", Username: "ann", PasswordHash: "h1"}, event))
	_, err := db.Sessions().Start(ctx, session, event)
	must(t, err)
	must(t, db.Profiles().Create(ctx, store.Profile{UserID: "ann", Username: "ann"}))
	_, _, err = db.Relations().Update(ctx, "ann", "bob", befriend)
	must(t, err)
	must(t, mongo.AddLater(ctx, uri))

	must(t, db.Accounts().SetPassword(ctx, "ann", "h1", "h2", store.Event{}))
	_, err = db.Sessions().Rotate(ctx, "s1", 0, now, now.Add(time.Hour))
	must(t, err)
	_, err = db.Profiles().Update(ctx, "ann", func(p *store.Profile) error { p.Bio = "b"; return nil })
	must(t, err)
	_, _, err = db.Relations().Update(ctx, "ann", "bob", befriend)
	must(t, err)

	lost, err := mongo.WithoutLater(ctx, uri)
	must(t, err)
	if len(lost) > 0 {
		t.Errorf("lost what a newer version wrote: %v", lost)
	}
}
