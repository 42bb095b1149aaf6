package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// The collections. docs/reference/mongodb.md tells their fields and shard keys.
const (
	entries    = "entries"
	heads      = "heads"
	marks      = "marks"
	raws       = "raw"
	cursors    = "cursors"
	mentions   = "mentions"
	directs    = "directs"
	accounts   = "accounts"
	sessions   = "sessions"
	keys       = "keys"
	pushTokens = "push_tokens"
	profiles   = "profiles"
	relations  = "relations"
	groups     = "groups"
	members    = "members"
)

// index is an index besides that of _id.
type index struct {
	of, name string
	keys     bson.D
	unique   bool
	when     bson.D // only documents like this are in it; for size and speed, never for correctness
}

func fields(names ...string) (d bson.D) {
	for _, name := range names {
		way := 1
		if name[0] == '-' {
			name, way = name[1:], -1
		}
		d = append(d, bson.E{Key: name, Value: way})
	}
	return d
}

func where(field string, is any) bson.D { return bson.D{{Key: field, Value: is}} }

const hashIndex = "hash" // of entries

// indexes are all indexes. What was released keeps its name and meaning: a changed one gets a new name.
var indexes = append([]index{
	{of: entries, name: hashIndex, keys: fields("h")},
	{of: accounts, name: "username", keys: fields("n"), unique: true},
	{of: accounts, name: "waiting", keys: fields("w"), when: where("w", above(int64(0)))},
	{of: accounts, name: "event", keys: fields("ev.i"), when: where("w", above(int64(0)))},
	{of: sessions, name: "session", keys: fields("s.i")},
	{of: sessions, name: "waiting", keys: fields("w"), when: where("w", above(int64(0)))},
	{of: sessions, name: "event", keys: fields("ev.i"), when: where("w", above(int64(0)))},
	{of: pushTokens, name: "device", keys: fields("u", "d")},
	{of: profiles, name: "username", keys: fields("un"), unique: true},
	{of: profiles, name: "nickname", keys: fields("nk", "_id")},
	{of: groups, name: "pending", keys: fields("pa", "_id"), when: where("pa", exists)},
	{of: groups, name: "pending_users", keys: fields("pu"), when: where("pa", exists)},
	{of: members, name: "present", keys: fields("g", "p", "-r", "j", "u")},
	{of: members, name: "user", keys: fields("u")},
}, sidesIndexes("a", "b")...)

var exists = bson.D{{Key: "$exists", Value: true}}

// sidesIndexes are the indexes of relations, for each side of a pair.
func sidesIndexes(sides ...string) (all []index) {
	for _, s := range sides {
		asked, friend, blocked, pending := s+".ra", s+".f", s+".b", s+".pe"
		all = append(all,
			index{of: relations, name: s + "_friends", keys: fields(s+".u", friend, s+".p"), when: where(friend, true)},
			index{of: relations, name: s + "_outgoing", keys: fields(s+".u", asked, s+".p"), when: where(asked, above(bson.DateTime(0)))},
			index{of: relations, name: s + "_incoming", keys: fields(s+".p", asked, s+".u"), when: where(asked, above(bson.DateTime(0)))},
			index{of: relations, name: s + "_blocks", keys: fields(s+".u", s+".ba", s+".p"), when: where(blocked, true)},
			index{of: relations, name: s + "_pending", keys: fields(pending), when: where(pending, above(""))})
	}
	return all
}

// makeIndexes makes the indexes that are missing. One of the same name that differs is an error, also of the server.
func (db *DB) makeIndexes(ctx context.Context) error {
	wanted := make(map[string][]index)
	for _, x := range indexes {
		wanted[x.of] = append(wanted[x.of], x)
	}
	for name, xs := range wanted {
		view := db.data.Collection(name).Indexes()
		there, err := view.ListSpecifications(ctx)
		if err != nil {
			return fmt.Errorf("list indexes of %s: %w", name, explain(ctx, err))
		}
		missing, err := without(xs, there)
		if err == nil && len(missing) > 0 {
			_, err = view.CreateMany(ctx, missing)
		}
		if err != nil {
			return fmt.Errorf("make indexes of %s: %w", name, explain(ctx, err))
		}
	}
	return nil
}

// without returns what to make of xs where some indexes are there, or an error if one of these is not what it should be.
func without(xs []index, there []mongo.IndexSpecification) (missing []mongo.IndexModel, err error) {
	for _, x := range xs {
		n := slices.IndexFunc(there, func(s mongo.IndexSpecification) bool { return s.Name == x.name })
		switch {
		case n < 0:
			missing = append(missing, x.model())
		case !x.is(there[n]):
			return nil, fmt.Errorf("index %s is not the one that this program needs; drop it and start again", x.name)
		}
	}
	return missing, nil
}

func (x index) model() mongo.IndexModel {
	o := options.Index().SetName(x.name)
	if x.unique {
		o.SetUnique(true)
	}
	if x.when != nil {
		o.SetPartialFilterExpression(x.when)
	}
	return mongo.IndexModel{Keys: x.keys, Options: o}
}

// is reports whether the server's index is x. What is left out of it may differ: that costs speed only.
func (x index) is(s mongo.IndexSpecification) bool {
	var keys bson.D
	if (s.Unique != nil && *s.Unique) != x.unique || bson.Unmarshal(s.KeysDocument, &keys) != nil {
		return false
	}
	same := func(a, b bson.E) bool { return a.Key == b.Key && fmt.Sprint(a.Value) == fmt.Sprint(b.Value) }
	return slices.EqualFunc(keys, x.keys, same)
}

// wireVersion is that of MongoDB 6.0, the oldest that this package was written for.
const wireVersion = 17

// checkServer refuses a server that is too old and warns of one that cannot fail over.
func (db *DB) checkServer(ctx context.Context) error {
	var is struct {
		Wire int    `bson:"maxWireVersion"`
		Set  string `bson:"setName"`
		Msg  string `bson:"msg"` // "isdbgrid" if it is a router of a sharded cluster
	}
	err := db.data.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&is)
	var se mongo.ServerError
	if errors.As(err, &se) && se.HasErrorCode(codeCommandNotFound) {
		err = db.data.RunCommand(ctx, bson.D{{Key: "isMaster", Value: 1}}).Decode(&is)
	}
	switch {
	case err != nil:
		return err
	case is.Wire < wireVersion:
		return errors.New("the server is older than MongoDB 6.0")
	case is.Set == "" && is.Msg != "isdbgrid":
		db.log.WarnContext(ctx, "the MongoDB server is no member of a replica set: no majority keeps what is written")
	}
	return nil
}
