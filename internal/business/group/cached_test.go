package group_test

import (
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// aging gives w a cache whose clock is ahead of the others by what is stored there, in ns.
func aging(w *world) *atomic.Int64 {
	ahead := new(atomic.Int64)
	w.cache = memory.NewCache(memory.Config{}, func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
	return ahead
}

// view asks all that sending, delivery and reading ask of a group.
func view(t *testing.T, s *instance, id, u string) (members []string, asOf uint64, err error) {
	t.Helper()
	may, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: u})
	if err != nil {
		return nil, 0, err
	}
	if _, err := s.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: u}); err != nil {
		return nil, 0, err
	}
	set, err := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id})
	return slices.Sorted(slices.Values(set.GetUserIds())), may.GetAsOfSeq(), err
}

// Who wrote to a group may go on while the database is away, and it is delivered, long after what was cached has to be
// read again.
func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ahead := aging(w)
	s := w.instance()
	id := w.create(t, s)
	if _, _, err := view(t, s, id, "cyd"); err != nil {
		t.Fatal(err)
	}
	s.faults.away(true)
	for _, later := range []time.Duration{2 * time.Minute, 23 * time.Hour} {
		ahead.Store(int64(later))
		members, asOf, err := view(t, s, id, "cyd")
		if want := []string{"ann", "bob", "cyd", "dan"}; err != nil || !slices.Equal(members, want) || asOf != w.log.noticeSeq(id) {
			t.Errorf("%s later: members %v as of %d, %v; want %v as of %d", later, members, asOf, err, want, w.log.noticeSeq(id))
		}
	}
	if _, _, err := view(t, s, id, "stranger"); err == nil || fault.IsReason(err, fault.NotFoundReason) {
		t.Errorf("of somebody who was never asked about = %v; want an error that says nothing about the group", err)
	}
	s.faults.away(false)
	if err := remove("cyd")(s, as(t, "ann"), id); err != nil {
		t.Fatal(err)
	}
	if _, _, err := view(t, s, id, "cyd"); !fault.IsReason(err, fault.NotMember) {
		t.Errorf("after the removal = %v; want NOT_MEMBER", err)
	}
}

// G3: what is kept for an outage knows every notice too: a change drops it before its notice.
func TestAwayAfterNotice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	aging(w)
	s := w.instance()
	id := w.create(t, s)
	if _, _, err := view(t, s, id, "cyd"); err != nil {
		t.Fatal(err)
	}
	crashing := w.instance() // begins, drops, appends; then its database is gone
	crashing.faults.crashAt, crashing.faults.effect = 3, true
	if err := remove("cyd")(crashing, as(t, "ann"), id); err == nil {
		t.Fatal("the crash did not happen")
	}
	if n := w.log.noticeSeq(id); n != 4 {
		t.Fatalf("the newest notice is %d; want 4, the removal", n)
	}
	s.faults.away(true)
	if members, _, err := view(t, s, id, "cyd"); err == nil {
		t.Errorf("members %v with cyd; want an error: the removal is in the log", members)
	}
}

// A cache that lost a drop is wrong no longer than until the next reading of the database, also where it is kept.
func TestLostDropIsMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ahead := aging(w)
	s, other := w.instance(), w.instance()
	id := w.create(t, s)
	if _, _, err := view(t, s, id, "cyd"); err != nil {
		t.Fatal(err)
	}
	kept := w.cache
	w.cache = memory.NewCache(memory.Config{}, time.Now) // the change drops elsewhere
	if err := remove("cyd")(w.instance(), as(t, "ann"), id); err != nil {
		t.Fatal(err)
	}
	w.cache = kept
	ahead.Store(int64(2 * time.Minute))
	if _, _, err := view(t, other, id, "cyd"); !fault.IsReason(err, fault.NotMember) {
		t.Errorf("two minutes later = %v; want NOT_MEMBER", err)
	}
	other.faults.away(true)
	ahead.Store(int64(4 * time.Minute))
	if _, _, err := view(t, other, id, "cyd"); !fault.IsReason(err, fault.NotMember) {
		t.Errorf("and when the database is away = %v; want NOT_MEMBER", err)
	}
}

// Invariant 10: what one version caches the next one reads, by these names. A field that is renamed, or that must not be
// missing where an older version has filled the cache, needs a key of its own (groupKey, keptKey, memberKey).
func TestCachedNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		val  any
		want string
	}{
		{store.Group{}, `{"ID":"","Name":"","Avatar":"","Description":"","Announcement":"","OwnerID":"","JoinMode":0,"HistoryVisibility":0,` +
			`"MuteAll":false,"Dissolved":false,"CreatedAt":"0001-01-01T00:00:00Z","MemberCount":0,"NoticeSeq":0,"Version":0,"Pending":null,"PendingAt":"0001-01-01T00:00:00Z"}`},
		{store.Member{Spans: []store.Span{{}}}, `{"GroupID":"","UserID":"","Role":0,"MutedUntil":"0001-01-01T00:00:00Z","Nickname":"",` +
			`"JoinedAt":"0001-01-01T00:00:00Z","Spans":[{"From":0,"To":0,"FromOrdinal":0,"ToOrdinal":0,"ToAt":"0001-01-01T00:00:00Z"}],"ChangedAt":"0001-01-01T00:00:00Z"}`},
	} {
		got, err := json.Marshal(tt.val)
		if err != nil || string(got) != tt.want {
			t.Errorf("%T is cached as\n%s, %v; want\n%s", tt.val, got, err, tt.want)
		}
	}
}
