package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/connstring"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Explain is explain.
func Explain(ctx context.Context, err error) error { return explain(ctx, err) }

// Skew sets the clock of db, which orders what several processes store, forward.
func Skew(db *DB, d time.Duration) { db.clock.last.Store(time.Now().Add(d).UnixNano()) }

// Misindex makes an index under the name of another, in a database that is empty yet.
func Misindex(ctx context.Context, uri string) error {
	return with(ctx, uri, func(data *mongo.Database) error {
		wrong := mongo.IndexModel{Keys: fields("h"), Options: options.Index().SetName("username").SetUnique(true)}
		_, err := data.Collection(accounts).Indexes().CreateOne(ctx, wrong)
		return err
	})
}

// PutMembers writes members as the change to a version leaves them.
func PutMembers(ctx context.Context, db *DB, ms []store.Member, version int64) error {
	return db.putMembers(ctx, ms, version)
}

// Served reports whether an index of a collection finds what a filter selects: that of _id, or one whose first field the
// filter names, and the field that says what is in it.
func Served(collection string, filter bson.D) bool {
	names := func(field string) bool {
		return slices.ContainsFunc(filter, func(e bson.E) bool { return e.Key == field })
	}
	if names("_id") {
		return true
	}
	for _, x := range indexes {
		if x.of == collection && names(x.keys[0].Key) && (x.when == nil || names(x.when[0].Key)) {
			return true
		}
	}
	ors := slices.IndexFunc(filter, func(e bson.E) bool { return e.Key == "$or" })
	if ors < 0 {
		return false
	}
	branches, _ := filter[ors].Value.(bson.A)
	return len(branches) > 0 && !slices.ContainsFunc(branches, func(b any) bool {
		d, ok := b.(bson.D)
		return !ok || !Served(collection, d)
	})
}

// Drop drops the database that a connection string names.
func Drop(ctx context.Context, uri string) error {
	return with(ctx, uri, func(data *mongo.Database) error { return data.Drop(ctx) })
}

// with hands the database that a connection string names to fn.
func with(ctx context.Context, uri string, fn func(*mongo.Database) error) error {
	cs, err := connstring.Parse(uri)
	if err != nil {
		return err
	}
	client, err := mongo.Connect(options.Client().ApplyURI(uri))
	if err != nil {
		return err
	}
	return errors.Join(fn(client.Database(cs.Database)), client.Disconnect(ctx))
}

// Tuned returns cfg with the driver's options changed by tune.
func Tuned(cfg Config, tune func(*options.ClientOptions)) Config {
	cfg.tune = tune
	return cfg
}

// laterFields are fields that no version has, by the collection whose documents a newer version gives them to.
var laterFields = map[string][]string{
	accounts:  {"zz", "ev.0.zz"},
	sessions:  {"zz", "s.0.zz", "ev.0.zz"},
	profiles:  {"zz"},
	relations: {"zz", "a.zz", "b.zz"},
}

// AddLater gives every document of laterFields those fields.
func AddLater(ctx context.Context, uri string) error {
	return with(ctx, uri, func(data *mongo.Database) error {
		var errs []error
		for name, fields := range laterFields {
			for _, f := range fields {
				res, err := data.Collection(name).UpdateMany(ctx, bson.D{}, set(where(f, bson.D{{Key: "deep", Value: "x"}})))
				if err == nil && res.ModifiedCount == 0 {
					err = fmt.Errorf("%s has no document", name)
				}
				errs = append(errs, err)
			}
		}
		return errors.Join(errs...)
	})
}

// WithoutLater names the fields of AddLater that are not there any more.
func WithoutLater(ctx context.Context, uri string) (lost []string, err error) {
	err = with(ctx, uri, func(data *mongo.Database) error {
		for name, fields := range laterFields {
			for _, f := range fields {
				n, err := data.Collection(name).CountDocuments(ctx, where(f+".deep", bson.D{{Key: "$ne", Value: "x"}}))
				if err != nil {
					return err
				}
				if n > 0 {
					lost = append(lost, name+"."+f)
				}
			}
		}
		return nil
	})
	return lost, err
}
