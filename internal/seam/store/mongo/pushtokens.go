package mongo

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// PushTokens implements store.PushTokens. Owner: pusher-offline. A token is one document under its address, so that it
// belongs to one device whatever races. Of a device's documents the newest counts; Put removes the others, and a crash
// before that leaves some which the next Put removes.
type PushTokens struct{ db *DB }

var _ store.PushTokens = PushTokens{}

// PushTokens returns the part of db that holds devices' addresses at vendors.
func (db *DB) PushTokens() PushTokens { return PushTokens{db} }

type tokenDoc struct {
	Key          string        `bson:"_id"` // address
	N            int64         `bson:"n"`   // when it was put; the newest of a device counts
	User         string        `bson:"u"`
	Device       string        `bson:"d"`
	Provider     int32         `bson:"p"`
	Token        string        `bson:"k"`
	AppID        string        `bson:"a"`
	Environment  int32         `bson:"e"`
	Language     string        `bson:"l"`
	RegisteredAt bson.DateTime `bson:"t"`
	Session      string        `bson:"s,omitempty"` // absent in what earlier versions stored
}

// address returns the key of a token: a hash, as vendors' tokens may be thousands of bytes long.
func address(t store.PushToken) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d\x00%s\x00%s", t.Provider, t.AppID, t.Token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (p PushTokens) coll() *mongo.Collection { return p.db.data.Collection(pushTokens) }

func ofDevice(u chat.UserID, d chat.DeviceID) bson.D {
	return bson.D{{Key: "u", Value: string(u)}, {Key: "d", Value: string(d)}}
}

// Put implements store.PushTokens.
func (p PushTokens) Put(ctx context.Context, t store.PushToken) error {
	ctx, cancel := p.db.bound(ctx)
	defer cancel()
	if err := p.put(ctx, t); err != nil {
		return fmt.Errorf("put push token of %s, device %s: %w", t.UserID, t.DeviceID, explain(ctx, err))
	}
	return nil
}

func (p PushTokens) put(ctx context.Context, t store.PushToken) error {
	n, err := p.next(ctx, t)
	if err != nil {
		return err
	}
	d := tokenDoc{
		Key: address(t), N: n, User: string(t.UserID), Device: string(t.DeviceID), Provider: t.Provider,
		Token: t.Token, AppID: t.AppID, Environment: t.Environment, Language: t.Language, RegisteredAt: millis(t.RegisteredAt),
		Session: string(t.SessionID),
	}
	for {
		_, err := p.coll().ReplaceOne(ctx, byKey(d.Key), d, options.Replace().SetUpsert(true))
		if err == nil {
			break
		}
		if !mongo.IsDuplicateKeyError(err) { // two upserts met: now there is a document to replace
			return err
		}
	}
	older := append(ofDevice(t.UserID, t.DeviceID), bson.E{Key: "n", Value: bson.D{{Key: "$lt", Value: d.N}}})
	_, err = p.coll().DeleteMany(ctx, older)
	return err
}

// next returns a number above those of the device's other tokens, which a process with another clock may have put.
func (p PushTokens) next(ctx context.Context, t store.PushToken) (int64, error) {
	ds, err := find[tokenDoc](ctx, p.coll(), ofDevice(t.UserID, t.DeviceID), options.Find().SetSort(fields("-n")).SetLimit(1))
	n := p.db.clock.next()
	for _, d := range ds {
		n = max(n, d.N+1)
	}
	return n, err
}

// Delete implements store.PushTokens.
func (p PushTokens) Delete(ctx context.Context, u chat.UserID, d chat.DeviceID, before time.Time) error {
	ctx, cancel := p.db.bound(ctx)
	defer cancel()
	old := append(ofDevice(u, d), bson.E{Key: "t", Value: bson.D{{Key: "$lte", Value: millis(before)}}})
	if _, err := p.coll().DeleteMany(ctx, old); err != nil {
		return fmt.Errorf("delete push tokens of %s, device %s: %w", u, d, explain(ctx, err))
	}
	return nil
}

// EndSession implements store.PushTokens.
func (p PushTokens) EndSession(ctx context.Context, u chat.UserID, d chat.DeviceID, s chat.SessionID, before time.Time) error {
	ctx, cancel := p.db.bound(ctx)
	defer cancel()
	unnamed := bson.D{{Key: "s", Value: bson.D{{Key: "$exists", Value: false}}}, {Key: "t", Value: bson.D{{Key: "$lte", Value: millis(before)}}}}
	its := append(ofDevice(u, d), bson.E{Key: "$or", Value: bson.A{where("s", string(s)), unnamed}})
	if _, err := p.coll().DeleteMany(ctx, its); err != nil {
		return fmt.Errorf("delete push tokens of session %s of %s: %w", s, u, explain(ctx, err))
	}
	return nil
}

// OfUsers implements store.PushTokens.
func (p PushTokens) OfUsers(ctx context.Context, users []chat.UserID) (ts []store.PushToken, err error) {
	ctx, cancel := p.db.bound(ctx)
	defer cancel()
	for part := range slices.Chunk(users, keysSize) {
		ds, err := find[tokenDoc](ctx, p.coll(), where("u", in(texts(part))), options.Find().SetSort(fields("-n")))
		if err != nil {
			return nil, fmt.Errorf("read push tokens of %d users: %w", len(users), explain(ctx, err))
		}
		type device struct{ user, device string }
		seen := make(map[device]bool, len(ds))
		for _, d := range ds {
			if at := (device{d.User, d.Device}); !seen[at] {
				seen[at] = true
				ts = append(ts, d.token())
			}
		}
	}
	return ts, nil
}

func (d tokenDoc) token() store.PushToken {
	return store.PushToken{
		UserID: chat.UserID(d.User), DeviceID: chat.DeviceID(d.Device), Provider: d.Provider, Token: d.Token, AppID: d.AppID,
		Environment: d.Environment, Language: d.Language, RegisteredAt: timeOf(d.RegisteredAt),
		SessionID: chat.SessionID(d.Session),
	}
}
