package group_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/business/group"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/store/sqlite"
)

// TestOverSQLite takes one group through the real embedded database: what the fake keeps for free must survive it.
func TestOverSQLite(t *testing.T) {
	t.Parallel()
	db, err := sqlite.Open(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	w := newWorld(t)
	quiet := slog.New(slog.DiscardHandler)
	net := inproc.New(quiet)
	messagev1.RegisterMessageInternalServiceServer(net, &logOf{fakeLog: w.log, f: &faults{}})
	userv1.RegisterUserInternalServiceServer(net, w.users)
	s := &instance{Service: group.New(w.cfg, group.Deps{
		Groups: db.Groups(), Members: db.Members(), Cache: w.cache, Network: net,
		Limits: memory.NewLimits(memory.Config{}, time.Now),
	}, quiet, prometheus.NewRegistry())}
	id := w.create(t, s)

	const adds = 20
	var wg sync.WaitGroup
	for i := range adds {
		u := fmt.Sprintf("u%d", i)
		w.users.add(u)
		wg.Go(func() {
			if err := add(u)(s, as(t, "ann"), id); err != nil {
				t.Errorf("AddMembers(%s) = %v", u, err)
			}
		})
	}
	wg.Wait()
	_, err = s.Update(as(t, "ann"), &groupv1.UpdateRequest{GroupId: id, HistoryVisibility: groupv1.HistoryVisibility_HISTORY_VISIBILITY_ALL.Enum()})
	if err == nil {
		err = add("fay")(s, as(t, "bob"), id)
	}
	if err == nil {
		err = mute("cyd", time.Hour)(s, as(t, "bob"), id)
	}
	if err == nil {
		err = remove("fay")(s, as(t, "bob"), id)
	}
	if err != nil {
		t.Fatal(err)
	}

	last := w.log.noticeSeq(id)
	m, err := s.GetMembership(t.Context(), &groupv1.GetMembershipRequest{GroupId: id, UserId: "fay"})
	if v := m.GetMembership().GetVisible(); err != nil || len(v) != 1 || v[0].GetFrom() != 1 || v[0].GetTo() != last ||
		m.GetMembership().GetJoinSeq() != last-2 {
		t.Errorf("GetMembership(fay) = %v, %v; want 1 to %d, joined at %d", m, err, last, last-2)
	}
	set, err := s.GetMemberSet(t.Context(), &groupv1.GetMemberSetRequest{GroupId: id})
	if err != nil || len(set.GetUserIds()) != 4+adds || slices.Contains(set.GetUserIds(), "fay") || set.GetAsOfSeq() != last {
		t.Errorf("GetMemberSet = %v, %v; want %d members as of %d", set, err, 4+adds, last)
	}
	r, err := s.ListMembers(as(t, "cyd"), &groupv1.ListMembersRequest{GroupId: id})
	if err != nil || len(r.GetMembers()) != 4+adds || r.GetMembers()[0].GetUser().GetUserId() != "ann" {
		t.Errorf("ListMembers = %v, %v; want %d members, ann first", r, err, 4+adds)
	}
	if err := dissolve(s, as(t, "ann"), id); err != nil {
		t.Fatal(err)
	}
	ms, err := s.ListMemberships(t.Context(), &groupv1.ListMembershipsRequest{UserId: "u7"})
	if err != nil || len(ms.GetMemberships()) != 1 || ms.GetMemberships()[0].GetVisible()[0].GetTo() != last+1 {
		t.Errorf("ListMemberships(u7) = %v, %v; want one that ends at %d", ms, err, last+1)
	}
}
