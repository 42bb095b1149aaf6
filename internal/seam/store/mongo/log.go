package mongo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"golang.org/x/sync/errgroup"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Log implements store.Log. Owner: persistence.
type Log struct{ db *DB }

var _ store.Log = Log{}

// Log returns the part of db that persistence owns.
func (db *DB) Log() Log { return Log{db} }

type (
	entryDoc struct {
		Key     string        `bson:"_id"` // conversation/seq
		Ordinal int64         `bson:"o"`
		Sender  string        `bson:"u"`
		SentAt  bson.DateTime `bson:"t"`
		Kind    int32         `bson:"k"`
		Hash    int64         `bson:"h"`
		Data    []byte        `bson:"d"`
	}
	headDoc struct {
		Key       string        `bson:"_id,omitempty"` // conversation
		Seq       int64         `bson:"s"`
		Ordinal   int64         `bson:"o"`
		NoticeSeq int64         `bson:"n"`
		SentAt    bson.DateTime `bson:"t"`
		Position  int64         `bson:"p"`
	}
	markDoc struct {
		Partition   int64         `bson:"_id"`
		Incarnation string        `bson:"i"`
		Position    int64         `bson:"p"`
		Raised      int64         `bson:"r"` // how often this mark raised the epoch
		RaisedAt    bson.DateTime `bson:"t"` // when last
	}
	rawDoc struct {
		Key  string `bson:"_id"` // partition/incarnation/position
		Data []byte `bson:"d"`
	}
	mentionDoc struct {
		Key          string `bson:"_id"` // user/conversation/seq
		Conversation string `bson:"c"`
		Seq          int64  `bson:"s"`
	}
	keyDoc struct {
		Key string `bson:"_id"`
	}
)

// Store implements store.Log. Nothing it writes counts before the mark moves, and all of it can be written again: what is
// there stays, and what goes forward does not go back. Heads come after the entries that they name.
func (l Log) Store(ctx context.Context, b store.Batch) error {
	ctx, cancel := l.db.bound(ctx)
	defer cancel()
	if err := l.store(ctx, b); err != nil {
		return fmt.Errorf("store batch of partition %d up to %d: %w", b.Partition, b.To.Position, explain(ctx, err))
	}
	return nil
}

func (l Log) store(ctx context.Context, b store.Batch) error {
	now, err := l.mark(ctx, l.db.data, b.Partition)
	if err != nil {
		return err
	}
	if now.mark() != b.From {
		return store.ErrConflict // spares the writes; what fences is moveMark
	}
	each, inner := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context, store.Batch) error{
		l.storeEntries, l.storeDirects, l.storeMentions, l.storeRaw, l.storeRead,
	} {
		each.Go(func() error { return part(inner, b) })
	}
	if err := each.Wait(); err != nil {
		return err
	}
	if err := l.storeHeads(ctx, b); err != nil {
		return err
	}
	return l.moveMark(ctx, b.Partition, b.From, b.To, false)
}

func (l Log) storeEntries(ctx context.Context, b store.Batch) error {
	docs := make([]entryDoc, len(b.Entries))
	for i := range b.Entries {
		e := &b.Entries[i]
		if e.Seq > maxSeq {
			return fmt.Errorf("entry %d of %s: no seq is that high", e.Seq, e.ConversationID)
		}
		docs[i] = entryDoc{
			Key: seqKey(string(e.ConversationID), e.Seq), Ordinal: count(e.Ordinal), Sender: string(e.SenderID),
			SentAt: millis(e.SentAt), Kind: e.Kind, Hash: int64(e.Dedupe), Data: blob(e.Data),
		}
	}
	c := l.db.data.Collection(entries)
	there, err := addNew(ctx, c, docs)
	if err != nil || len(there) == 0 {
		return err
	}
	return l.compare(ctx, c, there)
}

// compare tells an operator of entries that are stored already and differ from those of the log. Repeating a batch meets
// entries that are the same; others mean that two logs have numbered the same conversation.
func (l Log) compare(ctx context.Context, c *mongo.Collection, docs []entryDoc) error {
	want, ids := make(map[string]entryDoc, len(docs)), make([]string, len(docs))
	for i, d := range docs {
		want[d.Key], ids[i] = d, d.Key
	}
	return byKeys(ctx, c, ids, func(d entryDoc) error {
		w := want[d.Key]
		if !bytes.Equal(d.Data, w.Data) || d.Hash != w.Hash || d.Sender != w.Sender || d.SentAt != w.SentAt {
			l.db.log.ErrorContext(ctx, "an entry of the log differs from the stored one, which stays", "entry", d.Key)
		}
		return nil
	})
}

// storeDirects lists the direct conversations that begin with b.
func (l Log) storeDirects(ctx context.Context, b store.Batch) error {
	var docs []keyDoc
	for i := range b.Entries {
		if e := &b.Entries[i]; e.Seq == 1 && e.ConversationID.Kind() == chat.KindDirect {
			one, other := e.ConversationID.Users()
			docs = append(docs, keyDoc{userKey(one, e.ConversationID)}, keyDoc{userKey(other, e.ConversationID)})
		}
	}
	_, err := addNew(ctx, l.db.data.Collection(directs), docs)
	return err
}

func (l Log) storeMentions(ctx context.Context, b store.Batch) error {
	docs := make([]mentionDoc, len(b.Mentions))
	for i, m := range b.Mentions {
		key := seqKey(userKey(m.UserID, m.ConversationID), m.Seq)
		docs[i] = mentionDoc{key, string(m.ConversationID), count(m.Seq)}
	}
	_, err := addNew(ctx, l.db.data.Collection(mentions), docs)
	return err
}

func (l Log) storeRaw(ctx context.Context, b store.Batch) error {
	docs := make([]rawDoc, len(b.Raw))
	for i, r := range b.Raw {
		docs[i] = rawDoc{fmt.Sprintf("%d/%s/%d", b.Partition, b.To.Incarnation, r.Position), blob(r.Data)}
	}
	_, err := addNew(ctx, l.db.data.Collection(raws), docs)
	return err
}

func (l Log) storeRead(ctx context.Context, b store.Batch) error {
	steps := make([]step, len(b.Read))
	for i, r := range b.Read {
		steps[i] = step{userKey(r.UserID, r.ConversationID), count(r.Seq), cursorFields(r.Cursor, r.ChangedAt)}
	}
	return forward(ctx, l.db.data.Collection(cursors), "s", steps)
}

func (l Log) storeHeads(ctx context.Context, b store.Batch) error {
	steps := make([]step, len(b.Heads))
	for i, h := range b.Heads {
		steps[i] = step{string(h.ConversationID), count(h.Seq), headDoc{
			Seq: count(h.Seq), Ordinal: count(h.Ordinal), NoticeSeq: count(h.NoticeSeq), SentAt: millis(h.SentAt),
			Position: count(h.Position),
		}}
	}
	return forward(ctx, l.db.data.Collection(heads), "s", steps)
}

func (m markDoc) mark() store.Mark {
	return store.Mark{Incarnation: m.Incarnation, Position: uint64(m.Position)}
}

// mark reads a mark, the zero one if none is stored.
func (l Log) mark(ctx context.Context, from *mongo.Database, partition int) (markDoc, error) {
	m, err := one[markDoc](ctx, from.Collection(marks), int64(partition))
	if errors.Is(err, mongo.ErrNoDocuments) {
		err = nil
	}
	return m, err
}

// moveMark moves a mark from from to to and raises the epoch, or returns store.ErrConflict.
func (l Log) moveMark(ctx context.Context, partition int, from, to store.Mark, raise bool) error {
	c := l.db.data.Collection(marks)
	at := append(byKey(int64(partition)), bson.E{Key: "i", Value: from.Incarnation}, bson.E{Key: "p", Value: count(from.Position)})
	next := set(bson.D{{Key: "i", Value: to.Incarnation}, {Key: "p", Value: count(to.Position)}})
	first := markDoc{Partition: int64(partition), Incarnation: to.Incarnation, Position: count(to.Position)}
	if raise {
		first.Raised, first.RaisedAt = 1, millis(time.Now())
		next = append(next, bson.E{Key: "$inc", Value: bson.D{{Key: "r", Value: first.Raised}}},
			bson.E{Key: "$max", Value: bson.D{{Key: "t", Value: first.RaisedAt}}})
	}
	res, err := c.UpdateOne(ctx, at, next)
	if err != nil || res.MatchedCount == 1 {
		return err
	}
	if from != (store.Mark{}) {
		return store.ErrConflict
	}
	_, err = c.InsertOne(ctx, first)
	if mongo.IsDuplicateKeyError(err) {
		return store.ErrConflict
	}
	return err
}

// Mark implements store.Log.
func (l Log) Mark(ctx context.Context, partition int) (store.Mark, error) {
	ctx, cancel := l.db.bound(ctx)
	defer cancel()
	m, err := l.mark(ctx, l.db.strict, partition)
	if err != nil {
		return store.Mark{}, fmt.Errorf("read mark of partition %d: %w", partition, explain(ctx, err))
	}
	return m.mark(), nil
}

// MoveMark implements store.Log. Mark and epoch are one document, see Epoch.
func (l Log) MoveMark(ctx context.Context, partition int, from, to store.Mark, raise bool) error {
	ctx, cancel := l.db.bound(ctx)
	defer cancel()
	if err := l.moveMark(ctx, partition, from, to, raise); err != nil {
		return fmt.Errorf("move mark of partition %d: %w", partition, explain(ctx, err))
	}
	return nil
}

// Epoch implements store.Log: the time at which a mark last raised it, 1 if none did, and how often all of them did. So a raise is a change
// of one document, the mark's own, and always takes it up: the count rises, the latest time does not fall, whatever other partitions
// raise at that moment and whatever the clocks of their processes say. (A share of each mark in the sum that lifts it to the time would
// lift it several times if several raise at once, and it would run ahead of the clock.) It never falls, as marks are never deleted, those of
// partitions that are no more included. As a number of JSON it has to stay below 2^53: the time in ms, 2^41 until 2039, leaves room for more raises
// than there will be.
func (l Log) Epoch(ctx context.Context) (uint64, error) {
	ctx, cancel := l.db.bound(ctx)
	defer cancel()
	ms, err := find[markDoc](ctx, l.db.strict.Collection(marks), bson.D{})
	if err != nil {
		return 0, fmt.Errorf("read epoch: %w", explain(ctx, err))
	}
	latest, raised := bson.DateTime(1), int64(0)
	for _, m := range ms {
		latest, raised = max(latest, m.RaisedAt), raised+m.Raised
	}
	return uint64(int64(latest) + raised), nil
}

// Heads implements store.Log. The read is linearizable: numbers are given by it, and right after a fail-over a new
// primary may not know yet how far its predecessor was committed.
func (l Log) Heads(ctx context.Context, ids []chat.ConversationID) ([]store.Head, error) {
	return l.db.heads(ctx, l.db.strict, ids)
}

func (db *DB) heads(ctx context.Context, from *mongo.Database, ids []chat.ConversationID) (hs []store.Head, err error) {
	ctx, cancel := db.bound(ctx)
	defer cancel()
	err = byKeys(ctx, from.Collection(heads), texts(ids), func(d headDoc) error {
		hs = append(hs, store.Head{
			ConversationID: chat.ConversationID(d.Key), Seq: uint64(d.Seq), Ordinal: uint64(d.Ordinal),
			NoticeSeq: uint64(d.NoticeSeq), SentAt: timeOf(d.SentAt), Position: uint64(d.Position),
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d heads: %w", len(ids), explain(ctx, err))
	}
	return hs, nil
}

// sharing is how many entries with one hash ByDedupe returns.
const sharing = 16

// ByDedupe implements store.Log. The read is linearizable, as what it misses would be sent twice. The hint keeps the server from walking the whole conversation in the order asked for.
func (l Log) ByDedupe(ctx context.Context, c chat.ConversationID, dedupe uint64) ([]store.Entry, error) {
	ctx, cancel := l.db.bound(ctx)
	defer cancel()
	filter := bson.D{{Key: "h", Value: int64(dedupe)}, {Key: "_id", Value: under(string(c))}}
	es, err := entriesOf(ctx, l.db.strict, filter, options.Find().SetSort(fields("-_id")).SetLimit(sharing).SetHint(hashIndex))
	if err != nil {
		return nil, fmt.Errorf("look up entry of %s by hash: %w", c, explain(ctx, err))
	}
	return es, nil
}
