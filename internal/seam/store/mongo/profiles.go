package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Profiles implements store.Profiles. Owner: user.
type Profiles struct{ db *DB }

var _ store.Profiles = Profiles{}

// Profiles returns the part of db that holds users.
func (db *DB) Profiles() Profiles { return Profiles{db} }

type profileDoc struct {
	Rev         revision `bson:",inline"` // its key is the user's id
	Username    string   `bson:"un"`
	Nickname    string   `bson:"ni"`
	NicknameKey string   `bson:"nk"` // in lower case: what ByNickname looks for, as it needs no collation
	Avatar      string   `bson:"av"`
	Bio         string   `bson:"bi"`
	WhoMayFind  int32    `bson:"wf"`
	WhoMayAdd   int32    `bson:"wa"`
	WhoMayWrite int32    `bson:"ww"`
	LastSeen    int32    `bson:"ls"`
	PushPreview int32    `bson:"pp"`
	Later       later    `bson:",inline"`
}

func (d *profileDoc) rev() *revision { return &d.Rev }

func (d *profileDoc) set(p store.Profile) {
	d.Username, d.Nickname, d.NicknameKey, d.Avatar, d.Bio = p.Username, p.Nickname, strings.ToLower(p.Nickname), p.Avatar, p.Bio
	d.WhoMayFind, d.WhoMayAdd, d.WhoMayWrite, d.LastSeen, d.PushPreview = p.WhoMayFind, p.WhoMayAdd, p.WhoMayWrite, p.LastSeen, p.PushPreview
}

func (d *profileDoc) profile() store.Profile {
	return store.Profile{
		UserID: chat.UserID(d.Rev.Key), Username: d.Username, Nickname: d.Nickname, Avatar: d.Avatar, Bio: d.Bio,
		WhoMayFind: d.WhoMayFind, WhoMayAdd: d.WhoMayAdd, WhoMayWrite: d.WhoMayWrite, LastSeen: d.LastSeen,
		PushPreview: d.PushPreview,
	}
}

func (s Profiles) coll() *mongo.Collection { return s.db.data.Collection(profiles) }

// Create implements store.Profiles.
func (s Profiles) Create(ctx context.Context, p store.Profile) error {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	d := profileDoc{Rev: revision{Key: string(p.UserID), V: 1}}
	d.set(p)
	_, err := s.coll().InsertOne(ctx, d)
	if mongo.IsDuplicateKeyError(err) {
		_, err = one[profileDoc](ctx, s.coll(), string(p.UserID))
		if errors.Is(err, mongo.ErrNoDocuments) {
			err = store.ErrExists // so the username is another's
		}
	}
	if err != nil {
		return fmt.Errorf("create profile %s: %w", p.UserID, explain(ctx, err))
	}
	return nil
}

// Get implements store.Profiles.
func (s Profiles) Get(ctx context.Context, ids []chat.UserID) (ps []store.Profile, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	err = byKeys(ctx, s.coll(), texts(ids), func(d profileDoc) error {
		ps = append(ps, d.profile())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read %d profiles: %w", len(ids), explain(ctx, err))
	}
	return ps, nil
}

// ByUsername implements store.Profiles.
func (s Profiles) ByUsername(ctx context.Context, username string) (store.Profile, error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	var d profileDoc
	if err := s.coll().FindOne(ctx, where("un", username)).Decode(&d); err != nil {
		return store.Profile{}, fmt.Errorf("look up profile by username: %w", explain(ctx, err))
	}
	return d.profile(), nil
}

// What WhoMayFind says, of userv1.Audience; what is below everyone, unspecified, means the same.
const (
	findEveryone = 1
	findFriends  = 2
)

// ByNickname implements store.Profiles.
func (s Profiles) ByNickname(ctx context.Context, nickname string, friends []chat.UserID, after chat.UserID, limit int) ([]store.Profile, error) {
	if limit <= 0 {
		return nil, nil
	}
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	filter := bson.D{
		{Key: "nk", Value: strings.ToLower(nickname)},
		{Key: "_id", Value: above(string(after))},
		{Key: "$or", Value: bson.A{
			where("wf", bson.D{{Key: "$lte", Value: findEveryone}}),
			append(where("wf", findFriends), bson.E{Key: "_id", Value: in(texts(friends))}),
		}},
	}
	ds, err := find[profileDoc](ctx, s.coll(), filter, options.Find().SetSort(fields("_id")).SetLimit(int64(limit)))
	if err != nil {
		return nil, fmt.Errorf("look up profiles by nickname: %w", explain(ctx, err))
	}
	ps := make([]store.Profile, 0, len(ds))
	for i := range ds {
		ps = append(ps, ds[i].profile())
	}
	return ps, nil
}

// Update implements store.Profiles. change runs again whenever another process was faster.
func (s Profiles) Update(ctx context.Context, id chat.UserID, change func(*store.Profile) error) (p store.Profile, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	var refused error
	err = edit(ctx, s.coll(), string(id), false, func(d *profileDoc) error {
		p = d.profile()
		if refused = change(&p); refused != nil {
			return refused
		}
		p.UserID, p.Username = id, d.Username
		d.set(p)
		return nil
	})
	switch {
	case refused != nil:
		return store.Profile{}, refused
	case err != nil:
		return store.Profile{}, fmt.Errorf("update profile %s: %w", id, err)
	}
	return p, nil
}
