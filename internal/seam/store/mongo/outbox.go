package mongo

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Outbox implements store.Outbox. Owner: auth. An event waits in the document that it tells of, so that both are stored by
// one write: an account's or a user's sessions.
type Outbox struct{ db *DB }

var _ store.Outbox = Outbox{}

// Outbox returns the part of db that holds events to publish.
func (db *DB) Outbox() Outbox { return Outbox{db} }

type (
	eventDoc struct {
		ID      string `bson:"i"`
		N       int64  `bson:"n"` // the order of events
		Subject string `bson:"s"`
		Data    []byte `bson:"d"`
		Later   later  `bson:",inline"`
	}
	// waiting is what a document with events has.
	waiting struct {
		Events []eventDoc `bson:"ev,omitempty"`
		Oldest int64      `bson:"w,omitempty"` // the least N of Events; none: absent
	}
	waitingDoc struct {
		Rev  revision `bson:",inline"`
		Wait waiting  `bson:",inline"`
	}
)

// add adds an event, unless it is none or waits already. It comes after those that wait in the same document, whatever
// the clocks of the processes that added them.
func (w *waiting) add(db *DB, e store.Event) {
	if e.ID == "" || slices.ContainsFunc(w.Events, func(d eventDoc) bool { return d.ID == e.ID }) {
		return
	}
	n := db.clock.next()
	for _, d := range w.Events {
		n = max(n, d.N+1)
	}
	w.Events = append(w.Events, eventDoc{ID: e.ID, N: n, Subject: e.Subject, Data: blob(e.Data)})
	w.order()
}

// remove removes the events with ids.
func (w *waiting) remove(ids []string) {
	w.Events = slices.DeleteFunc(w.Events, func(d eventDoc) bool { return slices.Contains(ids, d.ID) })
	w.order()
}

func (w *waiting) order() {
	w.Oldest = 0
	for _, d := range w.Events {
		if w.Oldest == 0 || d.N < w.Oldest {
			w.Oldest = d.N
		}
	}
}

// outboxes are the collections whose documents hold events.
func (o Outbox) outboxes() []*mongo.Collection {
	return []*mongo.Collection{o.db.data.Collection(accounts), o.db.data.Collection(sessions)}
}

var someWait = bson.E{Key: "w", Value: above(int64(0))}

// Pending implements store.Outbox. The oldest events are in the documents whose oldest are. Those of one document come in
// the order of its changes; others that several processes store within the difference of their clocks in any.
func (o Outbox) Pending(ctx context.Context, limit int) ([]store.Event, error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := o.db.bound(ctx)
	defer cancel()
	var all []eventDoc
	for _, c := range o.outboxes() {
		ds, err := find[waitingDoc](ctx, c, bson.D{someWait}, options.Find().SetSort(fields("w")).SetLimit(int64(limit)).
			SetProjection(fields("ev")))
		if err != nil {
			return nil, fmt.Errorf("read outbox: %w", explain(ctx, err))
		}
		for _, d := range ds {
			all = append(all, d.Wait.Events...)
		}
	}
	slices.SortFunc(all, func(a, b eventDoc) int { return cmp.Compare(a.N, b.N) })
	es := make([]store.Event, 0, min(limit, len(all)))
	seen := make(map[string]bool, len(all))
	for _, d := range all {
		if len(es) < limit && !seen[d.ID] {
			seen[d.ID] = true
			es = append(es, store.Event{ID: d.ID, Subject: d.Subject, Data: d.Data})
		}
	}
	return es, nil
}

// Done implements store.Outbox. Events are taken out of their documents by compare-and-set, as others change these too.
func (o Outbox) Done(ctx context.Context, ids []string) error {
	ctx, cancel := o.db.bound(ctx)
	defer cancel()
	for part := range slices.Chunk(ids, keysSize) {
		for _, c := range o.outboxes() {
			if err := o.forget(ctx, c, part); err != nil {
				return fmt.Errorf("forget %d events: %w", len(ids), explain(ctx, err))
			}
		}
	}
	return nil
}

// forget takes events out of the documents of c until none has one of them.
func (o Outbox) forget(ctx context.Context, c *mongo.Collection, ids []string) error {
	for {
		ds, err := find[waitingDoc](ctx, c, bson.D{{Key: "ev.i", Value: in(ids)}, someWait},
			options.Find().SetProjection(fields("v", "ev.i", "ev.n")))
		if err != nil || len(ds) == 0 {
			return err
		}
		models := make([]mongo.WriteModel, len(ds))
		for i, d := range ds {
			models[i] = forgetEvents(d, ids)
		}
		if _, err := bulk(ctx, c, models); err != nil {
			return err
		}
	}
}

// forgetEvents is the write that takes events out of d, if d is as it was read.
func forgetEvents(d waitingDoc, ids []string) mongo.WriteModel {
	left := d.Wait
	left.remove(ids)
	pull := bson.D{{Key: "$pull", Value: where("ev", where("i", in(ids)))}, {Key: "$inc", Value: where("v", int64(1))}}
	if left.Oldest == 0 {
		pull = bson.D{{Key: "$unset", Value: bson.D{{Key: "ev", Value: ""}, {Key: "w", Value: ""}}}, pull[1]}
	} else {
		pull = append(pull, set(where("w", left.Oldest))...)
	}
	return mongo.NewUpdateOneModel().SetFilter(append(byKey(d.Rev.Key), bson.E{Key: "v", Value: d.Rev.V})).SetUpdate(pull)
}

// Len implements store.Outbox: the number of documents with events.
func (o Outbox) Len(ctx context.Context) (int, error) {
	ctx, cancel := o.db.bound(ctx)
	defer cancel()
	var sum int64
	for _, c := range o.outboxes() {
		n, err := c.CountDocuments(ctx, bson.D{someWait})
		if err != nil {
			return 0, fmt.Errorf("count outbox: %w", explain(ctx, err))
		}
		sum += n
	}
	return int(sum), nil
}
