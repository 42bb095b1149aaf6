package user_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

func (w *world) friendsOf(u string) string {
	w.t.Helper()
	resp, err := w.pub.ListFriends(w.as(u), &userv1.ListFriendsRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	var ids []string
	for _, f := range resp.GetFriends() {
		ids = append(ids, f.GetUser().GetUserId())
	}
	return strings.Join(ids, " ")
}

func (w *world) requestsOf(u string, d userv1.Direction) string {
	w.t.Helper()
	resp, err := w.pub.ListFriendRequests(w.as(u), &userv1.ListFriendRequestsRequest{Direction: d})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, r := range resp.GetRequests() {
		out = append(out, r.GetUser().GetUserId()+":"+r.GetMessage())
	}
	return strings.Join(out, " ")
}

const (
	incoming = userv1.Direction_DIRECTION_INCOMING
	outgoing = userv1.Direction_DIRECTION_OUTGOING
)

// USER-1: request, accept, remove; and what each puts into whose inbox.
func TestFriendship(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	wantReason(t, "accept before a request", w.accept("bob", "ann"), fault.NotFoundReason)
	wantReason(t, "request", w.request("ann", "bob", "hi"), "")
	wantReason(t, "request again", w.request("ann", "bob", "again"), "")
	if got := w.requestsOf("bob", incoming); got != "ann:hi" {
		t.Errorf("bob's incoming = %q; want ann:hi", got)
	}
	if got := w.requestsOf("ann", outgoing); got != "bob:hi" {
		t.Errorf("ann's outgoing = %q; want bob:hi", got)
	}
	if r := w.relation("ann", "bob"); r.GetFriends() {
		t.Error("friends before the answer")
	}
	wantReason(t, "one's own request is not one's to accept", w.accept("ann", "bob"), fault.NotFoundReason)
	wantReason(t, "accept", w.accept("bob", "ann"), "")
	wantReason(t, "accept again", w.accept("bob", "ann"), "")
	wantReason(t, "request of a friend", w.request("ann", "bob", "hi"), "")
	for _, p := range [][2]string{{"ann", "bob"}, {"bob", "ann"}} {
		if got := w.friendsOf(p[0]); got != p[1] {
			t.Errorf("friends of %s = %q; want %s", p[0], got, p[1])
		}
		if !w.relation(p[0], p[1]).GetFriends() {
			t.Errorf("GetRelation(%s, %s): not friends", p[0], p[1])
		}
		if got := w.requestsOf(p[0], incoming) + w.requestsOf(p[0], outgoing); got != "" {
			t.Errorf("requests of %s = %q; want none", p[0], got)
		}
	}
	want := []string{"i~bob by ann: request of ann: hi", "i~ann by bob: added bob", "i~bob by bob: added ann"}
	if d := cmp.Diff(want, w.messages.lines()); d != "" {
		t.Errorf("inboxes (-want +got):\n%s", d)
	}
	_, err := w.pub.RemoveFriend(w.as("ann"), &userv1.RemoveFriendRequest{UserId: "bob"})
	wantReason(t, "remove", err, "")
	_, err = w.pub.RemoveFriend(w.as("bob"), &userv1.RemoveFriendRequest{UserId: "ann"})
	wantReason(t, "remove from the other side", err, fault.NotFoundReason)
	if w.friendsOf("ann")+w.friendsOf("bob") != "" || w.relation("bob", "ann").GetFriends() {
		t.Error("still friends after removal")
	}
	// A second friendship is told again.
	w.befriend("bob", "ann")
	if got := len(w.messages.lines()); got != 6 {
		t.Errorf("entries after a second friendship = %d; want 6", got)
	}
}

func TestCrossingRequestsMakeFriends(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	// Who asks may be answered also by somebody who takes no requests.
	if _, err := w.pub.UpdateSettings(w.as("ann"), &userv1.UpdateSettingsRequest{WhoMayAdd: nobody.Enum()}); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "request to who takes none", w.request("bob", "ann", ""), fault.NotAllowed)
	wantReason(t, "ann asks", w.request("ann", "bob", "x"), "")
	wantReason(t, "bob asks", w.request("bob", "ann", "y"), "")
	want := []string{"i~bob by ann: request of ann: x", "i~ann by bob: added bob", "i~bob by bob: added ann"}
	if d := cmp.Diff(want, w.messages.lines()); d != "" || w.friendsOf("ann") != "bob" {
		t.Errorf("friends %q, inboxes (-want +got):\n%s", w.friendsOf("ann"), d)
	}
}

func TestDecline(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	wantReason(t, "request", w.request("ann", "bob", "hi"), "")
	decline := func() error {
		_, err := w.pub.DeclineFriend(w.as("bob"), &userv1.DeclineFriendRequest{UserId: "ann"})
		return err
	}
	wantReason(t, "decline", decline(), "")
	wantReason(t, "decline again", decline(), fault.NotFoundReason)
	wantReason(t, "accept what was declined", w.accept("bob", "ann"), fault.NotFoundReason)
	if got := w.requestsOf("ann", outgoing) + w.requestsOf("bob", incoming); got != "" {
		t.Errorf("requests after decline = %q; want none", got)
	}
	wantReason(t, "request anew", w.request("ann", "bob", "please"), "")
	want := []string{"i~bob by ann: request of ann: hi", "i~bob by ann: request of ann: please"}
	if d := cmp.Diff(want, w.messages.lines()); d != "" {
		t.Errorf("inboxes (-want +got):\n%s", d)
	}
}

// A blocked user's request looks like any other to itself and like none to who blocks.
func TestRequestOfBlockedUser(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	wantReason(t, "block", w.block("bob", "ann"), "")
	wantReason(t, "request", w.request("ann", "bob", "hi"), "")
	wantReason(t, "request again", w.request("ann", "bob", "hi"), "")
	if got := w.requestsOf("ann", outgoing); got != "bob:hi" {
		t.Errorf("ann's outgoing = %q; want bob:hi", got)
	}
	if got := w.requestsOf("bob", incoming); got != "" {
		t.Errorf("bob's incoming = %q; want none", got)
	}
	wantReason(t, "accept of a blocked one", w.accept("bob", "ann"), fault.NotFoundReason)
	wantReason(t, "request to whom one blocks", w.request("bob", "ann", ""), fault.NotAllowed)
	if got := w.messages.lines(); len(got) != 0 {
		t.Errorf("inboxes = %q; want nothing", got)
	}
	// With requests switched off the answer is that of anybody else.
	if _, err := w.pub.UpdateSettings(w.as("bob"), &userv1.UpdateSettingsRequest{WhoMayAdd: nobody.Enum()}); err != nil {
		t.Fatal(err)
	}
	wantReason(t, "unblock", w.unblock("bob", "ann"), "")
	if got := w.requestsOf("bob", incoming); got != "ann:hi" {
		t.Errorf("bob's incoming after unblock = %q; want ann:hi", got)
	}
}

func TestFriendLimit(t *testing.T) {
	w := newWorld(t, "ann", "b1", "b2", "b3", "b4") // the limit is 3
	for _, b := range []string{"b1", "b2", "b3"} {
		w.befriend("ann", b)
	}
	wantReason(t, "request", w.request("b4", "ann", ""), "")
	wantReason(t, "accept beyond the limit", w.accept("ann", "b4"), fault.LimitReached)
	wantReason(t, "crossing beyond the limit", w.request("ann", "b4", ""), fault.LimitReached)
	if got := w.friendsOf("ann"); got != "b1 b2 b3" {
		t.Errorf("friends = %q; want b1 b2 b3", got)
	}
	ids, err := w.internal.ListFriendIds(t.Context(), &userv1.ListFriendIdsRequest{UserId: "ann"})
	if err != nil || len(ids.GetUserIds()) != 3 {
		t.Errorf("ListFriendIds = %v, %v; want three", ids, err)
	}
}

func TestUpdateFriend(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	w.befriend("ann", "bob")
	steps := []struct {
		name string
		req  *userv1.UpdateFriendRequest
		want string
	}{
		{"all", &userv1.UpdateFriendRequest{
			Remark: new(" Bobby "), Starred: new(true), Tags: &userv1.TagList{Values: []string{"a", " b ", "a"}},
		}, "Bobby [a b] true"},
		{"nothing", &userv1.UpdateFriendRequest{}, "Bobby [a b] true"},
		{"clear the tags", &userv1.UpdateFriendRequest{Tags: &userv1.TagList{}}, "Bobby [] true"},
		{"clear the rest", &userv1.UpdateFriendRequest{Remark: new(""), Starred: new(false)}, " [] false"},
	}
	for _, s := range steps {
		s.req.UserId = "bob"
		resp, err := w.pub.UpdateFriend(w.as("ann"), s.req)
		f := resp.GetFriend()
		if got := fmt.Sprint(f.GetRemark(), " ", f.GetTags(), " ", f.GetStarred()); got != s.want || err != nil {
			t.Errorf("%s: UpdateFriend = %q, %v; want %q", s.name, got, err, s.want)
		}
		if f.GetUser().GetUserId() != "bob" || f.GetSince().AsTime().IsZero() {
			t.Errorf("%s: friend = %v; want bob with a time", s.name, f)
		}
	}
	other, err := w.pub.ListFriends(w.as("bob"), &userv1.ListFriendsRequest{})
	if err != nil || other.GetFriends()[0].GetRemark() != "" {
		t.Errorf("bob sees %v, %v; want none of ann's notes", other, err)
	}
}

func TestListsArePaged(t *testing.T) {
	w := newWorld(t, "ann", "b1", "b2", "b3")
	for _, b := range []string{"b1", "b2", "b3"} {
		w.befriend(b, "ann")
		wantReason(t, "block", w.block("ann", b), "")
	}
	one := int32(1)
	var friends, blocks []string
	for token := ""; ; {
		resp, err := w.pub.ListFriends(w.as("ann"), &userv1.ListFriendsRequest{PageSize: &one, PageToken: token})
		if err != nil || len(resp.GetFriends()) != 1 {
			t.Fatalf("ListFriends = %v, %v; want one", resp, err)
		}
		friends = append(friends, resp.GetFriends()[0].GetUser().GetUserId())
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	for token := ""; ; {
		resp, err := w.pub.ListBlocks(w.as("ann"), &userv1.ListBlocksRequest{PageSize: &one, PageToken: token})
		if err != nil || len(resp.GetUsers()) != 1 {
			t.Fatalf("ListBlocks = %v, %v; want one", resp, err)
		}
		blocks = append(blocks, resp.GetUsers()[0].GetUserId())
		if token = resp.GetNextPageToken(); token == "" {
			break
		}
	}
	if got := strings.Join(friends, " "); got != "b1 b2 b3" {
		t.Errorf("friends = %q; want b1 b2 b3", got)
	}
	if len(blocks) != 3 || blocks[0] == blocks[1] || blocks[1] == blocks[2] {
		t.Errorf("blocks = %q; want three", blocks)
	}
}

// Invariant 3: fifty accepts at once have one effect.
func TestConcurrentAccepts(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	wantReason(t, "request", w.request("ann", "bob", "hi"), "")
	var wg sync.WaitGroup
	errs := make([]error, 50)
	for i := range errs {
		wg.Go(func() { errs[i] = w.accept("bob", "ann") })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("accepts = %v; want nil", err)
	}
	want := []string{"i~bob by ann: request of ann: hi", "i~ann by bob: added bob", "i~bob by bob: added ann"}
	if d := cmp.Diff(want, w.messages.lines()); d != "" {
		t.Errorf("inboxes (-want +got):\n%s", d)
	}
}

// Requests of both at once end as one friendship, told once.
func TestConcurrentCrossing(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		from, to := "ann", "bob"
		if i%2 == 1 {
			from, to = to, from
		}
		wg.Go(func() { errs[i] = w.request(from, to, "from "+from) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("requests = %v; want nil", err)
	}
	requests, added := 0, 0
	for _, l := range w.messages.lines() {
		if strings.Contains(l, "request of") {
			requests++
		} else {
			added++
		}
	}
	if requests != 1 || added != 2 || w.friendsOf("ann") != "bob" {
		t.Errorf("inboxes = %q; want one request and one pair", w.messages.lines())
	}
}

// A command whose entries could not be appended is completed by its repetition, by the pair's next command, and by the
// sweep; each entry comes once and in order.
func TestHalfDoneChangesAreCompleted(t *testing.T) {
	full := func(*messagev1.Entry) error { return fault.New(fault.LogFull, "full") }
	want := []string{"i~bob by ann: request of ann: hi", "i~ann by bob: added bob", "i~bob by bob: added ann"}
	// half fails the second entry of a pair.
	half := func(e *messagev1.Entry) error {
		if e.GetConversationId() == "i~bob" && e.GetKind() == messagev1.EntryKind_ENTRY_KIND_FRIEND_ADDED {
			return full(e)
		}
		return nil
	}
	t.Run("by repetition", func(t *testing.T) {
		w := newWorld(t, "ann", "bob")
		w.messages.failWith(full)
		wantReason(t, "request", w.request("ann", "bob", "hi"), fault.LogFull)
		wantReason(t, "request", w.request("ann", "bob", "hi"), fault.LogFull)
		w.messages.failWith(half)
		wantReason(t, "request repeated", w.request("ann", "bob", "hi"), "")
		wantReason(t, "accept", w.accept("bob", "ann"), fault.LogFull)
		w.messages.failWith(nil)
		wantReason(t, "accept repeated", w.accept("bob", "ann"), "")
		if d := cmp.Diff(want, w.messages.lines()); d != "" {
			t.Errorf("inboxes (-want +got):\n%s", d)
		}
	})
	t.Run("by the next command of the same side", func(t *testing.T) {
		w := newWorld(t, "ann", "bob")
		w.messages.failWith(full)
		wantReason(t, "request", w.request("ann", "bob", "hi"), fault.LogFull)
		_, err := w.pub.DeclineFriend(w.as("bob"), &userv1.DeclineFriendRequest{UserId: "ann"})
		wantReason(t, "decline", err, "")
		w.messages.failWith(nil)
		wantReason(t, "request anew", w.request("ann", "bob", "please"), "")
		want := []string{"i~bob by ann: request of ann: hi", "i~bob by ann: request of ann: please"}
		if d := cmp.Diff(want, w.messages.lines()); d != "" {
			t.Errorf("inboxes (-want +got):\n%s", d)
		}
	})
	t.Run("by the sweep", func(t *testing.T) {
		w := newWorld(t, "ann", "bob", "eve")
		w.messages.failWith(full)
		wantReason(t, "request", w.request("ann", "bob", "hi"), fault.LogFull)
		wantReason(t, "accept", w.accept("bob", "ann"), fault.LogFull)
		w.run()
		w.messages.failWith(nil)
		eventually(t, "all entries are there", func() bool { return len(w.messages.lines()) >= 3 })
		wantReason(t, "another pair", w.request("ann", "eve", "x"), "")
		got := w.messages.lines()
		for _, l := range append(want, "i~eve by ann: request of ann: x") {
			n := 0
			for _, g := range got {
				if g == l {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%q comes %d times in %q; want once", l, n, got)
			}
		}
	})
}

// Changes that this version cannot complete, however many, hold up no others, and are counted.
func TestSweepPassesWhatIsStuck(t *testing.T) {
	w := newWorld(t, "ann", "bob")
	for n := range 450 {
		_, _, err := w.rels.Update(t.Context(), "eve", chat.UserID(fmt.Sprint("u", n)), func(ab, _ *store.Relation) error {
			ab.Pending = fmt.Sprint("a-newer-kind-", n)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.messages.failWith(func(*messagev1.Entry) error { return fault.New(fault.LogFull, "full") })
	wantReason(t, "request", w.request("ann", "bob", "hi"), fault.LogFull)
	w.messages.failWith(nil)
	w.run()
	eventually(t, "the request is told", func() bool { return len(w.messages.lines()) == 1 })
	eventually(t, "the others are counted", func() bool {
		families, err := w.reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() == "oceanchat_user_changes_pending" {
				return f.GetMetric()[0].GetGauge().GetValue() == 450
			}
		}
		return false
	})
}
