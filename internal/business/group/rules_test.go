package group_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// act is one call of a method on a group; it returns what the caller is told.
type act struct {
	name string
	do   func(s *instance, ctx context.Context, id string) error
}

func get(s *instance, ctx context.Context, id string) error {
	_, err := s.Get(ctx, &groupv1.GetRequest{GroupId: id})
	return err
}

func list(s *instance, ctx context.Context, id string) error {
	_, err := s.ListMembers(ctx, &groupv1.ListMembersRequest{GroupId: id})
	return err
}

func update(name string) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, Name: &name})
		return err
	}
}

func add(users ...string) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.AddMembers(ctx, &groupv1.AddMembersRequest{GroupId: id, UserIds: users})
		return err
	}
}

func remove(u string) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.RemoveMember(ctx, &groupv1.RemoveMemberRequest{GroupId: id, UserId: u})
		return err
	}
}

func leave(s *instance, ctx context.Context, id string) error {
	_, err := s.Leave(ctx, &groupv1.LeaveRequest{GroupId: id})
	return err
}

func role(u string, r groupv1.Role) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.UpdateMember(ctx, &groupv1.UpdateMemberRequest{GroupId: id, UserId: u, Role: &r})
		return err
	}
}

func mute(u string, d time.Duration) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.UpdateMember(ctx, &groupv1.UpdateMemberRequest{GroupId: id, UserId: u, MutedUntil: timestamppb.New(time.Now().Add(d))})
		return err
	}
}

func nickname(u, name string) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.UpdateMember(ctx, &groupv1.UpdateMemberRequest{GroupId: id, UserId: u, Nickname: &name})
		return err
	}
}

func transfer(u string) func(*instance, context.Context, string) error {
	return func(s *instance, ctx context.Context, id string) error {
		_, err := s.Transfer(ctx, &groupv1.TransferRequest{GroupId: id, UserId: u})
		return err
	}
}

func dissolve(s *instance, ctx context.Context, id string) error {
	_, err := s.Dissolve(ctx, &groupv1.DissolveRequest{GroupId: id})
	return err
}

// GROUP-1: what each role may do with whom.
func TestRoles(t *testing.T) {
	t.Parallel()
	const (
		ok      = fault.Reason("")
		low     = fault.RoleTooLow
		gone    = fault.NotMember
		none    = fault.NotFoundReason
		invalid = fault.InvalidFieldReason
		admin   = groupv1.Role_ROLE_ADMIN
		member  = groupv1.Role_ROLE_MEMBER
	)
	tests := []struct {
		act
		// ann is owner, bob admin, cyd member, eve has left, stranger never was there.
		ann, bob, cyd, eve, stranger fault.Reason
	}{
		{act{"get", get}, ok, ok, ok, ok, none},
		{act{"list", list}, ok, ok, ok, gone, none},
		{act{"update", update("new")}, ok, ok, low, gone, none},
		{act{"add", add("fay")}, ok, ok, low, gone, none},
		{act{"add nobody new", add("dan")}, ok, ok, low, gone, none},
		{act{"remove the owner", remove("ann")}, invalid, low, low, gone, none},
		{act{"remove an admin", remove("bob")}, ok, invalid, low, gone, none},
		{act{"remove a member", remove("dan")}, ok, ok, low, gone, none},
		{act{"remove who has left", remove("eve")}, none, none, low, gone, none},
		{act{"remove a stranger", remove("gus")}, none, none, low, gone, none},
		{act{"leave", leave}, fault.OwnerMustTransfer, ok, ok, gone, none},
		{act{"make a member admin", role("dan", admin)}, ok, low, low, gone, none},
		{act{"make an admin member", role("bob", member)}, ok, low, low, gone, none},
		{act{"own role", role("ann", member)}, invalid, low, low, gone, none},
		{act{"role of a stranger", role("gus", admin)}, none, none, low, gone, none},
		{act{"mute a member", mute("dan", time.Hour)}, ok, ok, low, gone, none},
		{act{"mute an admin", mute("bob", time.Hour)}, ok, low, low, gone, none},
		{act{"mute the owner", mute("ann", time.Hour)}, low, low, low, gone, none},
		{act{"nickname of a member", nickname("dan", "D")}, ok, ok, low, gone, none},
		{act{"nickname of the owner", nickname("ann", "A")}, ok, low, low, gone, none},
		{act{"own nickname", func(s *instance, ctx context.Context, id string) error {
			return nickname(caller(ctx), "me")(s, ctx, id)
		}}, ok, ok, ok, gone, none},
		{act{"transfer", transfer("cyd")}, ok, low, low, gone, none},
		{act{"transfer to oneself", transfer("ann")}, invalid, low, low, gone, none},
		{act{"transfer to who has left", transfer("eve")}, none, low, low, gone, none},
		{act{"dissolve", dissolve}, ok, low, low, gone, none},
	}
	for _, tt := range tests {
		for who, want := range map[string]fault.Reason{"ann": tt.ann, "bob": tt.bob, "cyd": tt.cyd, "eve": tt.eve, "stranger": tt.stranger} {
			t.Run(tt.name+" by "+who, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				s := w.instance()
				id := w.create(t, s)
				before := len(w.log.of(id))
				err := tt.do(s, as(t, who), id)
				if reason(err) != want {
					t.Fatalf("%s = %v; want %q", tt.name, err, want)
				}
				if err != nil && len(w.log.of(id)) != before {
					t.Errorf("%s failed and appended %v", tt.name, w.notices(id)[before:])
				}
				w.balance(t, id)
				if err := tt.do(s, as(t, who), "none"); reason(err) != none {
					t.Errorf("%s of a group that is not there = %v; want NOT_FOUND", tt.name, err)
				}
			})
		}
	}
}

// The notices are the contract with all who fold the log.
func TestNotices(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	mustDo := func(who string, do func(*instance, context.Context, string) error) {
		t.Helper()
		if err := do(s, as(t, who), id); err != nil {
			t.Fatal(err)
		}
	}
	mustDo("ann", add("fay", "gus", "fay", "dan", "ann"))
	mustDo("bob", remove("fay"))
	mustDo("bob", update("H"))
	mustDo("bob", update("H")) // changes nothing
	mustDo("ann", func(s *instance, ctx context.Context, id string) error {
		_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, MuteAll: new(true)})
		return err
	})
	mustDo("bob", mute("cyd", time.Hour))
	mustDo("cyd", nickname("cyd", "C"))
	mustDo("ann", transfer("cyd"))
	mustDo("cyd", dissolve)
	want := []string{
		"1 ann [ann bob cyd dan eve] G", "5 ann [bob] admin", "3 eve [eve] ", "2 ann [fay gus] ", "4 bob [fay] ",
		"6 bob [] H", "6 ann [] ", "6 bob [cyd] ", "5 ann [cyd] owner", "7 cyd [] ",
	}
	if diff := cmp.Diff(want, w.notices(id)); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	if first := w.log.of(id)[0]; first.GetSeq() != 1 || first.GetOrdinal() != 0 || first.GetSenderId() != "ann" {
		t.Errorf("first entry = %v; want seq 1, ordinal 0, sent by ann", first)
	}
	w.balance(t, id)
}

func TestAfterDissolution(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	if err := dissolve(s, as(t, "ann"), id); err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(as(t, "cyd"), &groupv1.GetRequest{GroupId: id})
	if err != nil || r.GetGroup().GetRole() != 0 || r.GetGroup().GetName() != "G" || r.GetGroup().GetMemberCount() != 0 {
		t.Errorf("Get = %v, %v; want the group without a role", r, err)
	}
	for _, a := range []act{{"add", add("fay")}, {"dissolve", dissolve}, {"leave", leave}, {"list", list}} {
		if err := a.do(s, as(t, "ann"), id); reason(err) != fault.NotMember {
			t.Errorf("%s = %v; want NOT_MEMBER", a.name, err)
		}
	}
	if _, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"}); reason(err) != fault.NotMember {
		t.Errorf("MaySend = %v; want NOT_MEMBER", err)
	}
	m, err := s.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: "cyd"})
	if err != nil || m.GetMembership().GetVisible()[0].GetTo() != 4 || m.GetMembership().GetLeftAt() == nil {
		t.Errorf("GetMembership = %v, %v; want a membership that ends at 4", m, err)
	}
}

func TestCreate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, group string
		members     []string
		want        fault.Reason
		first       string // all first members
	}{
		{name: "alone", group: "G", first: "ann"},
		{name: "oneself and duplicates are ignored", group: "G", members: []string{"bob", "ann", "bob"}, first: "ann,bob"},
		{name: "who blocks the creator is left out", group: "G", members: []string{"bob", "fay"}, first: "ann,bob"},
		{name: "an unknown id fails all", group: "G", members: []string{"bob", "nobody"}, want: fault.NotFoundReason},
		{name: "no name", want: fault.InvalidFieldReason},
		{name: "64 code points", group: strings.Repeat("é", 64), first: "ann"},
		{name: "65 code points", group: strings.Repeat("é", 65), want: fault.InvalidFieldReason},
		{name: "a name that no log can hold", group: "a\xff", want: fault.InvalidFieldReason},
		{name: "an id that is none", group: "G", members: []string{"b b"}, want: fault.InvalidFieldReason},
		{name: "too many", group: "G", members: []string{"bob", "cyd", "dan", "eve", "gus"}, want: fault.LimitReached},
		{name: "as many as may be", group: "G", members: []string{"bob", "cyd", "dan", "eve"}, first: "ann,bob,cyd,dan,eve"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.cfg.MaxMembers = 5
			w.users.blocks[[2]string{"fay", "ann"}] = true
			s := w.instance()
			r, err := s.Create(as(t, "ann"), &groupv1.CreateRequest{Name: tt.group, MemberIds: tt.members})
			if reason(err) != tt.want {
				t.Fatalf("Create(%q, %v) = %v; want %q", tt.group, tt.members, err, tt.want)
			}
			if err != nil {
				if len(w.db.groups) != 0 {
					t.Errorf("a refused group was stored")
				}
				return
			}
			g := r.GetGroup()
			id := g.GetGroupId()
			w.balance(t, id)
			if got := strings.Join(w.log.of(id)[0].GetNotice().GetUserIds(), ","); got != tt.first {
				t.Errorf("first members = %s; want %s", got, tt.first)
			}
			if g.GetRole() != groupv1.Role_ROLE_OWNER || g.GetOwnerId() != "ann" || g.GetName() != tt.group ||
				g.GetJoinMode() != groupv1.JoinMode_JOIN_MODE_INVITE ||
				g.GetHistoryVisibility() != groupv1.HistoryVisibility_HISTORY_VISIBILITY_SINCE_JOIN {
				t.Errorf("Create = %v; want ann's new group with defaults", g)
			}
		})
	}
}

func TestCreateIsLimited(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.CreateBurst, w.cfg.CreatePerMinute = 2, 1
	at := time.Now()
	w.now = func() time.Time { return at }
	s := w.instance()
	for i, want := range []fault.Reason{"", "", fault.RateLimited} {
		_, err := s.Create(as(t, "ann"), &groupv1.CreateRequest{Name: "G"})
		if reason(err) != want {
			t.Fatalf("Create number %d = %v; want %q", i+1, err, want)
		}
		if err != nil && fault.Of(err).RetryAfter != time.Minute {
			t.Errorf("retryAfter = %v; want a minute", fault.Of(err).RetryAfter)
		}
	}
	if _, err := s.Create(as(t, "bob"), &groupv1.CreateRequest{Name: "G"}); err != nil {
		t.Errorf("another's Create = %v; want a group", err)
	}
}

// Invariant 8: bad input is named.
func TestBadInput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.MaxAdd = 2
	s := w.instance()
	id := w.create(t, s)
	ctx := as(t, "ann")
	long := strings.Repeat("x", 65)
	tests := []struct {
		name  string
		call  func() error
		field string
	}{
		{"get", func() error { return get(s, ctx, "a b") }, "groupId"},
		{"list", func() error { return list(s, ctx, long) }, "groupId"},
		{"leave", func() error { return leave(s, ctx, "") }, "groupId"},
		{"dissolve", func() error { return dissolve(s, ctx, "~") }, "groupId"},
		{"remove", func() error { return remove("~")(s, ctx, id) }, "userId"},
		{"transfer", func() error { return transfer("")(s, ctx, id) }, "userId"},
		{"add nobody", func() error { return add()(s, ctx, id) }, "userIds"},
		{"add a bad id", func() error { return add("fay", "a b")(s, ctx, id) }, "userIds[1]"},
		{"add too many", func() error { return add("fay", "gus", "hal")(s, ctx, id) }, "userIds"},
		{"name", func() error { return update(long)(s, ctx, id) }, "name"},
		{"no name", func() error { return update("")(s, ctx, id) }, "name"},
		{"nickname", func() error { return nickname("bob", long)(s, ctx, id) }, "nickname"},
		{"role owner", func() error { return role("bob", groupv1.Role_ROLE_OWNER)(s, ctx, id) }, "role"},
		{"role null", func() error { return role("bob", 0)(s, ctx, id) }, "role"},
		{"role unknown", func() error { return role("bob", 9)(s, ctx, id) }, "role"},
		{"mute", func() error {
			_, err := s.UpdateMember(ctx, &groupv1.UpdateMemberRequest{GroupId: id, UserId: "bob", MutedUntil: &timestamppb.Timestamp{Nanos: -1}})
			return err
		}, "mutedUntil"},
		{"description", func() error {
			_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, Description: new(strings.Repeat("x", 1001))})
			return err
		}, "description"},
		{"avatar", func() error {
			_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, Avatar: new(strings.Repeat("x", 513))})
			return err
		}, "avatar"},
		{"join mode", func() error {
			_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, JoinMode: groupv1.JoinMode(7).Enum()})
			return err
		}, "joinMode"},
		{"visibility", func() error {
			_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, HistoryVisibility: groupv1.HistoryVisibility(7).Enum()})
			return err
		}, "historyVisibility"},
		{"page size", func() error {
			_, err := s.ListMembers(ctx, &groupv1.ListMembersRequest{GroupId: id, PageSize: proto.Int32(0)})
			return err
		}, "pageSize"},
		{"negative page size", func() error {
			_, err := s.ListMembers(ctx, &groupv1.ListMembersRequest{GroupId: id, PageSize: proto.Int32(-1)})
			return err
		}, "pageSize"},
		{"page token", func() error {
			_, err := s.ListMembers(ctx, &groupv1.ListMembersRequest{GroupId: id, PageToken: "m-1"})
			return err
		}, "pageToken"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := fault.Of(tt.call())
			if f == nil || f.Reason != fault.InvalidFieldReason || !slices.ContainsFunc(f.Fields, func(b fault.Field) bool { return b.Field == tt.field }) {
				t.Errorf("%s = %v; want INVALID_FIELD naming %s", tt.name, f, tt.field)
			}
		})
	}
	if _, err := s.Create(t.Context(), &groupv1.CreateRequest{Name: "G"}); reason(err) != fault.TokenMissing {
		t.Errorf("Create by nobody = %v; want TOKEN_MISSING", err)
	}
	w.balance(t, id)
}

func TestAddMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.MaxMembers = 6
	s := w.instance()
	id := w.create(t, s)
	w.users.blocks[[2]string{"fay", "bob"}] = true
	count := func(who string, users ...string) (int32, fault.Reason) {
		r, err := s.AddMembers(as(t, who), &groupv1.AddMembersRequest{GroupId: id, UserIds: users})
		return r.GetGroup().GetMemberCount(), reason(err)
	}
	steps := []struct {
		who   string
		users []string
		want  int32
		fails fault.Reason
	}{
		{"bob", []string{"fay", "eve"}, 5, ""},             // fay blocks bob; eve comes back
		{"bob", []string{"fay"}, 5, ""},                    // nobody new
		{"bob", []string{"gus", "nobody"}, 0, "NOT_FOUND"}, // all or none
		{"ann", []string{"gus", "hal"}, 0, "LIMIT_REACHED"},
		{"ann", []string{"fay", "cyd"}, 6, ""},
	}
	for _, st := range steps {
		if n, fails := count(st.who, st.users...); n != st.want || fails != st.fails {
			t.Fatalf("AddMembers(%v) by %s = %d members, %q; want %d, %q", st.users, st.who, n, fails, st.want, st.fails)
		}
	}
	w.balance(t, id)
	if got := w.notices(id)[3:]; len(got) != 2 {
		t.Errorf("notices = %v; want two", got)
	}
}

func TestListMembersPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	delete(w.users.known, "dan") // an account that is gone
	var got []string
	token := ""
	for range 5 {
		r, err := s.ListMembers(as(t, "cyd"), &groupv1.ListMembersRequest{GroupId: id, PageSize: proto.Int32(3), PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range r.GetMembers() {
			got = append(got, fmt.Sprint(m.GetUser().GetUserId(), m.GetUser().GetUsername(), int(m.GetRole())))
		}
		if token = r.GetNextPageToken(); token == "" {
			break
		}
	}
	if want := []string{"annann3", "bobbob2", "cydcyd1", "dan1"}; !slices.Equal(got, want) {
		t.Errorf("ListMembers = %v; want %v", got, want)
	}
	r, err := s.ListMembers(as(t, "cyd"), &groupv1.ListMembersRequest{GroupId: id, PageToken: "m1000"})
	if err != nil || len(r.GetMembers()) != 0 || r.GetNextPageToken() != "" {
		t.Errorf("ListMembers behind the end = %v, %v; want nothing", r, err)
	}
}

func TestUpdateMember(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	r, err := s.UpdateMember(as(t, "ann"), &groupv1.UpdateMemberRequest{
		GroupId: id, UserId: "cyd", Role: groupv1.Role_ROLE_ADMIN.Enum(), MutedUntil: timestamppb.New(until), Nickname: new("C"),
	})
	m := r.GetMember()
	if err != nil || m.GetRole() != groupv1.Role_ROLE_ADMIN || !m.GetMutedUntil().AsTime().Equal(until) || m.GetNickname() != "C" ||
		m.GetUser().GetUsername() != "cyd" || m.GetJoinedAt() == nil {
		t.Fatalf("UpdateMember = %v, %v; want all three changes", r, err)
	}
	if n := w.notices(id); n[len(n)-1] != "5 ann [cyd] admin" || len(n) != 4 {
		t.Errorf("notices = %v; want one roleChanged for all three", n)
	}
	r, err = s.UpdateMember(as(t, "ann"), &groupv1.UpdateMemberRequest{
		GroupId: id, UserId: "cyd", MutedUntil: &timestamppb.Timestamp{}, Nickname: new(""),
	})
	if err != nil || r.GetMember().GetMutedUntil() != nil || r.GetMember().GetNickname() != "" {
		t.Errorf("UpdateMember with nulls = %v, %v; want mute and nickname cleared", r, err)
	}
	before := len(w.notices(id))
	if _, err := s.UpdateMember(as(t, "ann"), &groupv1.UpdateMemberRequest{GroupId: id, UserId: "cyd"}); err != nil || len(w.notices(id)) != before {
		t.Errorf("UpdateMember of nothing = %v, %v; want no notice", err, w.notices(id))
	}
	w.balance(t, id)
}

func caller(ctx context.Context) string { return string(calls.IdentityOf(ctx).UserID) }
