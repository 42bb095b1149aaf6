package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

func group(id string) store.Group {
	return store.Group{
		ID: chat.GroupID(id), Name: odd, Avatar: "a", Description: odd, Announcement: odd, OwnerID: "ann", JoinMode: 1,
		HistoryVisibility: 2, MuteAll: true, Dissolved: false, CreatedAt: at(1), Pending: []byte("begun"),
	}
}

func groupID(g store.Group) string { return string(g.ID) }

func memberID(m store.Member) string { return string(m.GroupID) + "/" + string(m.UserID) }

// theGroup returns the one group with that id.
func theGroup(t *testing.T, s Stores, id chat.GroupID) store.Group {
	t.Helper()
	gs := got[[]store.Group](t)(s.Groups.Get(t.Context(), []chat.GroupID{id}))
	if len(gs) != 1 {
		t.Fatalf("Get(%s) = %d groups; want 1", id, len(gs))
	}
	return gs[0]
}

// TestGroups runs the rules of store.Groups.
func TestGroups(t *testing.T, open Open) {
	t.Run("create and read", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		g, h := group("g1"), group("g2")
		must(t, s.Groups.Create(ctx, g))
		must(t, s.Groups.Create(ctx, h))
		other := g
		other.Name = "other"
		wantErr(t, "again", s.Groups.Create(ctx, other), store.ErrExists)
		sameSet(t, "Get", got[[]store.Group](t)(s.Groups.Get(ctx, []chat.GroupID{"g2", "no", "g1"})), []store.Group{g, h}, groupID)
		same(t, "Get of none", got[[]store.Group](t)(s.Groups.Get(ctx, nil)), []store.Group(nil))
		same(t, "no members", got[[]chat.UserID](t)(s.Members.PresentIDs(ctx, "g1")), []chat.UserID(nil))
	})
	t.Run("begin and commit", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		g := group("g1")
		must(t, s.Groups.Create(ctx, g))
		wantErr(t, "begin while one is pending", s.Groups.Begin(ctx, "g1", 0, []byte("x")), store.ErrConflict)
		g.MemberCount, g.NoticeSeq, g.Dissolved, g.OwnerID = 1, 1<<40, true, "bob"
		m := store.Member{GroupID: "g1", UserID: "ann", Role: 3, JoinedAt: at(1), Spans: []store.Span{{From: 1}}, ChangedAt: at(1)}
		must(t, s.Groups.Commit(ctx, g, []store.Member{m}))
		g.Version, g.Pending = 1, nil
		same(t, "committed", theGroup(t, s, "g1"), g)
		same(t, "member", got[[]store.Member](t)(s.Members.Get(ctx, "g1", []chat.UserID{"ann"})), []store.Member{m})
		wantErr(t, "commit again", s.Groups.Commit(ctx, group("g1"), nil), store.ErrConflict)
		wantErr(t, "begin at an old version", s.Groups.Begin(ctx, "g1", 0, []byte("x")), store.ErrConflict)
		wantErr(t, "begin of none", s.Groups.Begin(ctx, "no", 0, []byte("x")), store.ErrConflict)
		wantErr(t, "commit of none", s.Groups.Commit(ctx, group("no"), nil), store.ErrConflict)
		change := make([]byte, 100_000)
		change[99_999] = 1
		must(t, s.Groups.Begin(ctx, "g1", 1, change))
		g.Pending = change
		same(t, "begun: the version stays", theGroup(t, s, "g1"), g)
	})
	t.Run("one of racing changes begins, one commit counts", func(t *testing.T) { // GRP: a change has one effect
		s, ctx := open(t), t.Context()
		g := group("g1")
		must(t, s.Groups.Create(ctx, g))
		oneWins(t, race(func(int) error { return s.Groups.Commit(ctx, g, nil) }), store.ErrConflict)
		winner := oneWins(t, race(func(n int) error { return s.Groups.Begin(ctx, "g1", 1, fmt.Append(nil, "change", n)) }), store.ErrConflict)
		g.Version, g.Pending = 1, fmt.Append(nil, "change", winner)
		same(t, "begun", theGroup(t, s, "g1"), g)
	})
	t.Run("unfinished", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		for n := range 3 {
			must(t, s.Groups.Create(ctx, group(fmt.Sprint("g", n))))
		}
		must(t, s.Groups.Commit(ctx, group("g1"), nil))
		ids := got[[]chat.GroupID](t)(s.Groups.Unfinished(ctx, 9))
		slices.Sort(ids)
		same(t, "Unfinished", ids, []chat.GroupID{"g0", "g2"})
		if n := len(got[[]chat.GroupID](t)(s.Groups.Unfinished(ctx, 1))); n != 1 {
			t.Fatalf("Unfinished with limit 1 = %d; want 1", n)
		}
	})
}

// TestMembers runs the rules of store.Members.
func TestMembers(t *testing.T, open Open) {
	put := func(t *testing.T, s Stores, id chat.GroupID, members ...store.Member) {
		t.Helper()
		gs := got[[]store.Group](t)(s.Groups.Get(t.Context(), []chat.GroupID{id}))
		if len(gs) == 0 {
			must(t, s.Groups.Create(t.Context(), group(string(id))))
			gs = []store.Group{group(string(id))}
		}
		must(t, s.Groups.Commit(t.Context(), gs[0], members))
	}
	member := func(g chat.GroupID, u string, role int32, joined int) store.Member {
		return store.Member{GroupID: g, UserID: chat.UserID(u), Role: role, JoinedAt: at(joined), Spans: []store.Span{{From: 1}}, ChangedAt: at(joined)}
	}
	t.Run("kept with all fields", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		m := store.Member{
			GroupID: "g1", UserID: "ann", Role: 2, MutedUntil: at(5), Nickname: odd, JoinedAt: at(1), ChangedAt: at(9),
			Spans: []store.Span{{From: 1, To: 1 << 40, FromOrdinal: 2, ToOrdinal: 1 << 39, ToAt: at(4)}, {From: 1<<40 + 5, FromOrdinal: 1<<39 + 1}},
		}
		past := store.Member{GroupID: "g1", UserID: "bob", Spans: []store.Span{{From: 1, To: 2, ToAt: at(3)}}, ChangedAt: at(3)}
		put(t, s, "g1", m, past)
		sameSet(t, "Get", got[[]store.Member](t)(s.Members.Get(ctx, "g1", []chat.UserID{"bob", "eve", "ann"})), []store.Member{m, past}, memberID)
		same(t, "Get of none", got[[]store.Member](t)(s.Members.Get(ctx, "g1", nil)), []store.Member(nil))
		same(t, "Get elsewhere", got[[]store.Member](t)(s.Members.Get(ctx, "g2", []chat.UserID{"ann"})), []store.Member(nil))
		same(t, "Present", got[[]store.Member](t)(s.Members.Present(ctx, "g1", 0, 9)), []store.Member{m})
		sameSet(t, "Ever", got[[]store.Member](t)(s.Members.Ever(ctx, "g1")), []store.Member{m, past}, memberID)
		same(t, "PresentIDs", got[[]chat.UserID](t)(s.Members.PresentIDs(ctx, "g1")), []chat.UserID{"ann"})
		m.Role, m.Spans, m.MutedUntil = 0, []store.Span{{From: 1, To: 7}}, time.Time{}
		put(t, s, "g1", m) // leaves
		same(t, "after leaving", got[[]store.Member](t)(s.Members.Get(ctx, "g1", []chat.UserID{"ann"})), []store.Member{m})
		same(t, "nobody is left", got[[]chat.UserID](t)(s.Members.PresentIDs(ctx, "g1")), []chat.UserID(nil))
	})
	t.Run("order and pages", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		want := []store.Member{
			member("g1", "owner", 3, 9), member("g1", "z-admin", 2, 1), member("g1", "a-admin", 2, 2),
			member("g1", "m1", 1, 3), member("g1", "m2", 1, 3), member("g1", "m0", 1, 4),
		}
		shuffled := slices.Clone(want)
		slices.Reverse(shuffled)
		put(t, s, "g1", shuffled...)
		put(t, s, "g2", member("g2", "m1", 3, 1))
		var all []store.Member
		for len(all) <= len(want) {
			page := got[[]store.Member](t)(s.Members.Present(ctx, "g1", len(all), 4))
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
		}
		same(t, "pages", all, want)
		same(t, "limit 0", got[[]store.Member](t)(s.Members.Present(ctx, "g1", 0, 0)), []store.Member(nil))
	})
	t.Run("of a user", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		a, b := member("g1", "ann", 3, 1), member("g2", "ann", 0, 2)
		b.Spans[0].To = 5
		put(t, s, "g1", a)
		put(t, s, "g2", b, member("g2", "bob", 1, 1))
		sameSet(t, "OfUser", got[[]store.Member](t)(s.Members.OfUser(ctx, "ann")), []store.Member{a, b}, memberID)
		same(t, "of none", got[[]store.Member](t)(s.Members.OfUser(ctx, "eve")), []store.Member(nil))
	})
	t.Run("a large group", func(t *testing.T) {
		s := open(t)
		var ms []store.Member
		for n := range 1500 {
			ms = append(ms, member("g1", fmt.Sprint("u", n), 1, n))
		}
		put(t, s, "g1", ms...)
		if n := len(got[[]chat.UserID](t)(s.Members.PresentIDs(t.Context(), "g1"))); n != 1500 {
			t.Fatalf("PresentIDs = %d; want 1500", n)
		}
		same(t, "last page", got[[]store.Member](t)(s.Members.Present(t.Context(), "g1", 1490, 100)), ms[1490:])
	})
}
