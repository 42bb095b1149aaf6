package mongo_test

import (
	"context"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// watch makes every test a test of the queries that it sends: each must have an index, which the stand-in, that scans for
// nearly everything, does not tell.
func watch(t testing.TB) func(*options.ClientOptions) {
	return func(o *options.ClientOptions) {
		o.SetMonitor(&event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
			for _, filter := range filters(e) {
				coll := e.Command.Lookup(e.CommandName).StringValue()
				if !mongo.Served(coll, filter) && coll != "marks" { // of marks there are a few dozen
					t.Errorf("%s of %s by %v has no index", e.CommandName, coll, filter)
				}
			}
		}})
	}
}

// command is what the commands that look for documents have.
type command struct {
	Filter   *bson.D              `bson:"filter"`
	Updates  []struct{ Q bson.D } `bson:"updates"`
	Deletes  []struct{ Q bson.D } `bson:"deletes"`
	Pipeline []struct {
		Match *bson.D `bson:"$match"`
	} `bson:"pipeline"`
}

// filters returns what a command selects documents by.
func filters(e *event.CommandStartedEvent) (fs []bson.D) {
	switch e.CommandName {
	case "find", "update", "delete", "aggregate":
	case "count", "distinct", "findAndModify":
		return []bson.D{{{Key: e.CommandName, Value: "not known to this test"}}}
	default:
		return nil
	}
	var c command
	if err := bson.Unmarshal(e.Command, &c); err != nil {
		return []bson.D{{{Key: "error", Value: err}}}
	}
	if c.Filter != nil {
		fs = append(fs, *c.Filter)
	}
	for _, u := range append(c.Updates, c.Deletes...) {
		fs = append(fs, u.Q)
	}
	if len(c.Pipeline) > 0 {
		if c.Pipeline[0].Match == nil {
			return []bson.D{{}}
		}
		fs = append(fs, *c.Pipeline[0].Match)
	}
	return fs
}
