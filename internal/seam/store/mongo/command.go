package mongo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

const (
	bulkSize = 1000 // writes in one command
	keysSize = 1000 // keys that one query names
)

// find reads all documents that a query finds.
func find[D any](ctx context.Context, c *mongo.Collection, filter any, opts ...options.Lister[options.FindOptions]) ([]D, error) {
	cur, err := c.Find(ctx, filter, opts...)
	if err != nil {
		return nil, err
	}
	var ds []D
	err = cur.All(ctx, &ds)
	return ds, err
}

// one reads the document with a key, or returns mongo.ErrNoDocuments.
func one[D any](ctx context.Context, c *mongo.Collection, key any) (d D, err error) {
	err = c.FindOne(ctx, byKey(key)).Decode(&d)
	return d, err
}

// byKeys reads the documents that exist among keys and hands each to fn.
func byKeys[D any](ctx context.Context, c *mongo.Collection, keys []string, fn func(D) error) error {
	for len(keys) > 0 {
		n := min(len(keys), keysSize)
		ds, err := find[D](ctx, c, bson.D{{Key: "_id", Value: in(keys[:n])}})
		if err != nil {
			return err
		}
		for _, d := range ds {
			if err := fn(d); err != nil {
				return err
			}
		}
		keys = keys[n:]
	}
	return nil
}

func byKey(key any) bson.D { return bson.D{{Key: "_id", Value: key}} }

func in(values any) bson.D { return bson.D{{Key: "$in", Value: values}} }

func above(v any) bson.D { return bson.D{{Key: "$gt", Value: v}} }

func set(d any) bson.D { return bson.D{{Key: "$set", Value: d}} }

// addNew stores the documents whose keys are new and hands back those whose keys were there.
func addNew[D any](ctx context.Context, c *mongo.Collection, docs []D) (there []D, err error) {
	models := make([]mongo.WriteModel, len(docs))
	byModel := make(map[mongo.WriteModel]D, len(docs))
	for i := range docs {
		m := mongo.NewInsertOneModel().SetDocument(docs[i])
		models[i], byModel[m] = m, docs[i]
	}
	twice, err := bulk(ctx, c, models)
	for _, m := range twice {
		there = append(there, byModel[m])
	}
	return there, err
}

// bulk runs writes in no order and returns those that met a key that exists.
func bulk(ctx context.Context, c *mongo.Collection, models []mongo.WriteModel) (duplicates []mongo.WriteModel, err error) {
	for len(models) > 0 {
		n := min(len(models), bulkSize)
		_, err := c.BulkWrite(ctx, models[:n], options.BulkWrite().SetOrdered(false))
		twice, err := onlyDuplicates(err)
		if err != nil {
			return nil, err
		}
		for _, d := range twice {
			duplicates = append(duplicates, d.Request)
		}
		models = models[n:]
	}
	return duplicates, nil
}

// step is a document that only goes forward: it is written if there is none with its key, or one that is behind it.
type step struct {
	key string
	at  int64 // what the field that forward names is raised to
	doc any   // without its key
}

// forward writes steps; those that are not ahead of what is stored change nothing. Its field must be in each doc.
func forward(ctx context.Context, c *mongo.Collection, field string, steps []step) error {
	var models []mongo.WriteModel
	update := func(s step) *mongo.UpdateOneModel {
		behind := bson.D{{Key: "$lt", Value: s.at}}
		return mongo.NewUpdateOneModel().SetFilter(append(byKey(s.key), bson.E{Key: field, Value: behind})).SetUpdate(set(s.doc))
	}
	byModel := make(map[mongo.WriteModel]step, len(steps))
	for _, s := range steps {
		m := update(s).SetUpsert(true)
		models, byModel[m] = append(models, m), s
	}
	there, err := bulk(ctx, c, models)
	if err != nil || len(there) == 0 {
		return err
	}
	// An upsert meets its own key if what is stored is further, or if another made the document at the same moment, perhaps
	// with less: only then does this change anything.
	models = models[:0]
	for _, m := range there {
		models = append(models, update(byModel[m]))
	}
	_, err = bulk(ctx, c, models)
	return err
}

// revision is what a document has that edit changes.
type revision struct {
	Key string `bson:"_id"`
	V   int64  `bson:"v"` // counts changes
}

// later holds the fields of a document that this version does not know. What edit changes is written as a whole: without
// them an older version beside a newer one would delete what that one wrote (invariant 10).
type later map[string]bson.RawValue

// errSame says that a change has nothing to change. edit then writes nothing.
var errSame = errors.New("mongo: nothing to change")

// edit applies change to the document with a key and stores it, again with the newest one whenever another was faster. If
// there is none it is made, or, unless create, store.ErrNotFound. An error of change is returned as it is.
func edit[D any, P interface {
	*D
	rev() *revision
}](ctx context.Context, c *mongo.Collection, key string, create bool, change func(*D) error) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 64*time.Millisecond) {
		d, err := one[D](ctx, c, key)
		fresh := errors.Is(err, mongo.ErrNoDocuments)
		if fresh && !create {
			return store.ErrNotFound
		}
		if err != nil && !fresh {
			return explain(ctx, err)
		}
		if err := change(&d); err != nil {
			return err
		}
		done, err := put(ctx, c, P(&d).rev(), key, &d, fresh)
		if err != nil || done {
			return explain(ctx, err)
		}
		if err := pause(ctx, wait); err != nil {
			return fmt.Errorf("others change it too often: %w", err)
		}
	}
}

// put stores d, whose revision r is, in place of what it was read as.
func put(ctx context.Context, c *mongo.Collection, r *revision, key string, d any, fresh bool) (bool, error) {
	old := r.V
	r.Key, r.V = key, old+1
	if fresh {
		_, err := c.InsertOne(ctx, d)
		if mongo.IsDuplicateKeyError(err) {
			return false, nil
		}
		return err == nil, err
	}
	res, err := c.ReplaceOne(ctx, append(byKey(key), bson.E{Key: "v", Value: old}), d)
	return err == nil && res.MatchedCount == 1, err
}

// pause waits up to d, so that those who met come apart.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(rand.N(d)) //nolint:gosec // nobody gains by guessing it
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
