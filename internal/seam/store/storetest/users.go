package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

var errRefused = errors.New("refused by the change")

func profile(id, nickname string) store.Profile {
	return store.Profile{UserID: chat.UserID(id), Username: "name." + id, Nickname: nickname, WhoMayFind: 1}
}

func profileID(p store.Profile) string { return string(p.UserID) }

// TestProfiles runs the rules of store.Profiles.
func TestProfiles(t *testing.T, open Open) {
	t.Run("create and read", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		ann := store.Profile{
			UserID: "ann", Username: "ann", Nickname: odd, Avatar: odd, Bio: odd, WhoMayFind: 1, WhoMayAdd: 2, WhoMayWrite: 3,
			LastSeen: 4, PushPreview: 5,
		}
		bob := profile("bob", "Bob")
		must(t, s.Profiles.Create(ctx, ann))
		must(t, s.Profiles.Create(ctx, bob))
		other := ann
		other.Nickname = "changed"
		must(t, s.Profiles.Create(ctx, other)) // stays as it is
		same(t, "ByUsername", got[store.Profile](t)(s.Profiles.ByUsername(ctx, "ann")), ann)
		sameSet(t, "Get", got[[]store.Profile](t)(s.Profiles.Get(ctx, []chat.UserID{"bob", "eve", "ann"})), []store.Profile{ann, bob}, profileID)
		same(t, "Get of none", got[[]store.Profile](t)(s.Profiles.Get(ctx, nil)), []store.Profile(nil))
		_, err := s.Profiles.ByUsername(ctx, "eve")
		wantErr(t, "absent", err, store.ErrNotFound)
		taken := profile("eve", "Eve")
		taken.Username = "ann"
		wantErr(t, "username of another", s.Profiles.Create(ctx, taken), store.ErrExists)
	})
	t.Run("by nickname", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		var want []store.Profile
		for n := range 5 {
			p := profile(fmt.Sprint("u", n), []string{"Ünal 海", "üNAL 海"}[n%2])
			want = append(want, p)
			must(t, s.Profiles.Create(ctx, p))
		}
		hidden := profile("u2x", "Ünal 海")
		hidden.WhoMayFind = 3 // nobody
		must(t, s.Profiles.Create(ctx, hidden))
		must(t, s.Profiles.Create(ctx, profile("u9", "Ünal 海 more")))
		var all []store.Profile
		for after := chat.UserID(""); ; {
			page := got[[]store.Profile](t)(s.Profiles.ByNickname(ctx, "ÜNAL 海", nil, after, 2))
			if len(page) == 0 {
				break
			}
			all = append(all, page...)
			after = page[len(page)-1].UserID
		}
		same(t, "pages", all, want)
		same(t, "limit 0", got[[]store.Profile](t)(s.Profiles.ByNickname(ctx, "ÜNAL 海", nil, "", 0)), []store.Profile(nil))
		same(t, "pattern", got[[]store.Profile](t)(s.Profiles.ByNickname(ctx, "%", nil, "", 9)), []store.Profile(nil))
		toFriends := profile("u3x", "Ünal 海")
		toFriends.WhoMayFind = 2 // friends
		must(t, s.Profiles.Create(ctx, toFriends))
		found := func(friends ...chat.UserID) []store.Profile {
			return got[[]store.Profile](t)(s.Profiles.ByNickname(ctx, "ünal 海", friends, "u2", 9))
		}
		same(t, "a stranger", found(), want[3:])
		same(t, "another's friend", found("u2", "u3"), want[3:])
		same(t, "a friend", found("u2x", "u3x", "u9"), []store.Profile{want[3], toFriends, want[4]})
	})
	t.Run("update", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Profiles.Create(ctx, profile("ann", "Ann")))
		want := profile("ann", "Änne")
		want.Bio = odd
		p, err := s.Profiles.Update(ctx, "ann", func(p *store.Profile) error {
			p.UserID, p.Username, p.Nickname, p.Bio = "eve", "eve", "Änne", odd // id and username do not change
			return nil
		})
		same(t, "Update", got[store.Profile](t)(p, err), want)
		same(t, "found by the new nickname", got[[]store.Profile](t)(s.Profiles.ByNickname(ctx, "änne", nil, "", 9)), []store.Profile{want})
		same(t, "not by the old one", got[[]store.Profile](t)(s.Profiles.ByNickname(ctx, "ann", nil, "", 9)), []store.Profile(nil))
		_, err = s.Profiles.Update(ctx, "ann", func(p *store.Profile) error {
			p.Nickname = "x"
			return errRefused
		})
		if err != errRefused { //nolint:errorlint // as it is, not wrapped
			t.Fatalf("Update with a failing change: error = %v; want %v as it is", err, errRefused)
		}
		same(t, "unchanged", got[store.Profile](t)(s.Profiles.ByUsername(ctx, "name.ann")), want)
		_, err = s.Profiles.Update(ctx, "eve", func(*store.Profile) error { return nil })
		wantErr(t, "absent", err, store.ErrNotFound)
	})
	t.Run("no racing update is lost", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		must(t, s.Profiles.Create(ctx, profile("ann", "Ann")))
		noErrors(t, race(func(int) error {
			_, err := s.Profiles.Update(ctx, "ann", func(p *store.Profile) error {
				p.Bio += "."
				return nil
			})
			return err
		}))
		if n := len(got[store.Profile](t)(s.Profiles.ByUsername(ctx, "name.ann")).Bio); n != racers {
			t.Fatalf("%d updates kept; want %d", n, racers)
		}
	})
}

// TestRelations runs the rules of store.Relations.
func TestRelations(t *testing.T, open Open) {
	update := func(t *testing.T, s Stores, a, b chat.UserID, change func(ab, ba *store.Relation)) {
		t.Helper()
		_, _, err := s.Relations.Update(t.Context(), a, b, func(ab, ba *store.Relation) error {
			change(ab, ba)
			return nil
		})
		must(t, err)
	}
	t.Run("update and read", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		ab, ba, err := s.Relations.Get(ctx, "ann", "bob")
		must(t, err)
		same(t, "absent side", ab, store.Relation{User: "ann", Peer: "bob"})
		same(t, "absent side", ba, store.Relation{User: "bob", Peer: "ann"})
		wantAB := store.Relation{
			User: "ann", Peer: "bob", Friend: true, FriendSince: at(1), Remark: odd, Tags: []string{odd, "", "b"}, Starred: true,
			RequestedAt: at(2), RequestMessage: odd, Blocked: true, BlockedAt: at(3),
			Withheld: []store.SeqRange{{From: 1, To: 1 << 40}, {From: 1<<40 + 2}}, Pending: "p1",
		}
		wantBA := store.Relation{User: "bob", Peer: "ann", Friend: true}
		ab, ba, err = s.Relations.Update(ctx, "ann", "bob", func(ab, ba *store.Relation) error {
			*ab, *ba = wantAB, wantBA
			ab.User, ba.Peer = "eve", "eve" // names do not change
			return nil
		})
		must(t, err)
		same(t, "Update", []store.Relation{ab, ba}, []store.Relation{wantAB, wantBA})
		ba, ab, err = s.Relations.Get(ctx, "bob", "ann")
		must(t, err)
		same(t, "Get from the other side", []store.Relation{ab, ba}, []store.Relation{wantAB, wantBA})
		_, _, err = s.Relations.Update(ctx, "bob", "ann", func(ba, _ *store.Relation) error {
			ba.Friend = false
			return errRefused
		})
		if err != errRefused { //nolint:errorlint // as it is, not wrapped
			t.Fatalf("Update with a failing change: error = %v; want %v as it is", err, errRefused)
		}
		update(t, s, "bob", "ann", func(ba, ab *store.Relation) {
			same(t, "seen by the next change", []store.Relation{*ab, *ba}, []store.Relation{wantAB, wantBA})
			*ab, *ba = store.Relation{}, store.Relation{}
		})
		ab, _, err = s.Relations.Get(ctx, "ann", "bob")
		must(t, err)
		same(t, "emptied", ab, store.Relation{User: "ann", Peer: "bob"})
	})
	t.Run("no racing update is lost", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		noErrors(t, race(func(n int) error {
			a, b := chat.UserID("ann"), chat.UserID("bob")
			if n%2 == 1 {
				a, b = b, a
			}
			_, _, err := s.Relations.Update(ctx, a, b, func(ab, ba *store.Relation) error {
				ab.Remark += "x"
				ba.Remark += "x"
				return nil
			})
			return err
		}))
		ab, ba, err := s.Relations.Get(ctx, "ann", "bob")
		must(t, err)
		if len(ab.Remark) != racers || len(ba.Remark) != racers {
			t.Fatalf("%d and %d updates kept; want %d on both sides", len(ab.Remark), len(ba.Remark), racers)
		}
	})
	t.Run("lists", func(t *testing.T) {
		s := open(t)
		// ann asks u0..u4, is asked by v0..v4, blocks w0..w4, is friends with x0..x4; two share a time each.
		for n := range 5 {
			when, id := at(1+n/2), func(c string) chat.UserID { return chat.UserID(fmt.Sprint(c, n)) }
			update(t, s, "ann", id("u"), func(ab, _ *store.Relation) { ab.RequestedAt, ab.RequestMessage = when, odd })
			update(t, s, id("v"), "ann", func(ab, ba *store.Relation) {
				ab.RequestedAt, ab.RequestMessage, ba.Remark = when, "from "+string(id("v")), "mine"
			})
			update(t, s, "ann", id("w"), func(ab, ba *store.Relation) { ab.Blocked, ab.BlockedAt, ba.Remark = true, when, "w" })
			update(t, s, id("x"), "ann", func(ab, ba *store.Relation) { ab.Friend, ba.Friend, ba.FriendSince = true, true, when })
		}
		for _, tt := range []struct {
			name   string
			kind   store.RelationKind
			prefix string
		}{{"friends", store.Friends, "x"}, {"incoming", store.IncomingRequests, "v"}, {"outgoing", store.OutgoingRequests, "u"}, {"blocks", store.Blocks, "w"}} {
			t.Run(tt.name, func(t *testing.T) { checkList(t, s, tt.kind, tt.prefix) })
		}
		ids := got[[]chat.UserID](t)(s.Relations.FriendIDs(t.Context(), "ann"))
		sameSet(t, "FriendIDs", ids, []chat.UserID{"x0", "x1", "x2", "x3", "x4"}, func(u chat.UserID) string { return string(u) })
		in, _, err := s.Relations.List(t.Context(), "ann", store.IncomingRequests, "", 1)
		must(t, err)
		same(t, "incoming", in, []store.Relation{{User: "ann", Peer: "v4", Remark: "mine", RequestedAt: at(3), RequestMessage: "from v4"}})
	})
	t.Run("a made-up cursor is refused", func(t *testing.T) { // invariant 8
		s := open(t)
		for _, cursor := range []string{"x", "!~u1", "~", odd} {
			_, _, err := s.Relations.List(t.Context(), "ann", store.Blocks, cursor, 10)
			if !fault.IsReason(err, fault.InvalidFieldReason) {
				t.Errorf("List after %q: error = %v; want INVALID_FIELD", cursor, err)
			}
		}
	})
	t.Run("empty lists", func(t *testing.T) {
		s := open(t)
		for _, kind := range []store.RelationKind{store.Friends, store.IncomingRequests, store.OutgoingRequests, store.Blocks} {
			rs, next, err := s.Relations.List(t.Context(), "ann", kind, "", 10)
			must(t, err)
			if len(rs) != 0 || next != "" {
				t.Fatalf("List(%d) = %d relations, next %q; want none", kind, len(rs), next)
			}
		}
		same(t, "FriendIDs", got[[]chat.UserID](t)(s.Relations.FriendIDs(t.Context(), "ann")), []chat.UserID(nil))
		same(t, "Pending", got[[]store.Relation](t)(s.Relations.Pending(t.Context(), "", 9)), []store.Relation(nil))
	})
	t.Run("pending", func(t *testing.T) {
		s, ctx := open(t), t.Context()
		update(t, s, "ann", "bob", func(ab, ba *store.Relation) { ab.Pending, ba.Friend = "c1", true })
		update(t, s, "cid", "ann", func(ab, ba *store.Relation) { ab.Pending, ba.Pending = "c2", "c3" })
		want := []store.Relation{
			{User: "ann", Peer: "bob", Pending: "c1"}, {User: "cid", Peer: "ann", Pending: "c2"}, {User: "ann", Peer: "cid", Pending: "c3"},
		}
		for _, tt := range []struct {
			after string
			limit int
			want  []store.Relation
		}{{"", 99, want}, {"", 2, want[:2]}, {"c1", 1, want[1:2]}, {"c10", 9, want[1:]}, {"c3", 9, nil}, {"", 0, nil}} {
			same(t, fmt.Sprint("Pending after ", tt.after), got[[]store.Relation](t)(s.Relations.Pending(ctx, tt.after, tt.limit)), tt.want)
		}
		update(t, s, "ann", "cid", func(ab, ba *store.Relation) { ab.Pending, ba.Pending = "", "" })
		if n := len(got[[]store.Relation](t)(s.Relations.Pending(ctx, "", 99))); n != 1 {
			t.Fatalf("Pending after two are done = %d; want 1", n)
		}
	})
}

// checkList reads a list of ann's in pages of 2 and checks members and order.
func checkList(t *testing.T, s Stores, kind store.RelationKind, prefix string) {
	t.Helper()
	var all []store.Relation
	for cursor := ""; ; {
		page, next, err := s.Relations.List(t.Context(), "ann", kind, cursor, 2)
		must(t, err)
		if len(page) > 2 || len(page) == 0 {
			t.Fatalf("a page of %d; want 1 or 2", len(page))
		}
		if all = append(all, page...); next == "" {
			break
		}
		cursor = next
	}
	if !slices.IsSortedFunc(all, func(a, b store.Relation) int {
		switch kind {
		case store.Friends:
			return int(a.Peer[1]) - int(b.Peer[1])
		case store.Blocks:
			return b.BlockedAt.Compare(a.BlockedAt)
		case store.IncomingRequests, store.OutgoingRequests:
		}
		return b.RequestedAt.Compare(a.RequestedAt)
	}) {
		t.Fatalf("order of %v is wrong", all)
	}
	var ids []string
	for _, r := range all {
		same(t, "User", r.User, chat.UserID("ann"))
		ids = append(ids, string(r.Peer))
	}
	slices.Sort(ids)
	same(t, "peers", ids, []string{prefix + "0", prefix + "1", prefix + "2", prefix + "3", prefix + "4"})
	limited, next, err := s.Relations.List(t.Context(), "ann", kind, "", 5)
	must(t, err)
	if len(limited) != 5 || next != "" {
		t.Fatalf("a full last page has %d, next %q; want 5 and none", len(limited), next)
	}
}
