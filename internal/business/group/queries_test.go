package group_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// GROUP-2.
func TestMaySend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Now()
	w.now = func() time.Time { return at }
	s := w.instance()
	id := w.create(t, s)
	may := func(u string) fault.Reason {
		t.Helper()
		r, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: u})
		if err == nil && r.GetAsOfSeq() != w.log.noticeSeq(id) {
			t.Errorf("MaySend(%s) is as of %d; want %d", u, r.GetAsOfSeq(), w.log.noticeSeq(id))
		}
		return reason(err)
	}
	check := func(when string, want map[string]fault.Reason) {
		t.Helper()
		for u, r := range want {
			if got := may(u); got != r {
				t.Errorf("%s: MaySend(%s) = %q; want %q", when, u, got, r)
			}
		}
	}
	check("at first", map[string]fault.Reason{"ann": "", "bob": "", "cyd": "", "eve": fault.NotMember, "gus": fault.NotFoundReason, "a b": fault.NotFoundReason})
	if err := mute("bob", time.Hour)(s, as(t, "ann"), id); err != nil {
		t.Fatal(err)
	}
	check("bob muted", map[string]fault.Reason{"ann": "", "bob": fault.Muted, "cyd": ""})
	at = at.Add(2 * time.Hour)
	check("the mute is over", map[string]fault.Reason{"bob": ""})
	if _, err := s.Update(as(t, "bob"), &groupv1.UpdateRequest{GroupId: id, MuteAll: new(true)}); err != nil {
		t.Fatal(err)
	}
	check("all muted", map[string]fault.Reason{"ann": "", "bob": "", "cyd": fault.Muted, "eve": fault.NotMember})
}

func TestMembershipRanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s) // notices 1 to 3; eve sees 1 to 3
	say := func(n int) {
		for range n {
			if _, err := w.log.send(id, "ann", anyPermit); err != nil {
				t.Fatal(err)
			}
		}
	}
	ranges := func(u string) string {
		t.Helper()
		r, err := s.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: u})
		if err != nil {
			return string(reason(err))
		}
		m, out := r.GetMembership(), ""
		for _, v := range m.GetVisible() {
			out += fmt.Sprintf("%d-%d ", v.GetFrom(), v.GetTo())
		}
		return fmt.Sprintf("%sjoin %d/%d leave %d", out, m.GetJoinSeq(), m.GetJoinOrdinal(), m.GetLeaveOrdinal())
	}
	step := func(who string, do func(*instance, context.Context, string) error) {
		t.Helper()
		if err := do(s, as(t, who), id); err != nil {
			t.Fatal(err)
		}
	}
	check := func(u, want string) {
		t.Helper()
		if got := ranges(u); got != want {
			t.Errorf("membership of %s = %s; want %s", u, got, want)
		}
	}
	check("ann", "1-0 join 1/0 leave 0")
	check("eve", "1-3 join 1/0 leave 0")
	check("fay", "NOT_FOUND")
	say(2)                  // 4, 5
	step("ann", add("eve")) // 6
	step("ann", add("fay")) // 7
	step("fay", leave)      // 8
	step("ann", add("fay")) // 9: touches, but is another stay
	check("eve", "1-3 6-0 join 6/2 leave 0")
	check("fay", "7-0 join 9/2 leave 0")
	say(1)                     // 10
	step("ann", remove("fay")) // 11
	check("fay", "7-11 join 9/2 leave 3")
	step("ann", func(s *instance, ctx context.Context, id string) error { // 12
		_, err := s.Update(ctx, &groupv1.UpdateRequest{GroupId: id, HistoryVisibility: groupv1.HistoryVisibility_HISTORY_VISIBILITY_ALL.Enum()})
		return err
	})
	check("eve", "1-3 6-0 join 6/2 leave 0") // holds for those who join from now on
	step("ann", add("fay", "gus"))           // 13
	check("fay", "1-0 join 13/3 leave 0")
	check("gus", "1-0 join 13/3 leave 0")
	step("gus", leave) // 14
	check("gus", "1-14 join 13/3 leave 3")

	at := func(seq uint64) []string {
		t.Helper()
		r, err := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id, AtSeq: seq})
		if err != nil || r.GetAsOfSeq() != 14 || r.GetName() != "G" {
			t.Fatalf("GetMemberSet(at %d) = %v, %v; want as of 14", seq, r, err)
		}
		slices.Sort(r.UserIds)
		return r.GetUserIds()
	}
	for seq, want := range map[uint64]string{
		0: "ann,bob,cyd,dan,eve,fay", 1: "ann,bob,cyd,dan,eve", 3: "ann,bob,cyd,dan,eve", 4: "ann,bob,cyd,dan",
		8: "ann,bob,cyd,dan,eve,fay", 12: "ann,bob,cyd,dan,eve", 14: "ann,bob,cyd,dan,eve,fay,gus", 15: "ann,bob,cyd,dan,eve,fay",
	} {
		if got := strings.Join(at(seq), ","); got != want {
			t.Errorf("GetMemberSet(at %d) = %s; want %s", seq, got, want)
		}
	}
}

func TestListsOfUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	one := w.create(t, s)
	r, err := s.Create(as(t, "eve"), &groupv1.CreateRequest{Name: "E", MemberIds: []string{"fay"}})
	if err != nil {
		t.Fatal(err)
	}
	two := r.GetGroup().GetGroupId()
	ms, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "eve"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range ms.GetMemberships() {
		got[m.GetGroupId()] = fmt.Sprint(m.GetName(), " ", int(m.GetRole()), " ", m.GetVisible()[0].GetTo())
	}
	if diff := cmp.Diff(map[string]string{one: "G 0 3", two: "E 3 0"}, got); diff != "" {
		t.Errorf("ListMemberships (-want +got):\n%s", diff)
	}
	share := func(u string, among ...string) []string {
		t.Helper()
		r, err := s.ShareGroup(t.Context(), &groupv1.ShareGroupRequest{UserId: u, UserIds: among})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetUserIds()
	}
	all := []string{"ann", "bob", "cyd", "dan", "eve", "fay", "gus"}
	if got := share("eve", all...); !slices.Equal(got, []string{"eve", "fay"}) {
		t.Errorf("ShareGroup(eve) = %v; want eve and fay: with the others no more", got)
	}
	if got := share("bob", all...); !slices.Equal(got, []string{"ann", "bob", "cyd", "dan"}) {
		t.Errorf("ShareGroup(bob) = %v; want the first group", got)
	}
	if got := share("gus", all...); len(got) != 0 {
		t.Errorf("ShareGroup(gus) = %v; want nobody", got)
	}
}

// Invariant 6: with the permission cached no database is asked.
func TestCachedAnswersAskNoDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	ask := func() {
		t.Helper()
		_, err1 := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"})
		_, err2 := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id})
		_, err3 := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "gus"})
		if err1 != nil || err2 != nil || reason(err3) != fault.NotFoundReason {
			t.Fatalf("MaySend, GetMemberSet, MaySend by a stranger = %v, %v, %v", err1, err2, err3)
		}
	}
	ask()
	before := w.db.reads
	ask()
	if w.db.reads != before {
		t.Errorf("%d reads of the database; want none", w.db.reads-before)
	}
	if err := remove("cyd")(w.instance(), as(t, "ann"), id); err != nil { // another instance
		t.Fatal(err)
	}
	if _, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"}); reason(err) != fault.NotMember {
		t.Errorf("MaySend after the removal = %v; want NOT_MEMBER", err)
	}
}
