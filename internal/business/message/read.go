package message

import (
	"context"
	"errors"
	"fmt"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// MarkRead moves the caller's read cursor forward, to at most what the caller sees of the conversation.
func (s *Service) MarkRead(ctx context.Context, req *messagev1.MarkReadRequest) (*messagev1.MarkReadResponse, error) {
	me := calls.IdentityOf(ctx)
	c, err := chat.ParseConversationID("conversationId", req.GetConversationId())
	if err != nil {
		return nil, err
	}
	scope, err := s.gate.Authorise(ctx, me.UserID, c, permit.Read)
	if err != nil {
		return nil, err
	}
	head, err := s.visibleHead(ctx, scope)
	if err != nil {
		return nil, err
	}
	at := store.Cursor{Seq: min(req.GetSeq(), head.Seq)}
	if at.Seq == head.Seq {
		at.Ordinal = head.Ordinal
	} else if at.Seq > 0 {
		if at.Ordinal, err = s.ordinalAt(ctx, c, at.Seq); err != nil {
			return nil, err
		}
	}
	floor, err := s.floor(ctx, scope)
	if err != nil {
		return nil, err
	}
	if at.Seq < floor.Seq {
		at = floor
	}
	now, moved, err := s.cursors.Advance(ctx, c, me.UserID, at, s.now())
	if err != nil {
		return nil, fmt.Errorf("move the cursor of %s in %s: %w", me.UserID, c, err)
	}
	if moved {
		s.tellRead(ctx, me, c, now)
	}
	return &messagev1.MarkReadResponse{
		Read:   &messagev1.Cursor{Seq: now.Seq, Ordinal: now.Ordinal},
		Unread: head.Ordinal - min(now.Ordinal, head.Ordinal),
	}, nil
}

// floor is where a cursor stands at least: where the member joined, and at the member's own newest message, as
// sending reads up to it. (The writer stores senders' cursors; the log's tail knows what is not stored yet.)
func (s *Service) floor(ctx context.Context, scope permit.Scope) (store.Cursor, error) {
	var at store.Cursor
	if m := scope.Membership; m != nil {
		at = store.Cursor{Seq: m.GetJoinSeq(), Ordinal: m.GetJoinOrdinal()}
	}
	heads, err := s.entries.Heads(ctx, scope.User, []chat.ConversationID{scope.Conversation}, false)
	if err != nil {
		return at, err
	}
	for _, h := range heads {
		if h.Own.Seq > at.Seq {
			at = store.Cursor{Seq: h.Own.Seq, Ordinal: h.Own.Ordinal}
		}
	}
	return at, nil
}

// visibleHead is the conversation's end as the user sees it.
func (s *Service) visibleHead(ctx context.Context, scope permit.Scope) (convlog.Head, error) {
	h, err := s.entries.Head(ctx, scope.Conversation)
	if err != nil {
		return h, err
	}
	if last := scope.Last(h.Seq); last < h.Seq {
		return convlog.Head{Seq: last, Ordinal: scope.Membership.GetLeaveOrdinal()}, nil
	}
	return h, nil
}

// ordinalAt returns the ordinal of an entry, from the log's tail or the database, in this order.
func (s *Service) ordinalAt(ctx context.Context, c chat.ConversationID, seq uint64) (uint64, error) {
	tail, err := s.entries.Tail(ctx, c, seq, seq, 1, false)
	if err != nil {
		return 0, err
	}
	if len(tail.Entries) == 1 {
		return tail.Entries[0].GetOrdinal(), nil
	}
	e, err := s.cursors.Entry(ctx, c, seq)
	if errors.Is(err, store.ErrNotFound) {
		return 0, fault.Wrap(err, fault.InternalReason, "an entry is missing")
	}
	if err != nil {
		return 0, fmt.Errorf("read %s seq %d: %w", c, seq, err)
	}
	return e.Ordinal, nil
}

// tellRead tells the direct peer and the reader's other devices. It may be lost: both are part of the sync.
func (s *Service) tellRead(ctx context.Context, me calls.Identity, c chat.ConversationID, at store.Cursor) {
	if peer := c.Peer(me.UserID); peer != "" && s.seesReceipts(ctx, me.UserID, peer) {
		s.signal(ctx, &flowv1.Signal{
			UserIds: []string{string(peer)},
			Push: &flowv1.Signal_Receipt{Receipt: &wirev1.ReceiptPush{
				ConversationId: string(c), UserId: string(me.UserID), DeliveredSeq: at.Seq, ReadSeq: at.Seq,
			}},
		})
	}
	conv, err := s.query.GetConversation(ctx, &queryv1.GetConversationRequest{ConversationId: string(c)})
	if err != nil {
		if n, ok := s.noise.Allow("tell-read"); ok {
			s.log.WarnContext(ctx, "own devices were not told of a cursor", obs.Err, err, obs.Suppressed, n)
		}
		return
	}
	s.signal(ctx, &flowv1.Signal{
		UserIds: []string{string(me.UserID)}, ExceptConnectionId: string(me.ConnectionID),
		Push: &flowv1.Signal_Conversation{Conversation: &wirev1.ConversationPush{Conversation: conv.GetConversation()}},
	})
}

// seesReceipts is false between users of whom one blocks the other.
func (s *Service) seesReceipts(ctx context.Context, reader, peer chat.UserID) bool {
	rel, err := s.users.GetRelation(ctx, &userv1.GetRelationRequest{ActorId: string(reader), TargetId: string(peer)})
	return err == nil && !rel.GetBlocked() && !rel.GetBlocks()
}

// Typing tells the others that the caller is writing.
func (s *Service) Typing(ctx context.Context, req *messagev1.TypingRequest) (*messagev1.TypingResponse, error) {
	me := calls.IdentityOf(ctx)
	c, err := chat.ParseConversationID("conversationId", req.GetConversationId())
	if err != nil {
		return nil, err
	}
	if _, err := s.gate.Authorise(ctx, me.UserID, c, permit.Write); err != nil {
		return nil, err
	}
	others, err := s.others(ctx, me.UserID, c)
	if err != nil {
		return nil, err
	}
	s.signal(ctx, &flowv1.Signal{
		UserIds: others,
		Push:    &flowv1.Signal_Typing{Typing: &wirev1.TypingPush{ConversationId: string(c), UserId: string(me.UserID)}},
	})
	return &messagev1.TypingResponse{}, nil
}

// others returns who hears that u is typing: the peer, or the members of a group that is not too large.
func (s *Service) others(ctx context.Context, u chat.UserID, c chat.ConversationID) ([]string, error) {
	if peer := c.Peer(u); peer != "" {
		return []string{string(peer)}, nil
	}
	set, err := s.groups.GetMemberSet(ctx, &groupv1.GetMemberSetRequest{GroupId: string(c.Group())})
	if err != nil {
		return nil, fmt.Errorf("ask for the members of %s: %w", c, err)
	}
	if len(set.GetUserIds()) > s.cfg.MaxTypingGroup {
		return nil, nil
	}
	var others []string
	for _, id := range set.GetUserIds() {
		if id != string(u) {
			others = append(others, id)
		}
	}
	return others, nil
}
