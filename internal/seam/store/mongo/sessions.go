package mongo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Sessions implements store.Sessions. Owner: auth. All sessions of a user are one document, so that what begins and what
// ends by it, with their events, is one write.
type Sessions struct{ db *DB }

var _ store.Sessions = Sessions{}

// Sessions returns the part of db that says who is logged in.
func (db *DB) Sessions() Sessions { return Sessions{db} }

type (
	sessionsDoc struct {
		Rev      revision     `bson:",inline"` // its key is the user's id
		Sessions []sessionDoc `bson:"s,omitempty"`
		Wait     waiting      `bson:",inline"`
		Later    later        `bson:",inline"`
	}
	sessionDoc struct {
		ID          string        `bson:"i"`
		Device      string        `bson:"d"`
		Platform    int32         `bson:"p"`
		Generation  int64         `bson:"g"`
		CreatedAt   bson.DateTime `bson:"c"`
		RefreshedAt bson.DateTime `bson:"r"`
		ExpiresAt   bson.DateTime `bson:"e"`
		Later       later         `bson:",inline"`
	}
)

func (d *sessionsDoc) rev() *revision { return &d.Rev }

func (d sessionDoc) open() bool { return d.ExpiresAt > millis(time.Now()) }

func (d sessionDoc) session(user string) store.Session {
	return store.Session{
		ID: chat.SessionID(d.ID), UserID: chat.UserID(user), DeviceID: chat.DeviceID(d.Device), Platform: d.Platform,
		Generation: uint64(d.Generation), CreatedAt: timeOf(d.CreatedAt), RefreshedAt: timeOf(d.RefreshedAt),
		ExpiresAt: timeOf(d.ExpiresAt),
	}
}

// take removes the sessions that pick picks and returns those of them that were open.
func (d *sessionsDoc) take(pick func(sessionDoc) bool) (taken []store.Session) {
	d.Sessions = slices.DeleteFunc(d.Sessions, func(s sessionDoc) bool {
		if !pick(s) {
			return false
		}
		if s.open() {
			taken = append(taken, s.session(d.Rev.Key))
		}
		return true
	})
	return taken
}

func (s Sessions) coll() *mongo.Collection { return s.db.data.Collection(sessions) }

// Start implements store.Sessions. It also forgets the user's lapsed sessions, so that they do not pile up. That no other
// user has a session with that id is looked up before and not fenced: ids are random.
func (s Sessions) Start(ctx context.Context, se store.Session, e store.Event) (ended []store.Session, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	if ended, err = s.start(ctx, se, e); err != nil {
		return nil, fmt.Errorf("start session %s: %w", se.ID, explain(ctx, err))
	}
	return ended, nil
}

func (s Sessions) start(ctx context.Context, se store.Session, e store.Event) (ended []store.Session, err error) {
	if _, err := s.byID(ctx, se.ID); !errors.Is(err, mongo.ErrNoDocuments) {
		if err == nil {
			err = store.ErrExists
		}
		return nil, err
	}
	began := sessionDoc{
		ID: string(se.ID), Device: string(se.DeviceID), Platform: se.Platform, Generation: count(se.Generation),
		CreatedAt: millis(se.CreatedAt), RefreshedAt: millis(se.RefreshedAt), ExpiresAt: millis(se.ExpiresAt),
	}
	err = edit(ctx, s.coll(), string(se.UserID), true, func(d *sessionsDoc) error {
		if slices.ContainsFunc(d.Sessions, func(o sessionDoc) bool { return o.ID == began.ID }) {
			return store.ErrExists
		}
		d.take(func(o sessionDoc) bool { return !o.open() })
		d.Rev.Key = string(se.UserID)
		ended = d.take(func(o sessionDoc) bool { return o.Device == began.Device })
		d.Sessions = append(d.Sessions, began)
		d.Wait.add(s.db, e)
		return nil
	})
	return ended, err
}

// byID reads the document of the user who has a session.
func (s Sessions) byID(ctx context.Context, id chat.SessionID) (d sessionsDoc, err error) {
	err = s.coll().FindOne(ctx, where("s.i", string(id))).Decode(&d)
	return d, err
}

// Get implements store.Sessions.
func (s Sessions) Get(ctx context.Context, ids []chat.SessionID) (all []store.Session, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	for part := range slices.Chunk(ids, keysSize) {
		ds, err := find[sessionsDoc](ctx, s.coll(), where("s.i", in(texts(part))))
		if err != nil {
			return nil, fmt.Errorf("read %d sessions: %w", len(ids), explain(ctx, err))
		}
		for _, d := range ds {
			for _, o := range d.Sessions {
				if o.open() && slices.Contains(part, chat.SessionID(o.ID)) {
					all = append(all, o.session(d.Rev.Key))
				}
			}
		}
	}
	return all, nil
}

// Rotate implements store.Sessions.
func (s Sessions) Rotate(ctx context.Context, id chat.SessionID, from uint64, at, expires time.Time) (se store.Session, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	if se, err = s.rotate(ctx, id, from, at, expires); err != nil {
		return store.Session{}, fmt.Errorf("rotate session %s: %w", id, explain(ctx, err))
	}
	return se, nil
}

func (s Sessions) rotate(ctx context.Context, id chat.SessionID, from uint64, at, expires time.Time) (se store.Session, err error) {
	of, err := s.byID(ctx, id)
	if err != nil {
		return se, err
	}
	err = edit(ctx, s.coll(), of.Rev.Key, false, func(d *sessionsDoc) error {
		n := slices.IndexFunc(d.Sessions, func(o sessionDoc) bool { return o.ID == string(id) && o.open() })
		if n < 0 {
			return store.ErrNotFound
		}
		o := &d.Sessions[n]
		if o.Generation != count(from) {
			return store.ErrConflict
		}
		o.Generation, o.RefreshedAt, o.ExpiresAt = o.Generation+1, millis(at), millis(expires)
		se = o.session(of.Rev.Key)
		return nil
	})
	return se, err
}

// End implements store.Sessions.
func (s Sessions) End(ctx context.Context, u chat.UserID, ids []chat.SessionID, events []store.Event) (ended []store.Session, err error) {
	if len(events) != len(ids) {
		return nil, fmt.Errorf("end sessions of %s: %d events for %d sessions", u, len(events), len(ids))
	}
	if len(ids) == 0 {
		return nil, nil
	}
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	err = edit(ctx, s.coll(), string(u), false, func(d *sessionsDoc) error {
		ended = nil
		before := len(d.Sessions)
		for i, id := range ids {
			taken := d.take(func(o sessionDoc) bool { return o.ID == string(id) })
			if len(taken) > 0 {
				ended = append(ended, taken...)
				d.Wait.add(s.db, events[i])
			}
		}
		if len(d.Sessions) == before {
			return errSame
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSame) && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("end sessions of %s: %w", u, err)
	}
	return ended, nil
}

// OfUser implements store.Sessions.
func (s Sessions) OfUser(ctx context.Context, u chat.UserID) (all []store.Session, err error) {
	ctx, cancel := s.db.bound(ctx)
	defer cancel()
	d, err := one[sessionsDoc](ctx, s.coll(), string(u))
	if err != nil && !errors.Is(err, mongo.ErrNoDocuments) {
		return nil, fmt.Errorf("list sessions of %s: %w", u, explain(ctx, err))
	}
	for _, o := range d.Sessions {
		if o.open() {
			all = append(all, o.session(d.Rev.Key))
		}
	}
	slices.SortFunc(all, func(a, b store.Session) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.ID, a.ID))
	})
	return all, nil
}
