package group_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
)

// command is a change of the group that create makes, by ann or by whom it names.
type command struct {
	act
	by      string
	user    string // whose membership it concerns
	notices int
}

func commands() []command {
	return []command{
		{act{"add", add("fay", "eve")}, "ann", "fay", 1},
		{act{"remove", remove("dan")}, "bob", "dan", 1},
		{act{"leave", leave}, "cyd", "cyd", 1},
		{act{"update", update("new")}, "ann", "cyd", 1},
		{act{"role", role("cyd", groupv1.Role_ROLE_ADMIN)}, "ann", "cyd", 1},
		{act{"mute", mute("cyd", time.Hour)}, "ann", "cyd", 1},
		{act{"nickname", nickname("cyd", "C")}, "cyd", "cyd", 0},
		{act{"transfer", transfer("cyd")}, "ann", "cyd", 1},
		{act{"dissolve", dissolve}, "ann", "cyd", 1},
	}
}

// maxWrites is one more than any command writes: Begin, drop, append, the two halves of Commit, drop.
const maxWrites = 7

// G1 and G2: a crash between any two steps, with or without the effect of the step under way, loses and doubles
// nothing, and whoever asks next gets an answer that holds what is in the log.
func TestCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for _, c := range commands() {
		for n := 1; n <= maxWrites; n++ {
			for _, effect := range []bool{false, true} {
				for name, next := range nextQuestions {
					t.Run(fmt.Sprintf("%s/write %d/effect %t/then %s", c.name, n, effect, name), func(t *testing.T) {
						t.Parallel()
						crashOnce(t, c, n, effect, next)
					})
				}
			}
		}
	}
}

// nextQuestions are what may be the first call after the crash.
var nextQuestions = map[string]func(t *testing.T, w *world, s *instance, id, user string) error{
	"get": func(t *testing.T, _ *world, s *instance, id, _ string) error { return get(s, as(t, "bob"), id) },
	"list memberships": func(t *testing.T, w *world, s *instance, id, user string) error {
		r, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: user})
		want, has := replay(w.log.of(id))[user]
		got := slices.ContainsFunc(r.GetMemberships(), func(m *groupv1.Membership) bool {
			return roleWords[int32(m.GetRole())] == want.role
		})
		if err == nil && got != has {
			t.Errorf("ListMemberships(%s) = %v; want %v, as in the log", user, r.GetMemberships(), want)
		}
		return err
	},
	"membership": func(t *testing.T, w *world, s *instance, id, user string) error {
		r, err := s.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: user})
		want := replay(w.log.of(id))[user]
		if fault.IsReason(err, fault.NotFoundReason) && len(want.spans) == 0 {
			return nil
		}
		if v := r.GetMembership().GetVisible(); err == nil && v[len(v)-1].GetTo() != want.spans[len(want.spans)-1][1] {
			t.Errorf("GetMembership(%s) = %v; want %v, as in the log", user, r, want)
		}
		return err
	},
	"may send": func(t *testing.T, w *world, s *instance, id, _ string) error {
		known := w.log.noticeSeq(id)
		r, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "bob"})
		if err == nil && r.GetAsOfSeq() < known {
			t.Errorf("MaySend is as of %d; want at least %d", r.GetAsOfSeq(), known)
		}
		if fault.IsReason(err, fault.NotMember) {
			return nil
		}
		return err
	},
	"member set": func(t *testing.T, w *world, s *instance, id, _ string) error {
		known := w.log.noticeSeq(id)
		r, err := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id})
		if err == nil && r.GetAsOfSeq() < known {
			t.Errorf("GetMemberSet is as of %d; want at least %d", r.GetAsOfSeq(), known)
		}
		return err
	},
	"the same command": nil,
}

func crashOnce(t *testing.T, c command, n int, effect bool, next func(*testing.T, *world, *instance, string, string) error) {
	w := newWorld(t)
	healthy := w.instance()
	id := w.create(t, healthy)
	for _, u := range []string{"ann", "bob", "cyd", "dan", "fay"} { // what is cached may be in the way afterwards
		_, _ = healthy.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: u})
	}
	before := len(w.log.of(id))
	crashing := w.instance()
	crashing.faults.crashAt, crashing.faults.effect = n, effect
	err := c.do(crashing, as(t, c.by), id)
	if n == maxWrites && err != nil {
		t.Errorf("%s = %v; maxWrites is too low", c.name, err)
	}
	if err != nil && fault.CodeOf(err) != fault.Unavailable {
		t.Errorf("%s in the crash = %v; want UNAVAILABLE, as the outcome is not known", c.name, err)
	}
	if next != nil {
		if err := next(t, w, healthy, id, c.user); err != nil {
			t.Errorf("first question after the crash = %v; want an answer", err)
		}
	}
	// The client repeats its command, whatever it was told. If the change is done, that is a no.
	if err := c.do(w.instance(), as(t, c.by), id); err != nil && fault.CodeOf(err) == fault.Unavailable {
		t.Errorf("repeated %s = %v; want an outcome", c.name, err)
	}
	w.balance(t, id)
	want := c.notices
	if c.name == "mute" { // the repetition mutes until another time
		want = len(w.log.of(id)) - before
	}
	if got := len(w.log.of(id)) - before; got != want || got > 2 {
		t.Errorf("%s appended %d notices, %v; want %d", c.name, got, w.notices(id)[before:], want)
	}
}

func TestCreateCrashAtEveryStep(t *testing.T) {
	t.Parallel()
	for n := 1; n <= maxWrites; n++ {
		for _, effect := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d/effect %t", n, effect), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				crashing := w.instance()
				crashing.faults.crashAt, crashing.faults.effect = n, effect
				_, err := crashing.Create(as(t, "ann"), &groupv1.CreateRequest{Name: "G", MemberIds: []string{"bob"}})
				if n == 1 && !effect {
					if err == nil || len(w.db.groups) != 0 {
						t.Errorf("Create = %v with %d groups; want an error and none", err, len(w.db.groups))
					}
					return
				}
				r, err := w.instance().ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "bob"})
				if err != nil || len(r.GetMemberships()) != 1 {
					t.Fatalf("ListMemberships = %v, %v; want the group that is half made", r, err)
				}
				id := r.GetMemberships()[0].GetGroupId()
				w.balance(t, id)
				if got := len(w.log.of(id)); got != 1 {
					t.Errorf("%d entries; want groupCreated", got)
				}
			})
		}
	}
}

// A change that nobody asks about is completed by Run.
func TestRunSweeps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.SweepEvery = 10 * time.Millisecond
	id := w.create(t, w.instance())
	crashing := w.instance()
	crashing.faults.crashAt, crashing.faults.effect = 1, true // Begin was its last act
	if err := add("fay")(crashing, as(t, "ann"), id); err == nil {
		t.Fatal("the crash did not happen")
	}
	ctx, stop := context.WithCancel(t.Context())
	ended, up := make(chan error), make(chan struct{})
	go func() { ended <- w.instance().Run(ctx, func() { close(up) }) }()
	<-up
	eventually(t, func() bool { return replay(w.log.of(id))["fay"].role == "member" && !w.pending(id) })
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v; want nil", err)
	}
	w.balance(t, id)
}

func (w *world) pending(id string) bool {
	w.db.mu.Lock()
	defer w.db.mu.Unlock()
	return len(w.db.groups[chat.GroupID(id)].Pending) > 0
}

func eventually(t *testing.T, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if cond() {
			return
		}
		<-tick.C
	}
	t.Fatal("it did not happen within ten seconds")
}

// A notice that the log refuses for ever does not block its group.
func TestRefusedNotice(t *testing.T) {
	t.Parallel()
	for _, r := range []fault.Reason{fault.InvalidFieldReason, fault.TooLarge, fault.ClientMsgIDReused} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.instance()
			id := w.create(t, s)
			s.faults.refuse(fault.New(r, "never"))
			for _, c := range commands() {
				if err := c.do(s, as(t, c.by), id); c.notices > 0 && reason(err) != fault.InternalReason {
					t.Errorf("%s = %v; want INTERNAL", c.name, err)
				}
			}
			if _, err := s.Create(as(t, "gus"), &groupv1.CreateRequest{Name: "G"}); reason(err) != fault.InternalReason {
				t.Errorf("Create = %v; want INTERNAL", err)
			}
			s.faults.refuse(nil)
			w.balance(t, id)
			if err := add("fay")(s, as(t, "ann"), id); err != nil {
				t.Errorf("add afterwards = %v; want success", err)
			}
			w.balance(t, id)
			if r, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "gus"}); err != nil || len(r.GetMemberships()) != 0 {
				t.Errorf("ListMemberships = %v, %v; want nothing of the refused group", r, err)
			}
		})
	}
}

// A notice may be in the log although message says that its id was used. Writing to the group must go on.
func TestRefusedNoticeDoesNotStaleThePermits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	s.faults.refuse(fault.New(fault.ClientMsgIDReused, "another body"))
	foreign := proto.CloneOf(w.log.of(id)[1])
	foreign.ClientMsgId = "lost"
	if _, err := w.log.append(foreign, anyPermit); err != nil {
		t.Fatal(err)
	}
	if err := update("new")(s, as(t, "ann"), id); reason(err) != fault.InternalReason {
		t.Fatalf("update = %v; want INTERNAL", err)
	}
	r, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.log.send(id, "cyd", r.GetAsOfSeq()); err != nil {
		t.Errorf("send = %v; want success", err)
	}
}

// The database is put back as it was before a change, and the log has the change's notice. Members may write again once
// group was told, members and all else are as the database has them, and a notice says that the group changed.
func TestPutBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	w.db.mu.Lock()
	groups, members := maps.Clone(w.db.groups), maps.Clone(w.db.members[chat.GroupID(id)])
	w.db.mu.Unlock()
	before := len(w.log.of(id))
	if err := add("fay")(s, as(t, "ann"), id); err != nil {
		t.Fatal(err)
	}
	w.db.mu.Lock()
	w.db.groups, w.db.members[chat.GroupID(id)] = groups, members
	w.db.mu.Unlock()
	w.cache = memory.NewCache(memory.Config{}, time.Now)
	s = w.instance()
	may := func(u string) uint64 {
		t.Helper()
		r, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: u})
		if err != nil {
			t.Fatal(err)
		}
		return r.GetAsOfSeq()
	}
	was := may("cyd")
	if _, err := w.log.send(id, "cyd", was); err == nil {
		t.Fatal("the log takes a permission that is older than its newest notice")
	}
	for range 2 { // the second time there is nothing to mend
		if _, err := s.Overtaken(t.Context(), &groupv1.OvertakenRequest{GroupId: id, AsOfSeq: was}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.log.send(id, "cyd", may("cyd")); err != nil {
		t.Errorf("send = %v; want success", err)
	}
	log := w.log.of(id)
	if last := log[len(log)-2]; len(log) != before+3 || last.GetNotice().GetType() != messagev1.NoticeType_NOTICE_TYPE_GROUP_CHANGED {
		t.Errorf("the log = %v; want fay's joining, a change of the group and a message behind what there was", log)
	}
	if _, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "fay"}); reason(err) != fault.NotFoundReason {
		t.Errorf("MaySend of who joined since = %v; want NOT_FOUND", err)
	}
}

// A full log takes no change, but all reading goes on, and the change is completed when there is space.
func TestFullLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	s.faults.refuse(fault.New(fault.LogFull, "full"))
	for range 2 {
		if err := remove("cyd")(s, as(t, "ann"), id); reason(err) != fault.LogFull {
			t.Fatalf("remove = %v; want LOG_FULL", err)
		}
	}
	if _, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"}); err != nil {
		t.Errorf("MaySend = %v; want yes: the notice is not in the log", err)
	}
	if r, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "cyd"}); err != nil || len(r.GetMemberships()) != 1 {
		t.Errorf("ListMemberships = %v, %v; want one", r, err)
	}
	if r, err := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id}); err != nil || len(r.GetUserIds()) != 4 {
		t.Errorf("GetMemberSet = %v, %v; want four", r, err)
	}
	for _, a := range []act{{"get", get}, {"list", list}} {
		if err := a.do(s, as(t, "cyd"), id); err != nil {
			t.Errorf("%s = %v; want an answer", a.name, err)
		}
	}
	s.faults.refuse(nil)
	if _, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"}); reason(err) != fault.NotMember {
		t.Errorf("MaySend with space again = %v; want NOT_MEMBER", err)
	}
	w.balance(t, id)
}

// Without a definite no, nobody gets an answer that may lack what is in the log.
func TestSilentLog(t *testing.T) {
	t.Parallel()
	for _, r := range []fault.Reason{fault.Overloaded, fault.OutcomeUnknown, fault.InternalReason} {
		t.Run(string(r), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s := w.instance()
			id := w.create(t, s)
			s.faults.refuse(fault.New(r, "no answer"))
			if err := remove("cyd")(s, as(t, "ann"), id); reason(err) != fault.OutcomeUnknown {
				t.Errorf("remove = %v; want OUTCOME_UNKNOWN", err)
			}
			for _, c := range []func() error{
				func() error { return get(s, as(t, "cyd"), id) },
				func() error {
					_, err := s.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: "cyd"})
					return err
				},
				func() error {
					_, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "cyd"})
					return err
				},
			} {
				if err := c(); reason(err) != r {
					t.Errorf("a question = %v; want %s", err, r)
				}
			}
			s.faults.refuse(nil)
			if err := get(s, as(t, "cyd"), id); err != nil {
				t.Errorf("get afterwards = %v; want an answer", err)
			}
			w.balance(t, id)
		})
	}
}

// Invariant 10: a change of a newer version is left to newer instances.
func TestChangeOfNewerVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.instance()
	id := w.create(t, s)
	g := w.db.groups[chat.GroupID(id)]
	g.Pending = []byte(`{"schema":2,"id":"x","kind":"new"}`)
	w.db.groups[chat.GroupID(id)] = g
	if err := w.cache.Drop(t.Context(), "group/g/"+id); err != nil { // as the newer instance did
		t.Fatal(err)
	}
	if err := update("new")(s, as(t, "ann"), id); reason(err) != fault.Overloaded {
		t.Errorf("update = %v; want OVERLOADED", err)
	}
	if !w.pending(id) {
		t.Error("the change was thrown away")
	}
}
