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
		PendingAt: at(7),
	}
}

// begun is the change that group(…) has pending, with the users that it names.
func begun(users ...chat.UserID) store.Change { return change("begun", 7, users...) }

func change(data string, begun int, users ...chat.UserID) store.Change {
	return store.Change{Data: []byte(data), At: at(begun), Users: users}
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
		must(t, s.Groups.Create(ctx, g, begun()))
		must(t, s.Groups.Create(ctx, h, begun()))
		other := g
		other.Name = "other"
		wantErr(t, "again", s.Groups.Create(ctx, other, begun()), store.ErrExists)
		sameSet(t, "Get", got[[]store.Group](t)(s.Groups.Get(ctx, []chat.GroupID{"g2", "no", "g1"})), []store.Group{g, h}, groupID)
		same(t, "Get of none", got[[]store.Group](t)(s.Groups.Get(ctx, nil)), []store.Group(nil))
		same(t, "no members", got[[]chat.UserID](t)(s.Members.PresentIDs(ctx, "g1")), []chat.UserID(nil))
	})
	t.Run("begin and commit", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		g := group("g1")
		must(t, s.Groups.Create(ctx, g, begun()))
		wantErr(t, "begin while one is pending", s.Groups.Begin(ctx, "g1", 0, change("x", 8)), store.ErrConflict)
		g.MemberCount, g.NoticeSeq, g.Dissolved, g.OwnerID = 1, 1<<40, true, "bob"
		m := store.Member{GroupID: "g1", UserID: "ann", Role: 3, JoinedAt: at(1), Spans: []store.Span{{From: 1}}, ChangedAt: at(1)}
		must(t, s.Groups.Commit(ctx, g, []store.Member{m}))
		g.Version, g.Pending, g.PendingAt = 1, nil, time.Time{}
		same(t, "committed", theGroup(t, s, "g1"), g)
		same(t, "member", got[[]store.Member](t)(s.Members.Get(ctx, "g1", []chat.UserID{"ann"})), []store.Member{m})
		wantErr(t, "commit again", s.Groups.Commit(ctx, group("g1"), nil), store.ErrConflict)
		wantErr(t, "begin at an old version", s.Groups.Begin(ctx, "g1", 0, change("x", 8)), store.ErrConflict)
		wantErr(t, "begin of none", s.Groups.Begin(ctx, "no", 0, change("x", 8)), store.ErrConflict)
		wantErr(t, "commit of none", s.Groups.Commit(ctx, group("no"), nil), store.ErrConflict)
		large := make([]byte, 100_000)
		large[99_999] = 1
		must(t, s.Groups.Begin(ctx, "g1", 1, store.Change{Data: large, At: at(9)}))
		g.Pending, g.PendingAt = large, at(9)
		same(t, "begun: the version stays", theGroup(t, s, "g1"), g)
	})
	t.Run("one of racing changes begins, one commit counts", func(t *testing.T) { // GRP: a change has one effect
		s, ctx := open(t), t.Context()
		g := group("g1")
		must(t, s.Groups.Create(ctx, g, begun()))
		oneWins(t, race(func(int) error { return s.Groups.Commit(ctx, g, nil) }), store.ErrConflict)
		winner := oneWins(t, race(func(n int) error { return s.Groups.Begin(ctx, "g1", 1, change(fmt.Sprint("change", n), n)) }), store.ErrConflict)
		g.Version, g.Pending, g.PendingAt = 1, fmt.Append(nil, "change", winner), at(winner)
		same(t, "begun", theGroup(t, s, "g1"), g)
	})
	t.Run("unfinished", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		// Neither the order of making nor that of ids is the order of beginning; two begin at the same moment.
		for n, b := range []int{5, 3, 9, 3, 1} {
			id := fmt.Sprint("g", n)
			must(t, s.Groups.Create(ctx, group(id), change("begun", b)))
		}
		must(t, s.Groups.Commit(ctx, group("g4"), nil))
		one := func(id string, begun int) store.Begun { return store.Begun{At: at(begun), GroupID: chat.GroupID(id)} }
		want := []store.Begun{one("g1", 3), one("g3", 3), one("g0", 5), one("g2", 9)}
		unfinished := func(after store.Begun, limit int) []store.Begun {
			return got[[]store.Begun](t)(s.Groups.Unfinished(ctx, after, limit))
		}
		same(t, "Unfinished", unfinished(store.Begun{}, 9), want)
		same(t, "limit 0", unfinished(store.Begun{}, 0), []store.Begun(nil))
		var paged []store.Begun
		for after := (store.Begun{}); len(paged) <= len(want); after = paged[len(paged)-1] {
			page := unfinished(after, 1)
			if len(page) == 0 {
				break
			}
			paged = append(paged, page...)
		}
		same(t, "pages of one", paged, want)
		must(t, s.Groups.Commit(ctx, group("g3"), nil))
		same(t, "after one that is finished since", unfinished(want[1], 9), want[2:])
		must(t, s.Groups.Begin(ctx, "g4", 1, change("again", 4)))
		same(t, "begun again", unfinished(want[1], 9), []store.Begun{one("g4", 4), one("g0", 5), one("g2", 9)})
	})
	t.Run("unfinished of a user", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		of := func(u chat.UserID) []chat.GroupID {
			ids := got[[]chat.GroupID](t)(s.Groups.UnfinishedOf(ctx, u))
			slices.Sort(ids)
			return ids
		}
		row := func(g chat.GroupID, u chat.UserID, to uint64) store.Member {
			return store.Member{GroupID: g, UserID: u, Spans: []store.Span{{From: 1, To: to}}}
		}
		must(t, s.Groups.Create(ctx, group("joins"), begun("ann", "bob")))
		same(t, "named, no member yet", of("ann"), []chat.GroupID{"joins"})
		same(t, "not named", of("cyd"), []chat.GroupID(nil))
		must(t, s.Groups.Commit(ctx, group("joins"), []store.Member{row("joins", "ann", 0), row("joins", "bob", 9)}))
		same(t, "finished", of("ann"), []chat.GroupID(nil))
		must(t, s.Groups.Begin(ctx, "joins", 1, change("x", 1, "cyd", "ann")))
		for _, u := range []chat.UserID{"ann", "bob", "cyd"} { // named and a member, a past member, named
			same(t, string(u), of(u), []chat.GroupID{"joins"})
		}
		wantErr(t, "begin while one is pending", s.Groups.Begin(ctx, "joins", 1, change("y", 1, "eve")), store.ErrConflict)
		same(t, "of a change that did not begin", of("eve"), []chat.GroupID(nil))
		// However many others have something pending, none of one's own is missed.
		var want []chat.GroupID
		for n := range 1200 {
			id := chat.GroupID(fmt.Sprintf("g%04d", n))
			users := []chat.UserID{"other"}
			if n%300 == 299 {
				users, want = append(users, "zoe"), append(want, id)
			}
			must(t, s.Groups.Create(ctx, group(string(id)), begun(users...)))
		}
		same(t, "among many", of("zoe"), want)
	})
}

// TestMembers runs the rules of store.Members.
func TestMembers(t *testing.T, open Open) {
	put := func(t *testing.T, s Stores, id chat.GroupID, members ...store.Member) {
		t.Helper()
		gs := got[[]store.Group](t)(s.Groups.Get(t.Context(), []chat.GroupID{id}))
		if len(gs) == 0 {
			must(t, s.Groups.Create(t.Context(), group(string(id)), begun()))
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
