package mongo

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Accounts implements store.Accounts. Owner: auth.
type Accounts struct{ db *DB }

// Keys implements store.Keys. Owner: auth.
type Keys struct{ db *DB }

var (
	_ store.Accounts = Accounts{}
	_ store.Keys     = Keys{}
)

// Accounts returns the part of db that holds credentials.
func (db *DB) Accounts() Accounts { return Accounts{db} }

// Keys returns the part of db that holds generated secrets.
func (db *DB) Keys() Keys { return Keys{db} }

type accountDoc struct {
	Rev       revision      `bson:",inline"` // its key is the user's id
	Username  string        `bson:"n"`
	Hash      string        `bson:"h"`
	CreatedAt bson.DateTime `bson:"t"`
	Wait      waiting       `bson:",inline"`
	Later     later         `bson:",inline"`
}

func (d *accountDoc) rev() *revision { return &d.Rev }

// Create implements store.Accounts.
func (a Accounts) Create(ctx context.Context, acc store.Account, e store.Event) error {
	ctx, cancel := a.db.bound(ctx)
	defer cancel()
	d := accountDoc{
		Rev: revision{Key: string(acc.UserID), V: 1}, Username: acc.Username, Hash: acc.PasswordHash,
		CreatedAt: millis(acc.CreatedAt),
	}
	d.Wait.add(a.db, e)
	_, err := a.db.data.Collection(accounts).InsertOne(ctx, d)
	if mongo.IsDuplicateKeyError(err) { // of the id, or of the unique index of usernames
		err = store.ErrExists
	}
	if err != nil {
		return fmt.Errorf("create account %s: %w", acc.UserID, explain(ctx, err))
	}
	return nil
}

// ByUsername implements store.Accounts.
func (a Accounts) ByUsername(ctx context.Context, username string) (store.Account, error) {
	acc, err := a.get(ctx, where("n", username))
	if err != nil {
		return store.Account{}, fmt.Errorf("look up account by username: %w", err)
	}
	return acc, nil
}

// ByID implements store.Accounts.
func (a Accounts) ByID(ctx context.Context, id chat.UserID) (store.Account, error) {
	acc, err := a.get(ctx, byKey(string(id)))
	if err != nil {
		return store.Account{}, fmt.Errorf("look up account %s: %w", id, err)
	}
	return acc, nil
}

func (a Accounts) get(ctx context.Context, filter bson.D) (store.Account, error) {
	ctx, cancel := a.db.bound(ctx)
	defer cancel()
	var d accountDoc
	if err := a.db.data.Collection(accounts).FindOne(ctx, filter).Decode(&d); err != nil {
		return store.Account{}, explain(ctx, err)
	}
	return store.Account{UserID: chat.UserID(d.Rev.Key), Username: d.Username, PasswordHash: d.Hash, CreatedAt: timeOf(d.CreatedAt)}, nil
}

// SetPassword implements store.Accounts.
func (a Accounts) SetPassword(ctx context.Context, id chat.UserID, old, hash string, e store.Event) error {
	ctx, cancel := a.db.bound(ctx)
	defer cancel()
	err := edit(ctx, a.db.data.Collection(accounts), string(id), false, func(d *accountDoc) error {
		if d.Hash != old {
			return store.ErrConflict
		}
		d.Hash = hash
		d.Wait.add(a.db, e)
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("set password of %s: %w", id, err)
	}
	return nil
}

type secretDoc struct {
	Name  string `bson:"_id"`
	Value []byte `bson:"v"`
}

// PutIfAbsent implements store.Keys. The read that follows a lost race is linearizable: all processes of a first start
// must go on with the same secret.
func (k Keys) PutIfAbsent(ctx context.Context, name string, value []byte) ([]byte, error) {
	ctx, cancel := k.db.bound(ctx)
	defer cancel()
	_, err := k.db.data.Collection(keys).InsertOne(ctx, secretDoc{name, blob(value)})
	if err == nil {
		return value, nil
	}
	var kept secretDoc
	if mongo.IsDuplicateKeyError(err) {
		kept, err = one[secretDoc](ctx, k.db.strict.Collection(keys), name)
	}
	if err != nil {
		return nil, fmt.Errorf("put key %s: %w", name, explain(ctx, err))
	}
	return kept.Value, nil
}
