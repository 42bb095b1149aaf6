package permit_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/calls/inproc"
)

// users knows ann, bob, cid and dan. bob blocks cid and withholds what cid sent from seq 5 on; dan takes no messages.
type users struct {
	userv1.UnimplementedUserInternalServiceServer
	err error
}

func (u users) GetRelation(_ context.Context, r *userv1.GetRelationRequest) (*userv1.GetRelationResponse, error) {
	known := map[string]bool{"ann": true, "bob": true, "cid": true, "dan": true}
	blocked := r.GetActorId() == "cid" && r.GetTargetId() == "bob"
	out := &userv1.GetRelationResponse{
		ActorExists: known[r.GetActorId()], TargetExists: known[r.GetTargetId()], Blocked: blocked,
		MayWrite: known[r.GetTargetId()] && !blocked && r.GetTargetId() != "dan",
	}
	if blocked {
		out.Withheld = []*userv1.SeqRange{{From: 5}}
	}
	return out, u.err
}

// groups knows team: ann is a member since seq 3, bob one that is muted, cid left after two stays, dan has a row but
// was never in.
type groups struct {
	groupv1.UnimplementedGroupInternalServiceServer
	err error
}

var until = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func (g groups) MaySend(_ context.Context, r *groupv1.MaySendRequest) (*groupv1.MaySendResponse, error) {
	if g.err != nil {
		return nil, g.err
	}
	if r.GetGroupId() == "team" {
		switch r.GetUserId() {
		case "ann":
			return &groupv1.MaySendResponse{AsOfSeq: 7, Until: timestamppb.New(until)}, nil
		case "bob":
			return nil, fault.New(fault.Muted, "muted")
		case "cid":
			return nil, fault.New(fault.NotMember, "not a member any more")
		}
	}
	return nil, fault.New(fault.NotFoundReason, "no such group")
}

func (g groups) GetMembership(_ context.Context, r *groupv1.GetMembershipRequest) (*groupv1.GetMembershipResponse, error) {
	if g.err != nil {
		return nil, g.err
	}
	visible := map[string][]*userv1.SeqRange{
		"ann": {{From: 3}}, "bob": {{From: 1}}, "cid": {{From: 2, To: 4}, {From: 8, To: 9}}, "dan": {},
	}[r.GetUserId()]
	if r.GetGroupId() != "team" || visible == nil {
		return nil, fault.New(fault.NotFoundReason, "no such group")
	}
	return &groupv1.GetMembershipResponse{Membership: &groupv1.Membership{GroupId: "team", Visible: visible}}, nil
}

func newGate(u users, g groups) *permit.Gate {
	net := inproc.New(slog.New(slog.DiscardHandler))
	userv1.RegisterUserInternalServiceServer(net, u)
	groupv1.RegisterGroupInternalServiceServer(net, g)
	return permit.New(userv1.NewUserInternalServiceClient(net), groupv1.NewGroupInternalServiceClient(net))
}

// MSG-1, USER-2, GROUP-2: every verb, every kind of conversation, everybody who could ask.
func TestAuthorise(t *testing.T) {
	t.Parallel()
	open := []permit.Range{{From: 1}}
	tests := []struct {
		name string
		u    chat.UserID
		c    chat.ConversationID
		verb permit.Verb
		want permit.Scope
		err  fault.Reason
	}{
		{name: "direct read", u: "ann", c: "d~ann~bob", verb: permit.Read, want: permit.Scope{Visible: open}},
		{name: "direct read, other end", u: "bob", c: "d~ann~bob", verb: permit.Read, want: permit.Scope{Visible: open}},
		{name: "direct read by who blocks", u: "bob", c: "d~bob~cid", verb: permit.Read, want: permit.Scope{Visible: open, Withheld: []permit.Range{{From: 5}}}},
		{name: "direct read by the blocked", u: "cid", c: "d~bob~cid", verb: permit.Read, want: permit.Scope{Visible: open}},
		{name: "direct read with nobody", u: "ann", c: "d~ann~zed", verb: permit.Read, err: fault.NotFoundReason},
		{name: "direct read by stranger", u: "cid", c: "d~ann~bob", verb: permit.Read, err: fault.NotFoundReason},
		{name: "direct read by nobody", u: "", c: "d~ann~bob", verb: permit.Read, err: fault.NotFoundReason},
		{name: "direct write", u: "ann", c: "d~ann~bob", verb: permit.Write, want: permit.Scope{Visible: open}},
		{name: "direct write by who blocks", u: "bob", c: "d~bob~cid", verb: permit.Write, want: permit.Scope{Visible: open}},
		{name: "direct write by the blocked", u: "cid", c: "d~bob~cid", verb: permit.Write, err: fault.NotAllowed},
		{name: "direct write to friends only", u: "ann", c: "d~ann~dan", verb: permit.Write, err: fault.NotAllowed},
		{name: "direct write to nobody", u: "ann", c: "d~ann~zed", verb: permit.Write, err: fault.NotFoundReason},
		{name: "direct write by stranger", u: "cid", c: "d~ann~bob", verb: permit.Write, err: fault.NotFoundReason},

		{name: "group read", u: "ann", c: "g~team", verb: permit.Read, want: permit.Scope{Visible: []permit.Range{{From: 3}}}},
		{name: "group read, muted", u: "bob", c: "g~team", verb: permit.Read, want: permit.Scope{Visible: open}},
		{name: "group read, left", u: "cid", c: "g~team", verb: permit.Read, want: permit.Scope{Visible: []permit.Range{{From: 2, To: 4}, {From: 8, To: 9}}}},
		{name: "group read, row without a stay", u: "dan", c: "g~team", verb: permit.Read, err: fault.NotFoundReason},
		{name: "group read by stranger", u: "eve", c: "g~team", verb: permit.Read, err: fault.NotFoundReason},
		{name: "no group, read", u: "ann", c: "g~none", verb: permit.Read, err: fault.NotFoundReason},
		{name: "group write", u: "ann", c: "g~team", verb: permit.Write, want: permit.Scope{Visible: open, AsOf: 7, Until: until}},
		{name: "group write, muted", u: "bob", c: "g~team", verb: permit.Write, err: fault.Muted},
		{name: "group write, left", u: "cid", c: "g~team", verb: permit.Write, err: fault.NotMember},
		{name: "group write by stranger", u: "eve", c: "g~team", verb: permit.Write, err: fault.NotFoundReason},
		{name: "no group, write", u: "ann", c: "g~none", verb: permit.Write, err: fault.NotFoundReason},

		{name: "inbox read", u: "ann", c: "i~ann", verb: permit.Read, want: permit.Scope{Visible: open}},
		{name: "inbox read by stranger", u: "bob", c: "i~ann", verb: permit.Read, err: fault.NotFoundReason},
		{name: "inbox write", u: "ann", c: "i~ann", verb: permit.Write, err: fault.NotFoundReason},
		{name: "inbox write by stranger", u: "bob", c: "i~ann", verb: permit.Write, err: fault.NotFoundReason},

		{name: "no conversation id", u: "ann", c: "", verb: permit.Read, err: fault.NotFoundReason},
		{name: "ends in the wrong order", u: "ann", c: "d~bob~ann", verb: permit.Read, err: fault.NotFoundReason},
		{name: "unknown kind", u: "ann", c: "x~ann", verb: permit.Write, err: fault.NotFoundReason},
		{name: "with oneself", u: "ann", c: "d~ann~ann", verb: permit.Write, err: fault.NotFoundReason},
	}
	gate := newGate(users{}, groups{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := gate.Authorise(t.Context(), tt.u, tt.c, tt.verb)
			if reason := fault.ReasonOf(err); reason != tt.err {
				t.Fatalf("Authorise(%s, %s, %d) = %v, reason %q; want %q", tt.u, tt.c, tt.verb, err, reason, tt.err)
			}
			if tt.err != "" {
				// What is not yours answers exactly as what is not there.
				if d := cmp.Diff(fault.Of(permit.NotFound()), fault.Of(err)); tt.err == fault.NotFoundReason && d != "" {
					t.Errorf("Authorise(%s, %s, %d) tells more than NOT_FOUND (-want +got):\n%s", tt.u, tt.c, tt.verb, d)
				}
				return
			}
			tt.want.User, tt.want.Conversation = tt.u, tt.c
			if d := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(permit.Scope{}, "Membership"), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("Authorise(%s, %s, %d) (-want +got):\n%s", tt.u, tt.c, tt.verb, d)
			}
			if isGroupRead := tt.c.Kind() == chat.KindGroup && tt.verb == permit.Read; isGroupRead != (got.Membership != nil) {
				t.Errorf("Authorise(%s, %s, %d) membership = %v; want one only for reading a group", tt.u, tt.c, tt.verb, got.Membership)
			}
		})
	}
}

// An owner that fails is not an owner that says no, in either direction.
func TestAuthoriseFailure(t *testing.T) {
	t.Parallel()
	down := fault.New(fault.Overloaded, "down")
	for name, err := range map[string]error{"fault": down, "any error": errors.New("broken")} {
		gate := newGate(users{err: err}, groups{err: err})
		want := fault.ReasonOf(err)
		for _, c := range []chat.ConversationID{"d~ann~bob", "g~team"} {
			for _, verb := range []permit.Verb{permit.Read, permit.Write} {
				if _, err := gate.Authorise(t.Context(), "ann", c, verb); fault.ReasonOf(err) != want {
					t.Errorf("%s: Authorise(ann, %s, %d) = %v; want %s", name, c, verb, err, want)
				}
			}
		}
	}
}

func TestScope(t *testing.T) {
	t.Parallel()
	stays := permit.Scope{User: "ann", Visible: []permit.Range{{From: 2, To: 4}, {From: 8, To: 9}}}
	back := permit.Scope{User: "ann", Visible: []permit.Range{{From: 2, To: 4}, {From: 8}}}
	blocks := permit.Scope{User: "ann", Visible: []permit.Range{{From: 1}}, Withheld: []permit.Range{{From: 3, To: 4}, {From: 7}}}
	for _, tt := range []struct {
		name  string
		s     permit.Scope
		first uint64
		last  uint64 // of a log that ends at 10
		bobs  string // seqs of bob's among 0 to 10 that are shown
		anns  string
	}{
		{"two stays", stays, 2, 9, "..234...89.", "..234...89."},
		{"came back", back, 2, 10, "..234...89a", "..234...89a"},
		{"withheld, own are not", blocks, 1, 10, ".12..56....", ".123456789a"},
	} {
		if got := tt.s.First(); got != tt.first {
			t.Errorf("%s: First() = %d; want %d", tt.name, got, tt.first)
		}
		if got := tt.s.Last(10); got != tt.last {
			t.Errorf("%s: Last(10) = %d; want %d", tt.name, got, tt.last)
		}
		if got := tt.s.Last(3); got != 3 {
			t.Errorf("%s: Last(3) = %d; want 3: not beyond the log's end", tt.name, got)
		}
		for sender, want := range map[chat.UserID]string{"bob": tt.bobs, "ann": tt.anns} {
			var got strings.Builder
			for seq := range uint64(11) {
				c := "."
				if tt.s.Sees(seq, sender) {
					c = string("0123456789a"[seq])
				}
				got.WriteString(c)
			}
			if got.String() != want {
				t.Errorf("%s: seqs of %s that are seen = %s; want %s", tt.name, sender, got.String(), want)
			}
		}
	}
}
