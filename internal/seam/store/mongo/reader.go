package mongo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Reader implements store.Reader. Owner: query. It reads on the primary: a secondary may not have yet what the writer's
// mark says is stored.
type Reader struct{ db *DB }

var _ store.Reader = Reader{}

// Reader returns the part of db that query reads through.
func (db *DB) Reader() Reader { return Reader{db} }

func texts[T ~string](ids []T) []string {
	s := make([]string, len(ids))
	for i, id := range ids {
		s[i] = string(id)
	}
	return s
}

// entriesOf reads entries.
func entriesOf(ctx context.Context, from *mongo.Database, filter bson.D, opts ...options.Lister[options.FindOptions]) ([]store.Entry, error) {
	ds, err := find[entryDoc](ctx, from.Collection(entries), filter, opts...)
	if err != nil {
		return nil, err
	}
	es := make([]store.Entry, len(ds))
	for i, d := range ds {
		seq, err := keySeq(d.Key)
		if err != nil {
			return nil, err
		}
		c, _, _ := strings.Cut(d.Key, "/")
		es[i] = store.Entry{
			ConversationID: chat.ConversationID(c), Seq: seq, Ordinal: uint64(d.Ordinal), SenderID: chat.UserID(d.Sender),
			SentAt: timeOf(d.SentAt), Kind: d.Kind, Dedupe: uint64(d.Hash), Data: d.Data,
		}
	}
	return es, nil
}

// seqs selects entries of a conversation by seq, both ends included.
func seqs(c chat.ConversationID, from, to uint64) bson.D {
	return bson.D{{Key: "_id", Value: bson.D{{Key: "$gte", Value: seqKey(string(c), from)}, {Key: "$lte", Value: seqKey(string(c), to)}}}}
}

// Range implements store.Reader.
func (r Reader) Range(ctx context.Context, c chat.ConversationID, from, to uint64, limit int, newest bool) (
	[]store.Entry, error,
) {
	if limit <= 0 || from > to {
		return nil, nil
	}
	ctx, cancel := r.db.bound(ctx)
	defer cancel()
	order := "_id"
	if newest {
		order = "-_id"
	}
	o := options.Find().SetSort(fields(order)).SetLimit(int64(limit)).SetBatchSize(int32(min(limit, 1000)))
	es, err := entriesOf(ctx, r.db.data, seqs(c, from, to), o)
	if err != nil {
		return nil, fmt.Errorf("read entries %d to %d of %s: %w", from, to, c, explain(ctx, err))
	}
	if newest {
		slices.Reverse(es)
	}
	return es, nil
}

// At implements store.Reader.
func (r Reader) At(ctx context.Context, at []store.EntryKey) (es []store.Entry, err error) {
	ctx, cancel := r.db.bound(ctx)
	defer cancel()
	for part := range slices.Chunk(at, keysSize) {
		ids := make([]string, len(part))
		for i, k := range part {
			ids[i] = seqKey(string(k.ConversationID), k.Seq)
		}
		more, err := entriesOf(ctx, r.db.data, bson.D{{Key: "_id", Value: in(ids)}})
		if err != nil {
			return nil, fmt.Errorf("read %d entries: %w", len(at), explain(ctx, err))
		}
		es = append(es, more...)
	}
	return es, nil
}

// FirstAt implements store.Reader. As sentAt never falls within a conversation it needs no index of times: it asks for
// probes entries spread over what is left, by their keys, and goes on between the two that the time lies between, 6 queries
// for a million entries.
func (r Reader) FirstAt(ctx context.Context, c chat.ConversationID, t time.Time) (uint64, error) {
	ctx, cancel := r.db.bound(ctx)
	defer cancel()
	seq, err := r.firstAt(ctx, c, millis(t))
	if err != nil {
		return 0, fmt.Errorf("find first entry of %s at a time: %w", c, explain(ctx, err))
	}
	return seq, nil
}

// probes is how many entries FirstAt asks for at once.
const probes = 15

// times reads seq and time of entries, ascending.
func (r Reader) times(ctx context.Context, filter any, opts ...options.Lister[options.FindOptions]) (ss []uint64, ts []bson.DateTime, err error) {
	o := options.Find().SetProjection(fields("_id", "t")).SetSort(fields("_id"))
	ds, err := find[entryDoc](ctx, r.db.data.Collection(entries), filter, append([]options.Lister[options.FindOptions]{o}, opts...)...)
	for _, d := range ds {
		seq, err := keySeq(d.Key)
		if err != nil {
			return nil, nil, err
		}
		ss, ts = append(ss, seq), append(ts, d.SentAt)
	}
	return ss, ts, err
}

func (r Reader) firstAt(ctx context.Context, c chat.ConversationID, t bson.DateTime) (found uint64, err error) {
	all, one := seqs(c, 0, maxSeq), options.Find().SetLimit(1)
	last, _, err := r.times(ctx, all, one, options.Find().SetSort(fields("-_id")))
	if err != nil || len(last) == 0 {
		return 0, err
	}
	first, _, err := r.times(ctx, all, one)
	if err != nil || len(first) == 0 {
		return 0, err
	}
	for lo, hi := first[0], last[0]; lo <= hi; {
		ss, ts, err := r.probe(ctx, c, lo, hi)
		if err != nil {
			return 0, err
		}
		if len(ss) == 0 { // a hole so large that all fell into it: what is the first behind it?
			if ss, ts, err = r.times(ctx, seqs(c, lo, hi), one); err != nil || len(ss) == 0 {
				return found, err
			}
			lo = ss[0]
		}
		for i, seq := range ss {
			if ts[i] >= t {
				found, hi = seq, seq-1
				break
			}
			lo = seq + 1
		}
	}
	return found, nil
}

// probe reads entries spread evenly over lo to hi, or all if there are few.
func (r Reader) probe(ctx context.Context, c chat.ConversationID, lo, hi uint64) ([]uint64, []bson.DateTime, error) {
	if hi-lo <= probes {
		return r.times(ctx, seqs(c, lo, hi))
	}
	ids := make([]string, probes)
	for i := range ids {
		ids[i] = seqKey(string(c), lo+(hi-lo)/(probes+1)*uint64(i+1))
	}
	return r.times(ctx, bson.D{{Key: "_id", Value: in(ids)}})
}

// Heads implements store.Reader.
func (r Reader) Heads(ctx context.Context, ids []chat.ConversationID) ([]store.Head, error) {
	return r.db.heads(ctx, r.db.data, ids)
}

// Directs implements store.Reader.
func (r Reader) Directs(ctx context.Context, u chat.UserID) ([]chat.ConversationID, error) {
	ctx, cancel := r.db.bound(ctx)
	defer cancel()
	ds, err := find[keyDoc](ctx, r.db.data.Collection(directs), bson.D{{Key: "_id", Value: under(string(u))}})
	if err != nil {
		return nil, fmt.Errorf("list direct conversations of %s: %w", u, explain(ctx, err))
	}
	cs := make([]chat.ConversationID, len(ds))
	for i, d := range ds {
		_, c, _ := strings.Cut(d.Key, "/")
		cs[i] = chat.ConversationID(c)
	}
	return cs, nil
}

// Cursors implements store.Reader.
func (r Reader) Cursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	return r.db.cursorsOf(ctx, u, cs)
}

// PeerCursors implements store.Reader. The name of a direct conversation says who has a cursor in it.
func (r Reader) PeerCursors(ctx context.Context, u chat.UserID, cs []chat.ConversationID) ([]store.CursorOf, error) {
	var ids []string
	for _, c := range cs {
		a, b := c.Users()
		for _, peer := range []chat.UserID{a, b} {
			if peer != u {
				ids = append(ids, userKey(peer, c))
			}
		}
	}
	ks, err := r.db.cursors(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read cursors of the peers of %s: %w", u, err)
	}
	return ks, nil
}

// mentionsSize is how many conversations one query of FirstMentions names.
const mentionsSize = 100

// FirstMentions implements store.Reader.
func (r Reader) FirstMentions(ctx context.Context, u chat.UserID, after map[chat.ConversationID]uint64) (
	map[chat.ConversationID]uint64, error,
) {
	ctx, cancel := r.db.bound(ctx)
	defer cancel()
	var ranges bson.A
	for c, seq := range after {
		key := userKey(u, c)
		ranges = append(ranges, bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: seqKey(key, seq)}, {Key: "$lt", Value: key + "0"}}}})
	}
	first := make(map[chat.ConversationID]uint64)
	for part := range slices.Chunk(ranges, mentionsSize) {
		if err := r.firstMentions(ctx, part, first); err != nil {
			return nil, fmt.Errorf("find first mentions of %s: %w", u, explain(ctx, err))
		}
	}
	return first, nil
}

func (r Reader) firstMentions(ctx context.Context, ranges bson.A, first map[chat.ConversationID]uint64) error {
	cur, err := r.db.data.Collection(mentions).Aggregate(ctx, bson.A{
		bson.D{{Key: "$match", Value: bson.D{{Key: "$or", Value: ranges}}}},
		bson.D{{Key: "$group", Value: bson.D{{Key: "_id", Value: "$c"}, {Key: "s", Value: bson.D{{Key: "$min", Value: "$s"}}}}}},
	})
	if err != nil {
		return err
	}
	var ds []struct {
		Conversation string `bson:"_id"`
		Seq          int64  `bson:"s"`
	}
	err = cur.All(ctx, &ds)
	for _, d := range ds {
		first[chat.ConversationID(d.Conversation)] = uint64(d.Seq)
	}
	return err
}
