package mongo

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Members implements store.Members. Owner: group.
type Members struct{ db *DB }

var _ store.Members = Members{}

// Members returns the part of db that holds memberships.
func (db *DB) Members() Members { return Members{db} }

type (
	memberDoc struct {
		Key        string        `bson:"_id,omitempty"` // group/user
		Group      string        `bson:"g"`
		User       string        `bson:"u"`
		Version    int64         `bson:"v"` // of the group, with the change that wrote this
		Role       int32         `bson:"r"`
		MutedUntil bson.DateTime `bson:"mu"`
		Nickname   string        `bson:"ni"`
		JoinedAt   bson.DateTime `bson:"j"`
		Spans      []spanDoc     `bson:"sp"`
		ChangedAt  bson.DateTime `bson:"t"`
		Present    bool          `bson:"p"`
	}
	spanDoc struct {
		From        int64         `bson:"f"`
		To          int64         `bson:"t"`
		FromOrdinal int64         `bson:"fo"`
		ToOrdinal   int64         `bson:"to"`
		ToAt        bson.DateTime `bson:"ta"`
	}
)

func memberKey(g chat.GroupID, u chat.UserID) string { return string(g) + "/" + string(u) }

func memberFields(m store.Member, version int64) memberDoc {
	d := memberDoc{
		Group: string(m.GroupID), User: string(m.UserID), Version: version, Role: m.Role, MutedUntil: millis(m.MutedUntil),
		Nickname: m.Nickname, JoinedAt: millis(m.JoinedAt), ChangedAt: millis(m.ChangedAt), Present: m.Present(),
		Spans: make([]spanDoc, len(m.Spans)),
	}
	for i, s := range m.Spans {
		d.Spans[i] = spanDoc{count(s.From), count(s.To), count(s.FromOrdinal), count(s.ToOrdinal), millis(s.ToAt)}
	}
	return d
}

func (d memberDoc) member() store.Member {
	m := store.Member{
		GroupID: chat.GroupID(d.Group), UserID: chat.UserID(d.User), Role: d.Role, MutedUntil: timeOf(d.MutedUntil),
		Nickname: d.Nickname, JoinedAt: timeOf(d.JoinedAt), ChangedAt: timeOf(d.ChangedAt), Spans: make([]store.Span, len(d.Spans)),
	}
	for i, s := range d.Spans {
		m.Spans[i] = store.Span{
			From: uint64(s.From), To: uint64(s.To), FromOrdinal: uint64(s.FromOrdinal), ToOrdinal: uint64(s.ToOrdinal),
			ToAt: timeOf(s.ToAt),
		}
	}
	return m
}

// putMembers stores members as the change to a version leaves them, unless a later version has written them.
func (db *DB) putMembers(ctx context.Context, ms []store.Member, version int64) error {
	steps := make([]step, len(ms))
	for i, m := range ms {
		steps[i] = step{memberKey(m.GroupID, m.UserID), version, memberFields(m, version)}
	}
	return forward(ctx, db.data.Collection(members), "v", steps)
}

// strict is for what is cached of a version of a group, or must hold all that the log has: a primary that was replaced
// without knowing it yet does not answer.
func (s Members) strict() *mongo.Collection { return s.db.strict.Collection(members) }

// list reads the members that a query finds.
func (s Members) list(ctx context.Context, from *mongo.Database, filter bson.D, opts ...options.Lister[options.FindOptions]) (ms []store.Member, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	ds, err := find[memberDoc](ctx, from.Collection(members), filter, opts...)
	for _, d := range ds {
		ms = append(ms, d.member())
	}
	return ms, explain(ctx, err)
}

// Get implements store.Members.
func (s Members) Get(ctx context.Context, g chat.GroupID, users []chat.UserID) (ms []store.Member, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	ids := make([]string, len(users))
	for i, u := range users {
		ids[i] = memberKey(g, u)
	}
	err = byKeys(ctx, s.strict(), ids, func(d memberDoc) error {
		ms = append(ms, d.member())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read members of group %s: %w", g, explain(ctx, err))
	}
	return ms, nil
}

func present(g chat.GroupID) bson.D {
	return bson.D{{Key: "g", Value: string(g)}, {Key: "p", Value: true}}
}

// Present implements store.Members.
func (s Members) Present(ctx context.Context, g chat.GroupID, offset, limit int) ([]store.Member, error) {
	if limit <= 0 {
		return nil, nil
	}
	o := options.Find().SetSort(fields("-r", "j", "u")).SetSkip(int64(max(offset, 0))).SetLimit(int64(limit))
	ms, err := s.list(ctx, s.db.data, present(g), o)
	if err != nil {
		return nil, fmt.Errorf("read members of group %s: %w", g, err)
	}
	return ms, nil
}

// PresentIDs implements store.Members. The index has all that is asked for.
func (s Members) PresentIDs(ctx context.Context, g chat.GroupID) ([]chat.UserID, error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	only := bson.D{{Key: "u", Value: 1}, {Key: "_id", Value: 0}}
	ds, err := find[memberDoc](ctx, s.strict(), present(g), options.Find().SetProjection(only).SetBatchSize(10_000))
	if err != nil {
		return nil, fmt.Errorf("list members of group %s: %w", g, explain(ctx, err))
	}
	ids := make([]chat.UserID, len(ds))
	for i, d := range ds {
		ids[i] = chat.UserID(d.User)
	}
	return ids, nil
}

// Ever implements store.Members.
func (s Members) Ever(ctx context.Context, g chat.GroupID) ([]store.Member, error) {
	ms, err := s.list(ctx, s.db.strict, where("g", string(g)))
	if err != nil {
		return nil, fmt.Errorf("read members of group %s: %w", g, err)
	}
	return ms, nil
}

// OfUser implements store.Members.
func (s Members) OfUser(ctx context.Context, u chat.UserID) ([]store.Member, error) {
	ms, err := s.list(ctx, s.db.strict, where("u", string(u)))
	if err != nil {
		return nil, fmt.Errorf("list memberships of %s: %w", u, err)
	}
	return ms, nil
}
