package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Cursors implements store.Cursors. Owner: message.
type Cursors struct{ db *DB }

var _ store.Cursors = Cursors{}

// Cursors returns the part of db that message owns.
func (db *DB) Cursors() Cursors { return Cursors{db} }

type cursorDoc struct {
	Key       string        `bson:"_id,omitempty"` // user/conversation
	Seq       int64         `bson:"s"`
	Ordinal   int64         `bson:"o"`
	ChangedAt bson.DateTime `bson:"t"`
}

func cursorFields(k store.Cursor, at time.Time) cursorDoc {
	return cursorDoc{Seq: count(k.Seq), Ordinal: count(k.Ordinal), ChangedAt: millis(at)}
}

// Advance implements store.Cursors. One that need not move costs a read only.
func (k Cursors) Advance(ctx context.Context, c chat.ConversationID, u chat.UserID, to store.Cursor, at time.Time) (
	now store.Cursor, moved bool, err error,
) {
	ctx, cancel := k.db.bound(ctx)
	defer cancel()
	now, moved, err = k.advance(ctx, userKey(u, c), to, at)
	if err != nil {
		return store.Cursor{}, false, fmt.Errorf("advance cursor of %s in %s: %w", u, c, explain(ctx, err))
	}
	return now, moved, nil
}

func (k Cursors) advance(ctx context.Context, key string, to store.Cursor, at time.Time) (store.Cursor, bool, error) {
	coll := k.db.data.Collection(cursors)
	for {
		d, err := one[cursorDoc](ctx, coll, key)
		fresh := errors.Is(err, mongo.ErrNoDocuments)
		if err != nil && !fresh {
			return store.Cursor{}, false, err
		}
		if now := (store.Cursor{Seq: uint64(d.Seq), Ordinal: uint64(d.Ordinal)}); to.Seq <= now.Seq {
			return now, false, nil
		}
		next := cursorFields(to, at)
		if fresh {
			next.Key = key
			_, err = coll.InsertOne(ctx, next)
			if mongo.IsDuplicateKeyError(err) {
				continue // made by another: it is there to be read now
			}
			return to, err == nil, err
		}
		behind := bson.D{{Key: "$lt", Value: next.Seq}}
		res, err := coll.UpdateOne(ctx, append(byKey(key), bson.E{Key: "s", Value: behind}), set(next))
		if err != nil || res.MatchedCount == 1 {
			return to, err == nil, err
		} // else another was further: so is the next read
	}
}

// Cursors implements store.Cursors.
func (k Cursors) Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	return k.db.cursorsOf(ctx, u, cs)
}

func (db *DB) cursorsOf(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	ids := make([]string, len(cs))
	for i, c := range cs {
		ids[i] = userKey(u, c)
	}
	ks, err := db.cursors(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read cursors of %s: %w", u, err)
	}
	return ks, nil
}

func (db *DB) cursors(ctx context.Context, ids []string) (ks []store.CursorOf, err error) {
	ctx, cancel := db.bound(ctx)
	defer cancel()
	err = byKeys(ctx, db.data.Collection(cursors), ids, func(d cursorDoc) error {
		u, c, _ := strings.Cut(d.Key, "/")
		ks = append(ks, store.CursorOf{
			ConversationID: chat.ConversationID(c), UserID: chat.UserID(u),
			Cursor: store.Cursor{Seq: uint64(d.Seq), Ordinal: uint64(d.Ordinal)}, ChangedAt: timeOf(d.ChangedAt),
		})
		return nil
	})
	return ks, explain(ctx, err)
}

// Entry implements store.Cursors.
func (k Cursors) Entry(ctx context.Context, c chat.ConversationID, seq uint64) (store.Entry, error) {
	ctx, cancel := k.db.bound(ctx)
	defer cancel()
	es, err := entriesOf(ctx, k.db.data, byKey(seqKey(string(c), seq)))
	if err == nil && len(es) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Entry{}, fmt.Errorf("read entry %d of %s: %w", seq, c, explain(ctx, err))
	}
	return es[0], nil
}
