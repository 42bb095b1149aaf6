package mongo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Relations implements store.Relations. Owner: user. A pair of users is one document with both sides, so that one write
// changes both. A user is side a of some pairs and side b of others: what lists the user's relations asks for both.
type Relations struct{ db *DB }

var _ store.Relations = Relations{}

// Relations returns the part of db that says how users stand to each other.
func (db *DB) Relations() Relations { return Relations{db} }

type (
	pairDoc struct {
		Rev   revision `bson:",inline"` // its key is both ids, the lesser first
		A     sideDoc  `bson:"a"`       // of the lesser id
		B     sideDoc  `bson:"b"`
		Later later    `bson:",inline"`
	}
	sideDoc struct {
		User        string        `bson:"u"`
		Peer        string        `bson:"p"`
		Friend      bool          `bson:"f,omitempty"`
		FriendSince bson.DateTime `bson:"fs,omitempty"`
		Remark      string        `bson:"rm,omitempty"`
		Tags        []string      `bson:"tg,omitempty"`
		Starred     bool          `bson:"st,omitempty"`
		RequestedAt bson.DateTime `bson:"ra,omitempty"`
		Request     string        `bson:"rt,omitempty"`
		Blocked     bool          `bson:"b,omitempty"`
		BlockedAt   bson.DateTime `bson:"ba"`
		Withheld    []rangeDoc    `bson:"wh,omitempty"`
		Pending     string        `bson:"pe,omitempty"`
		Later       later         `bson:",inline"`
	}
	rangeDoc struct {
		From int64 `bson:"f"`
		To   int64 `bson:"t"`
	}
)

func (d *pairDoc) rev() *revision { return &d.Rev }

// side returns the side of u.
func (d *pairDoc) side(u chat.UserID) *sideDoc {
	if d.A.User == string(u) {
		return &d.A
	}
	return &d.B
}

// newPair returns the document of a pair of which nothing is stored.
func newPair(a, b chat.UserID) pairDoc {
	if a > b {
		a, b = b, a
	}
	return pairDoc{
		Rev: revision{Key: userKey(a, b)}, A: sideDoc{User: string(a), Peer: string(b)}, B: sideDoc{User: string(b), Peer: string(a)},
	}
}

func (d *sideDoc) relation() store.Relation {
	r := store.Relation{
		User: chat.UserID(d.User), Peer: chat.UserID(d.Peer), Friend: d.Friend, FriendSince: timeOf(d.FriendSince),
		Remark: d.Remark, Tags: d.Tags, Starred: d.Starred, RequestedAt: timeOf(d.RequestedAt), RequestMessage: d.Request,
		Blocked: d.Blocked, BlockedAt: timeOf(d.BlockedAt), Pending: d.Pending,
	}
	for _, w := range d.Withheld {
		r.Withheld = append(r.Withheld, store.SeqRange{From: uint64(w.From), To: uint64(w.To)})
	}
	return r
}

// set takes over all of r but its names.
func (d *sideDoc) set(r store.Relation) {
	*d = sideDoc{
		User: d.User, Peer: d.Peer, Friend: r.Friend, FriendSince: millis(r.FriendSince), Remark: r.Remark, Tags: r.Tags,
		Starred: r.Starred, RequestedAt: millis(r.RequestedAt), Request: r.RequestMessage, Blocked: r.Blocked,
		BlockedAt: millis(r.BlockedAt), Pending: r.Pending, Later: d.Later,
	}
	for _, w := range r.Withheld {
		d.Withheld = append(d.Withheld, rangeDoc{count(w.From), count(w.To)})
	}
}

func (s Relations) coll() *mongo.Collection { return s.db.data.Collection(relations) }

// Get implements store.Relations. The read is linearizable, as decisions are cached by it.
func (s Relations) Get(ctx context.Context, a, b chat.UserID) (ab, ba store.Relation, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	none := newPair(a, b)
	d, err := one[pairDoc](ctx, s.db.strict.Collection(relations), none.Rev.Key)
	if errors.Is(err, mongo.ErrNoDocuments) {
		d, err = none, nil
	}
	if err != nil {
		err = fmt.Errorf("read relation of %s and %s: %w", a, b, explain(ctx, err))
		return store.Relation{User: a, Peer: b}, store.Relation{User: b, Peer: a}, err
	}
	return d.side(a).relation(), d.side(b).relation(), nil
}

// Update implements store.Relations. change runs again whenever another process was faster.
func (s Relations) Update(ctx context.Context, a, b chat.UserID, change func(ab, ba *store.Relation) error) (
	ab, ba store.Relation, err error,
) {
	if a == b {
		return ab, ba, fmt.Errorf("update relation of %s: with oneself", a)
	}
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	none := newPair(a, b)
	var refused error
	err = edit(ctx, s.coll(), none.Rev.Key, true, func(d *pairDoc) error {
		if d.A.User == "" {
			d.A, d.B = none.A, none.B
		}
		ab, ba = d.side(a).relation(), d.side(b).relation()
		if refused = change(&ab, &ba); refused != nil {
			return refused
		}
		d.side(a).set(ab)
		d.side(b).set(ba)
		ab, ba = d.side(a).relation(), d.side(b).relation()
		return nil
	})
	switch {
	case refused != nil:
		return store.Relation{}, store.Relation{}, refused
	case err != nil:
		return store.Relation{}, store.Relation{}, fmt.Errorf("update relation of %s and %s: %w", a, b, err)
	}
	return ab, ba, nil
}

// otherSide is the side of the peer.
var otherSide = map[string]string{"a": "b", "b": "a"}

// listing says how the relations of a kind are found among those in which the user is one side.
type listing struct {
	of    bson.D // the filter, which an index serves
	sort  bson.D
	limit int
}

// listBy returns the listing of a kind for the user u as side of the pairs, of what comes after a cursor.
func listBy(kind store.RelationKind, u chat.UserID, side, cursor string, limit int) (listing, error) {
	if kind == store.Friends {
		of := bson.D{{Key: side + ".u", Value: string(u)}, {Key: side + ".f", Value: true}, {Key: side + ".p", Value: above(cursor)}}
		return listing{of, fields(side + ".p"), limit}, nil
	}
	user, at, peer, among := side+".u", side+".ra", side+".p", bson.D{}
	switch kind {
	case store.IncomingRequests: // the other side asks
		user, at, peer = otherSide[side]+".p", otherSide[side]+".ra", otherSide[side]+".u"
	case store.Blocks:
		at, among = side+".ba", where(side+".b", true)
	case store.Friends, store.OutgoingRequests:
	}
	when := bson.D{}
	if kind != store.Blocks {
		when = above(bson.DateTime(0))
	}
	of := append(bson.D{{Key: user, Value: string(u)}}, among...)
	if cursor != "" {
		ms, id, err := parsePlace(cursor)
		if err != nil {
			return listing{}, err
		}
		when = append(when, bson.E{Key: "$lte", Value: ms})
		before := bson.A{where(at, bson.D{{Key: "$lt", Value: ms}}), where(peer, bson.D{{Key: "$lt", Value: id}})}
		of = append(of, bson.E{Key: "$or", Value: before})
	}
	if len(when) > 0 {
		of = append(of, bson.E{Key: at, Value: when})
	}
	return listing{of, fields("-"+at, "-"+peer), limit}, nil
}

// List implements store.Relations.
func (s Relations) List(ctx context.Context, u chat.UserID, kind store.RelationKind, cursor string, limit int) (
	rs []store.Relation, next string, err error,
) {
	if limit <= 0 {
		return nil, "", nil
	}
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	for side := range otherSide {
		l, err := listBy(kind, u, side, cursor, limit+1)
		if err != nil {
			return nil, "", err
		}
		ds, err := find[pairDoc](ctx, s.coll(), l.of, options.Find().SetSort(l.sort).SetLimit(int64(l.limit)))
		if err != nil {
			return nil, "", fmt.Errorf("list relations of %s: %w", u, explain(ctx, err))
		}
		for i := range ds {
			rs = append(rs, ds[i].seenBy(u, kind))
		}
	}
	slices.SortFunc(rs, func(a, b store.Relation) int { return compare(kind, a, b) })
	if len(rs) > limit {
		rs = rs[:limit]
		next = place(kind, rs[limit-1])
	}
	return rs, next, nil
}

// seenBy returns the side of u as a list of a kind shows it.
func (d *pairDoc) seenBy(u chat.UserID, kind store.RelationKind) store.Relation {
	r := d.side(u).relation()
	if kind == store.IncomingRequests {
		asks := d.side(r.Peer).relation()
		r.RequestedAt, r.RequestMessage = asks.RequestedAt, asks.RequestMessage
	}
	return r
}

// compare orders a list of a kind.
func compare(kind store.RelationKind, a, b store.Relation) int {
	switch kind {
	case store.Friends:
		return cmp.Compare(a.Peer, b.Peer)
	case store.Blocks:
		return cmp.Or(b.BlockedAt.Compare(a.BlockedAt), cmp.Compare(b.Peer, a.Peer))
	case store.IncomingRequests, store.OutgoingRequests:
	}
	return cmp.Or(b.RequestedAt.Compare(a.RequestedAt), cmp.Compare(b.Peer, a.Peer))
}

// place returns the cursor after r: the peer's id, for lists by time after the time in ms and '~'.
func place(kind store.RelationKind, r store.Relation) string {
	at := r.RequestedAt
	switch kind {
	case store.Friends:
		return string(r.Peer)
	case store.Blocks:
		at = r.BlockedAt
	case store.IncomingRequests, store.OutgoingRequests:
	}
	return strconv.FormatInt(int64(millis(at)), 36) + "~" + string(r.Peer)
}

// parsePlace returns what place put into a cursor of a list by time.
func parsePlace(cursor string) (at bson.DateTime, peer string, err error) {
	text, peer, ok := strings.Cut(cursor, "~")
	ms, err := strconv.ParseInt(text, 36, 64)
	if !ok || err != nil {
		return 0, "", fault.InvalidField("cursor", "one that an earlier answer gave")
	}
	return bson.DateTime(ms), peer, nil
}

// FriendIDs implements store.Relations. The indexes have all that is asked for.
func (s Relations) FriendIDs(ctx context.Context, u chat.UserID) (ids []chat.UserID, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	for side := range otherSide {
		only := append(fields(side+".u", side+".p"), bson.E{Key: "_id", Value: 0})
		l, err := listBy(store.Friends, u, side, "", 0)
		if err != nil {
			return nil, err
		}
		ds, err := find[pairDoc](ctx, s.coll(), l.of, options.Find().SetProjection(only))
		if err != nil {
			return nil, fmt.Errorf("list friends of %s: %w", u, explain(ctx, err))
		}
		for i := range ds {
			ids = append(ids, chat.UserID(ds[i].side(u).Peer))
		}
	}
	return ids, nil
}

// Pending implements store.Relations.
func (s Relations) Pending(ctx context.Context, after string, limit int) (rs []store.Relation, err error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	for side := range otherSide {
		pending := side + ".pe"
		ds, err := find[pairDoc](ctx, s.coll(), where(pending, above(after)), options.Find().SetSort(fields(pending)).SetLimit(int64(limit)))
		if err != nil {
			return nil, fmt.Errorf("list pending relations: %w", explain(ctx, err))
		}
		for i := range ds {
			d := map[string]*sideDoc{"a": &ds[i].A, "b": &ds[i].B}[side]
			rs = append(rs, d.relation())
		}
	}
	slices.SortFunc(rs, func(a, b store.Relation) int { return cmp.Compare(a.Pending, b.Pending) })
	return rs[:min(limit, len(rs))], nil
}
