package mongo_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
	"github.com/oceanchat/oceanchat/internal/seam/store/storetest"
)

// TestTwins does the same random things to the embedded and to the cluster side and compares every answer.
func TestTwins(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{1, 2, 3, rand.Uint64()} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			db, err := sqlite.Open(filepath.Join(t.TempDir(), "ocean.db"))
			must(t, err)
			t.Cleanup(func() { must(t, db.Close()) })
			embedded := storetest.Stores{
				Accounts: db.Accounts(), Sessions: db.Sessions(), Outbox: db.Outbox(), Keys: db.Keys(), PushTokens: db.PushTokens(),
				Profiles: db.Profiles(), Relations: db.Relations(), Groups: db.Groups(), Members: db.Members(),
				Log: db.Log(), Cursors: db.Cursors(), Reader: db.Reader(),
			}
			cluster := stores(openDB(t, fresh(t)))
			r := &things{rand.New(rand.NewPCG(seed, 0)), nil, 0}
			for n := range 400 {
				do := r.next()
				want, got := do.run(t.Context(), embedded), do.run(t.Context(), cluster)
				if d := gocmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
					t.Fatalf("step %d, %s: (-embedded +cluster)\n%s", n, do.name, d)
				}
			}
		})
	}
}

// thing is something to do to a database; run returns all that its caller sees.
type thing struct {
	name string
	run  func(ctx context.Context, s storetest.Stores) any
}

// things thinks of what to do next.
type things struct {
	*rand.Rand
	events   []string
	position uint64 // of the mark
}

func (r *things) user() chat.UserID       { return chat.UserID(fmt.Sprint("u", r.IntN(4))) }
func (r *things) device() chat.DeviceID   { return chat.DeviceID(fmt.Sprint("d", r.IntN(3))) }
func (r *things) session() chat.SessionID { return chat.SessionID(fmt.Sprint("s", r.IntN(9))) }
func (r *things) group() chat.GroupID     { return chat.GroupID(fmt.Sprint("g", r.IntN(3))) }
func (r *things) at() time.Time           { return time.UnixMilli(int64(r.IntN(5) + 1)).UTC() }
func (r *things) conv() chat.ConversationID {
	return []chat.ConversationID{"d~u0~u1", "d~u1~u2", "g~g0", "i~u0"}[r.IntN(4)]
}

// reader is somebody who may have a cursor in c.
func (r *things) reader(c chat.ConversationID) chat.UserID {
	if a, b := c.Users(); a != "" {
		return []chat.UserID{a, b}[r.IntN(2)]
	}
	return r.user()
}

func (r *things) event() store.Event {
	id := fmt.Sprint("e", len(r.events))
	r.events = append(r.events, id)
	return store.Event{ID: id, Subject: "s", Data: []byte(id)}
}

// seen is what a caller sees: values, in order where the seam gives one, and the error it tells apart.
func seen(err error, values ...any) any {
	for _, known := range []error{store.ErrNotFound, store.ErrExists, store.ErrConflict} {
		if errors.Is(err, known) {
			return []any{known.Error()}
		}
	}
	return append(values, fmt.Sprint(err))
}

func sorted[T any](all []T) []T {
	slices.SortFunc(all, func(a, b T) int { return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return all
}

func (r *things) next() thing {
	kinds := []func() thing{r.accounts, r.sessions, r.tokens, r.profiles, r.relations, r.lists, r.groups, r.log, r.log, r.cursors, r.reads}
	return kinds[r.IntN(len(kinds))]()
}

func (r *things) accounts() thing {
	u, e, old, hash := r.user(), r.event(), fmt.Sprint(r.IntN(3)), fmt.Sprint(r.IntN(3))
	if r.IntN(3) == 0 {
		done := []string{r.events[r.IntN(len(r.events))], "unknown"}
		return thing{"outbox", func(ctx context.Context, s storetest.Stores) any {
			err := s.Outbox.Done(ctx, done)
			es, err2 := s.Outbox.Pending(ctx, 5)
			return seen(errors.Join(err, err2), es)
		}}
	}
	a := store.Account{UserID: u, Username: fmt.Sprint("n", r.IntN(4)), PasswordHash: hash, CreatedAt: r.at()}
	return thing{"account", func(ctx context.Context, s storetest.Stores) any {
		made := s.Accounts.Create(ctx, a, e)
		set := s.Accounts.SetPassword(ctx, u, old, hash, store.Event{ID: e.ID + "p"})
		got, err := s.Accounts.ByUsername(ctx, a.Username)
		return []any{seen(made), seen(set), seen(err, got)}
	}}
}

func (r *things) sessions() thing {
	lapse := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	se := store.Session{ID: r.session(), UserID: r.user(), DeviceID: r.device(), CreatedAt: r.at(), ExpiresAt: lapse}
	if r.IntN(4) == 0 {
		se.ExpiresAt = r.at()
	}
	id, u, from, e, e2 := r.session(), r.user(), r.Uint64N(2), r.event(), r.event()
	return thing{"session", func(ctx context.Context, s storetest.Stores) any {
		ended, err := s.Sessions.Start(ctx, se, e)
		turned, err2 := s.Sessions.Rotate(ctx, id, from, se.CreatedAt, lapse)
		gone, err3 := s.Sessions.End(ctx, u, []chat.SessionID{se.ID, id}, []store.Event{e2, {}})
		left, err4 := s.Sessions.OfUser(ctx, se.UserID)
		all, err5 := s.Sessions.Get(ctx, []chat.SessionID{"s1", "s2", "s3", se.ID + "x"})
		return []any{seen(err, ended), seen(err2, turned), seen(err3, gone), seen(err4, left), seen(err5, sorted(all))}
	}}
}

func (r *things) tokens() thing {
	t := store.PushToken{UserID: r.user(), DeviceID: r.device(), Provider: 1, Token: fmt.Sprint(r.IntN(4)), RegisteredAt: r.at()}
	t.SessionID = []chat.SessionID{"", "s1", "s2"}[r.IntN(3)]
	u, d, before, mine := r.user(), r.device(), r.at(), t.SessionID
	return thing{"token", func(ctx context.Context, s storetest.Stores) any {
		err := s.PushTokens.Put(ctx, t)
		err2 := errors.Join(s.PushTokens.Delete(ctx, u, d, before), s.PushTokens.EndSession(ctx, t.UserID, d, mine, before))
		all, err3 := s.PushTokens.OfUsers(ctx, []chat.UserID{"u0", "u1", "u2", "u3"})
		return seen(errors.Join(err, err2, err3), sorted(all))
	}}
}

func (r *things) profiles() thing {
	p := store.Profile{UserID: r.user(), Username: fmt.Sprint("n", r.IntN(4)), Nickname: []string{"Ab", "aB", "c"}[r.IntN(3)], WhoMayFind: r.Int32N(4)}
	u, after, limit := r.user(), r.user(), r.IntN(4)
	return thing{"profile", func(ctx context.Context, s storetest.Stores) any {
		made := s.Profiles.Create(ctx, p)
		now, err := s.Profiles.Update(ctx, u, func(q *store.Profile) error { q.Nickname, q.WhoMayFind = p.Nickname, p.WhoMayFind; return nil })
		found, err2 := s.Profiles.ByNickname(ctx, "AB", []chat.UserID{u}, after, limit)
		return []any{seen(made), seen(err, now), seen(err2, found)}
	}}
}

func (r *things) relations() thing {
	a, b, at, bits := r.user(), r.user(), r.at(), r.IntN(64)
	if a == b {
		return r.lists()
	}
	pending := ""
	if bits&32 != 0 {
		pending = fmt.Sprint("p", len(r.events), a, b)
	}
	return thing{"relation", func(ctx context.Context, s storetest.Stores) any {
		ab, ba, err := s.Relations.Update(ctx, a, b, func(ab, ba *store.Relation) error {
			ab.Friend, ba.Friend, ab.FriendSince = bits&1 != 0, bits&1 != 0, at
			if ab.Blocked = bits&2 != 0; ab.Blocked {
				ab.BlockedAt = at
			}
			if ab.RequestedAt = (time.Time{}); bits&4 != 0 {
				ab.RequestedAt, ab.RequestMessage = at, "hello"
			}
			ab.Pending = pending
			return nil
		})
		return seen(err, ab, ba)
	}}
}

func (r *things) lists() thing {
	u, kind, limit, after := r.user(), store.RelationKind(r.IntN(4)), 1+r.IntN(3), fmt.Sprint("p", r.IntN(300))
	return thing{"lists", func(ctx context.Context, s storetest.Stores) any {
		rs, next, err := s.Relations.List(ctx, u, kind, "", limit)
		var more []store.Relation
		if next != "" {
			var err2 error
			more, _, err2 = s.Relations.List(ctx, u, kind, next, limit)
			err = errors.Join(err, err2)
		}
		ids, err2 := s.Relations.FriendIDs(ctx, u)
		ps, err3 := s.Relations.Pending(ctx, after, limit)
		return seen(errors.Join(err, err2, err3), rs, next, more, sorted(ids), ps)
	}}
}

func (r *things) groups() thing {
	id, version, at, u, limit := r.group(), r.Uint64N(4), r.at(), r.user(), 1+r.IntN(3)
	c := store.Change{Data: []byte("x"), At: at, Users: []chat.UserID{r.user()}}
	g := store.Group{ID: id, Name: fmt.Sprint(r.IntN(9)), Version: version, NoticeSeq: r.Uint64N(9)}
	m := store.Member{GroupID: id, UserID: u, Role: r.Int32N(3), JoinedAt: at, Spans: []store.Span{{From: 1, To: r.Uint64N(2)}}}
	begin := r.IntN(2) == 0
	return thing{"group", func(ctx context.Context, s storetest.Stores) any {
		made := s.Groups.Create(ctx, store.Group{ID: id}, c)
		var begun, done error
		if begin {
			begun = s.Groups.Begin(ctx, id, version, c)
		} else {
			done = s.Groups.Commit(ctx, g, []store.Member{m})
		}
		gs, err := s.Groups.Get(ctx, []chat.GroupID{"g0", "g1", "g2"})
		bs, err2 := s.Groups.Unfinished(ctx, store.Begun{At: at, GroupID: "g1"}, limit)
		of, err3 := s.Groups.UnfinishedOf(ctx, u)
		ms, err4 := s.Members.Present(ctx, id, 1, limit)
		mine, err5 := s.Members.OfUser(ctx, u)
		return []any{seen(made), seen(begun), seen(done), seen(errors.Join(err, err2, err3, err4, err5), sorted(gs), bs, sorted(of), ms, sorted(mine))}
	}}
}

func (r *things) log() thing {
	b := store.Batch{From: store.Mark{Incarnation: "a", Position: r.position}, To: store.Mark{Incarnation: "a", Position: r.position + 1}}
	if r.position == 0 {
		b.From = store.Mark{}
	}
	if r.IntN(5) > 0 {
		r.position++
	} else { // one that is lost
		b.From.Position += 9
	}
	c, first := r.conv(), r.Uint64N(30)+1
	for seq := first; seq < first+3; seq++ {
		b.Entries = append(b.Entries, store.Entry{ConversationID: c, Seq: seq, Ordinal: seq, SentAt: time.UnixMilli(int64(seq)).UTC(), Dedupe: seq % 4, Data: []byte{byte(seq)}})
	}
	b.Heads = []store.Head{{ConversationID: c, Seq: first + 2, Ordinal: first, Position: b.To.Position}}
	b.Read = []store.CursorOf{{ConversationID: c, UserID: r.reader(c), Cursor: store.Cursor{Seq: first}, ChangedAt: r.at()}}
	b.Mentions = []store.Mention{{UserID: r.user(), ConversationID: c, Seq: first}}
	hash := r.Uint64N(4)
	return thing{"log", func(ctx context.Context, s storetest.Stores) any {
		stored := s.Log.Store(ctx, b)
		m, err := s.Log.Mark(ctx, 0)
		hs, err2 := s.Log.Heads(ctx, []chat.ConversationID{c, "g~none"})
		es, err3 := s.Log.ByDedupe(ctx, c, hash)
		return []any{seen(stored), seen(errors.Join(err, err2, err3), m, hs, es)}
	}}
}

func (r *things) cursors() thing {
	c := r.conv()
	u, to, at := r.reader(c), store.Cursor{Seq: r.Uint64N(40), Ordinal: r.Uint64N(9)}, r.at()
	return thing{"cursor", func(ctx context.Context, s storetest.Stores) any {
		now, moved, err := s.Cursors.Advance(ctx, c, u, to, at)
		mine, err2 := s.Cursors.Cursors(ctx, u, []chat.ConversationID{c, "d~u0~u1", "g~g0"})
		peers, err3 := s.Reader.PeerCursors(ctx, u, []chat.ConversationID{"d~u0~u1", "d~u1~u2"})
		return seen(errors.Join(err, err2, err3), now, moved, distinct(mine), sorted(peers))
	}}
}

// distinct sorts, and drops what comes twice because it was asked for twice.
func distinct(ks []store.CursorOf) []store.CursorOf {
	return slices.CompactFunc(sorted(ks), func(a, b store.CursorOf) bool { return a == b })
}

func (r *things) reads() thing {
	c, u, from, limit, newest := r.conv(), r.user(), r.Uint64N(30), r.IntN(6), r.IntN(2) == 0
	after := map[chat.ConversationID]uint64{"d~u0~u1": r.Uint64N(20), "g~g0": r.Uint64N(20), "g~none": 0}
	return thing{"reads", func(ctx context.Context, s storetest.Stores) any {
		es, err := s.Reader.Range(ctx, c, from, from+9, limit, newest)
		first, err2 := s.Reader.FirstAt(ctx, c, time.UnixMilli(int64(from)))
		ds, err3 := s.Reader.Directs(ctx, u)
		ms, err4 := s.Reader.FirstMentions(ctx, u, after)
		at, err5 := s.Reader.At(ctx, []store.EntryKey{{ConversationID: c, Seq: from}, {ConversationID: c, Seq: from + 1}})
		_, err6 := s.Cursors.Entry(ctx, c, from)
		return []any{seen(errors.Join(err, err2, err3, err4, err5), es, first, sorted(ds), ms, sorted(at)), seen(err6)}
	}}
}
