package group_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
)

func TestConcurrentAdds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	instances := []*instance{w.instance(), w.instance(), w.instance()}
	id := w.create(t, instances[0])
	const adds = 50
	for i := range adds {
		w.users.add(fmt.Sprintf("u%d", i))
	}
	var wg sync.WaitGroup
	for i := range adds {
		wg.Go(func() {
			// Each names its neighbour too, so that somebody is always a member already.
			err := add(fmt.Sprintf("u%d", i), fmt.Sprintf("u%d", (i+1)%adds))(instances[i%len(instances)], as(t, "ann"), id)
			for fault.CodeOf(err) == fault.Unavailable {
				err = add(fmt.Sprintf("u%d", i))(instances[i%len(instances)], as(t, "ann"), id)
			}
			if err != nil {
				t.Errorf("AddMembers(u%d) = %v", i, err)
			}
		})
	}
	wg.Wait()
	w.balance(t, id)
	r, err := instances[0].Get(as(t, "u7"), &groupv1.GetRequest{GroupId: id})
	if err != nil || r.GetGroup().GetMemberCount() != 4+adds {
		t.Errorf("Get = %v, %v; want %d members", r, err, 4+adds)
	}
}

// race runs two calls at once and returns what they answered.
func race(a, b func() error) (errA, errB error) {
	var wg sync.WaitGroup
	wg.Go(func() { errA = a() })
	wg.Go(func() { errB = b() })
	wg.Wait()
	return errA, errB
}

func TestRacesHaveOneWinner(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		a, b  act
		byA   string
		byB   string
		loser [2]fault.Reason // what a is told when it loses, then b
	}{
		{name: "remove and leave", a: act{"remove", remove("cyd")}, byA: "ann", b: act{"leave", leave}, byB: "cyd", loser: [2]fault.Reason{fault.NotFoundReason, fault.NotMember}},
		{name: "transfer and dissolve", a: act{"transfer", transfer("cyd")}, byA: "ann", b: act{"dissolve", dissolve}, byB: "ann", loser: [2]fault.Reason{fault.NotMember, fault.RoleTooLow}},
		{name: "two transfers", a: act{"transfer", transfer("cyd")}, byA: "ann", b: act{"transfer", transfer("dan")}, byB: "ann", loser: [2]fault.Reason{fault.RoleTooLow, fault.RoleTooLow}},
		{name: "two removals", a: act{"remove", remove("cyd")}, byA: "ann", b: act{"remove", remove("cyd")}, byB: "bob", loser: [2]fault.Reason{fault.NotFoundReason, fault.NotFoundReason}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for range 20 {
				w := newWorld(t)
				one, two := w.instance(), w.instance()
				id := w.create(t, one)
				errA, errB := race(
					func() error { return tt.a.do(one, as(t, tt.byA), id) },
					func() error { return tt.b.do(two, as(t, tt.byB), id) },
				)
				won := errA == nil && reason(errB) == tt.loser[1] || errB == nil && reason(errA) == tt.loser[0]
				if !won {
					t.Errorf("%s, %s = %v, %v; want one success, and %v for the loser", tt.a.name, tt.b.name, errA, errB, tt.loser)
				}
				w.balance(t, id)
			}
		})
	}
}

// A removal that races a send has one answer: what was numbered before it stands, and nothing comes behind it.
func TestRemovalRacesSend(t *testing.T) {
	t.Parallel()
	for range 20 {
		w := newWorld(t)
		one, two := w.instance(), w.instance()
		id := w.create(t, one)
		var sent []uint64
		refusal, err := race(
			func() error {
				for {
					r, err := one.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: "cyd"})
					if err != nil {
						return err
					}
					for { // as message does: the permission is kept until the log calls it stale
						seq, err := w.log.send(id, "cyd", r.GetAsOfSeq())
						if errors.Is(err, errStale) {
							break
						}
						sent = append(sent, seq)
						if len(sent) == 5000 {
							return errors.New("the removal never came")
						}
					}
				}
			},
			func() error { return remove("cyd")(two, as(t, "ann"), id) },
		)
		if err != nil || reason(refusal) != fault.NotMember {
			t.Fatalf("remove, send = %v, %v; want success and NOT_MEMBER", err, refusal)
		}
		m, err := one.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: "cyd"})
		if err != nil {
			t.Fatal(err)
		}
		v := m.GetMembership().GetVisible()
		to := v[len(v)-1].GetTo()
		if e := w.log.of(id)[to-1]; e.GetNotice().GetType() != messagev1.NoticeType_NOTICE_TYPE_MEMBER_REMOVED {
			t.Errorf("cyd sees up to %v; want the removal", e)
		}
		if len(sent) > 0 && slices.Max(sent) > to {
			t.Errorf("cyd wrote %d behind the removal at %d", slices.Max(sent), to)
		}
		if got, want := m.GetMembership().GetLeaveOrdinal(), uint64(len(sent)); got != want {
			t.Errorf("leave ordinal = %d; want %d, the messages before it", got, want)
		}
		w.balance(t, id)
	}
}

// Many instances change one group at random, some of them die at any step, and at any time no answer is older than the
// log was when it was asked (G1, G2, G3).
func TestStorm(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			storm(t, seed)
		})
	}
}

func storm(t *testing.T, seed uint64) {
	w := newWorld(t)
	id := w.create(t, w.instance())
	ctx, stop := context.WithCancel(t.Context())
	var writers, readers sync.WaitGroup
	for n := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, n))
		writers.Go(func() {
			s := w.instance()
			for range 60 {
				if rng.IntN(8) == 0 { // a new process, which may not live long
					s = w.instance()
					s.faults.crashAt, s.faults.effect = 1+rng.IntN(12), rng.IntN(2) == 0
				}
				randomChange(rng)(s, as(t, []string{"ann", "bob", "cyd", "dan", "eve"}[rng.IntN(5)]), id)
			}
		})
	}
	reader := w.instance()
	for n := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 100+n))
		readers.Go(func() {
			for ctx.Err() == nil {
				checkAnswer(t, w, reader, id, []string{"ann", "bob", "cyd", "dan", "eve", "fay", "gus"}[rng.IntN(7)])
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	// Who died between recording a change and dropping the cache left it to those who ask the store, as the sweep does.
	w.cache = memory.NewCache(memory.Config{}, time.Now)
	if _, err := w.instance().GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id}); err != nil {
		t.Fatal(err)
	}
	w.balance(t, id)
}

func randomChange(rng *rand.Rand) func(*instance, context.Context, string) {
	u := []string{"ann", "bob", "cyd", "dan", "eve", "fay", "gus"}[rng.IntN(7)]
	do := []func(*instance, context.Context, string) error{
		add(u), add(u, "fay"), remove(u), leave, role(u, groupv1.Role(1+rng.Int32N(2))), nickname(u, fmt.Sprint(rng.Int())),
		update(fmt.Sprint(rng.Int())), transfer(u),
	}[rng.IntN(8)]
	return func(s *instance, ctx context.Context, id string) { _ = do(s, ctx, id) }
}

// checkAnswer asks for one user and compares with what the log said before and after.
func checkAnswer(t *testing.T, w *world, s *instance, id, u string) {
	before := w.log.noticeSeq(id)
	set, err := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id})
	if err == nil {
		at := set.GetAsOfSeq()
		if at < before {
			t.Errorf("GetMemberSet is as of %d; want at least %d", at, before)
		}
		parts := replay(w.log.of(id)[:at])
		for who, p := range parts {
			if slices.Contains(set.GetUserIds(), who) != (p.role != "") {
				t.Errorf("GetMemberSet as of %d = %v; want %v", at, set.GetUserIds(), parts)
			}
		}
	}
	before = w.log.noticeSeq(id)
	may, err := s.MaySend(t.Context(), &groupv1.MaySendRequest{GroupId: id, UserId: u})
	if err == nil && (may.GetAsOfSeq() < before || replay(w.log.of(id)[:may.GetAsOfSeq()])[u].role == "") {
		t.Errorf("MaySend(%s) = yes as of %d; want no, or at least as of %d", u, may.GetAsOfSeq(), before)
	}
	asked := replay(w.log.of(id))[u]
	list, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: u})
	if err != nil || asked.role == "" {
		return
	}
	joined := asked.spans[len(asked.spans)-1][0]
	if len(list.GetMemberships()) != 1 || list.GetMemberships()[0].GetJoinSeq() < joined {
		t.Errorf("ListMemberships(%s) = %v; want the membership that began at %d", u, list, joined)
	}
}
