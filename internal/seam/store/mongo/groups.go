package mongo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Groups implements store.Groups. Owner: group. A group's pending change, with the users that it names, lies in the
// group's document; members are documents of their own, written before the group that makes them count.
type Groups struct{ db *DB }

var _ store.Groups = Groups{}

// Groups returns the part of db that holds groups.
func (db *DB) Groups() Groups { return Groups{db} }

type (
	groupDoc struct {
		Key    string      `bson:"_id"`
		Fields groupFields `bson:",inline"`
		Begun  changeDoc   `bson:",inline"`
	}
	groupFields struct {
		Version           int64         `bson:"v"`
		Name              string        `bson:"na"`
		Avatar            string        `bson:"av"`
		Description       string        `bson:"de"`
		Announcement      string        `bson:"an"`
		Owner             string        `bson:"ow"`
		JoinMode          int32         `bson:"jm"`
		HistoryVisibility int32         `bson:"hv"`
		MuteAll           bool          `bson:"mu"`
		Dissolved         bool          `bson:"di"`
		CreatedAt         bson.DateTime `bson:"t"`
		MemberCount       int           `bson:"mc"`
		NoticeSeq         int64         `bson:"ns"`
	}
	// changeDoc is a change that is pending; if none is, all of it is absent.
	changeDoc struct {
		Data  []byte        `bson:"pe"`
		At    bson.DateTime `bson:"pa"`
		Users []string      `bson:"pu"`
	}
)

func fieldsOf(g store.Group) groupFields {
	return groupFields{
		Version: count(g.Version), Name: g.Name, Avatar: g.Avatar, Description: g.Description, Announcement: g.Announcement,
		Owner: string(g.OwnerID), JoinMode: g.JoinMode, HistoryVisibility: g.HistoryVisibility, MuteAll: g.MuteAll,
		Dissolved: g.Dissolved, CreatedAt: millis(g.CreatedAt), MemberCount: g.MemberCount, NoticeSeq: count(g.NoticeSeq),
	}
}

func changeOf(c store.Change) changeDoc {
	return changeDoc{Data: c.Data, At: millis(c.At), Users: texts(c.Users)}
}

func (d groupDoc) group() store.Group {
	f := d.Fields
	return store.Group{
		ID: chat.GroupID(d.Key), Name: f.Name, Avatar: f.Avatar, Description: f.Description, Announcement: f.Announcement,
		OwnerID: chat.UserID(f.Owner), JoinMode: f.JoinMode, HistoryVisibility: f.HistoryVisibility, MuteAll: f.MuteAll,
		Dissolved: f.Dissolved, CreatedAt: timeOf(f.CreatedAt), MemberCount: f.MemberCount, NoticeSeq: uint64(f.NoticeSeq),
		Version: uint64(f.Version), Pending: d.Begun.Data, PendingAt: timeOf(d.Begun.At),
	}
}

func (s Groups) coll() *mongo.Collection { return s.db.data.Collection(groups) }

// Create implements store.Groups.
func (s Groups) Create(ctx context.Context, g store.Group, c store.Change) error {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	_, err := s.coll().InsertOne(ctx, groupDoc{string(g.ID), fieldsOf(g), changeOf(c)})
	if mongo.IsDuplicateKeyError(err) {
		err = store.ErrExists
	}
	if err != nil {
		return fmt.Errorf("create group %s: %w", g.ID, explain(ctx, err))
	}
	return nil
}

// Get implements store.Groups. The read is linearizable, as permissions are cached by it.
func (s Groups) Get(ctx context.Context, ids []chat.GroupID) (gs []store.Group, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	err = byKeys(ctx, s.db.strict.Collection(groups), texts(ids), func(d groupDoc) error {
		gs = append(gs, d.group())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d groups: %w", len(ids), explain(ctx, err))
	}
	return gs, nil
}

// at selects a group at a version.
func at(id chat.GroupID, version uint64) bson.D {
	return append(byKey(string(id)), bson.E{Key: "v", Value: count(version)})
}

// Begin implements store.Groups.
func (s Groups) Begin(ctx context.Context, id chat.GroupID, version uint64, c store.Change) error {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	idle := append(at(id, version), bson.E{Key: "pa", Value: bson.D{{Key: "$exists", Value: false}}})
	res, err := s.coll().UpdateOne(ctx, idle, set(changeOf(c)))
	if err == nil && res.MatchedCount == 0 {
		err = store.ErrConflict
	}
	if err != nil {
		return fmt.Errorf("begin change of group %s: %w", id, explain(ctx, err))
	}
	return nil
}

// Commit implements store.Groups. A version has one change, so that whoever completes it writes the same members; they
// carry the version that the change leads to, and one who comes late writes over none of a later version.
func (s Groups) Commit(ctx context.Context, g store.Group, ms []store.Member) error {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	if err := s.commit(ctx, g, ms); err != nil {
		return fmt.Errorf("commit change of group %s: %w", g.ID, explain(ctx, err))
	}
	return nil
}

func (s Groups) commit(ctx context.Context, g store.Group, ms []store.Member) error {
	if len(ms) > 0 {
		switch d, err := one[groupDoc](ctx, s.coll(), string(g.ID)); {
		case errors.Is(err, mongo.ErrNoDocuments) || err == nil && d.Fields.Version != count(g.Version):
			return store.ErrConflict // spares the members; what fences is the update below
		case err != nil:
			return err
		}
		if err := s.db.putMembers(ctx, ms, count(g.Version+1)); err != nil {
			return err
		}
	}
	next := fieldsOf(g)
	next.Version++
	none := bson.D{{Key: "pe", Value: ""}, {Key: "pa", Value: ""}, {Key: "pu", Value: ""}}
	res, err := s.coll().UpdateOne(ctx, at(g.ID, g.Version), append(set(next), bson.E{Key: "$unset", Value: none}))
	if err == nil && res.MatchedCount == 0 {
		err = store.ErrConflict
	}
	return err
}

// Unfinished implements store.Groups.
func (s Groups) Unfinished(ctx context.Context, after store.Begun, limit int) (bs []store.Begun, err error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	from := millis(after.At)
	filter := bson.D{
		{Key: "pa", Value: bson.D{{Key: "$exists", Value: true}, {Key: "$gte", Value: from}}},
		{Key: "$or", Value: bson.A{where("pa", above(from)), where("_id", above(string(after.GroupID)))}},
	}
	o := options.Find().SetSort(fields("pa", "_id")).SetLimit(int64(limit)).SetProjection(fields("pa"))
	ds, err := find[groupDoc](ctx, s.coll(), filter, o)
	if err != nil {
		return nil, fmt.Errorf("list unfinished groups: %w", explain(ctx, err))
	}
	for _, d := range ds {
		bs = append(bs, store.Begun{At: timeOf(d.Begun.At), GroupID: chat.GroupID(d.Key)})
	}
	return bs, nil
}

// UnfinishedOf implements store.Groups. Its reads are linearizable, so that a primary that has been replaced without
// knowing it yet does not answer. Changes that name the user are asked for before memberships: one that is completed in
// between was found by the former.
func (s Groups) UnfinishedOf(ctx context.Context, u chat.UserID) ([]chat.GroupID, error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	ids, err := s.unfinishedOf(ctx, u)
	if err != nil {
		return nil, fmt.Errorf("list unfinished groups of %s: %w", u, explain(ctx, err))
	}
	return ids, nil
}

func (s Groups) unfinishedOf(ctx context.Context, u chat.UserID) (ids []chat.GroupID, err error) {
	coll, key := s.db.strict.Collection(groups), options.Find().SetProjection(fields("_id"))
	named, err := find[keyDoc](ctx, coll, bson.D{{Key: "pa", Value: exists}, {Key: "pu", Value: string(u)}}, key)
	if err != nil {
		return nil, err
	}
	for _, d := range named {
		ids = append(ids, chat.GroupID(d.Key))
	}
	rows, err := find[keyDoc](ctx, s.db.strict.Collection(members), where("u", string(u)), key)
	if err != nil {
		return nil, err
	}
	of := make([]string, len(rows))
	for i, d := range rows {
		of[i], _, _ = strings.Cut(d.Key, "/")
	}
	for part := range slices.Chunk(of, keysSize) {
		pending, err := find[keyDoc](ctx, coll, bson.D{{Key: "_id", Value: in(part)}, {Key: "pa", Value: exists}}, key)
		if err != nil {
			return nil, err
		}
		for _, d := range pending {
			if id := chat.GroupID(d.Key); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}
