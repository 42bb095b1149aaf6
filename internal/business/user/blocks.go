package user

import (
	"context"
	"fmt"
	"slices"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Block stops a user from writing to the caller. Whatever the blocked one still has in flight gets a seq above the head
// that is read before the block is stored, so it falls into the range that is withheld from there on (invariant 4).
// What was sent between the two moments falls into it too.
func (s *Service) Block(ctx context.Context, r *userv1.BlockRequest) (*userv1.BlockResponse, error) {
	actor, target, err := s.other(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	head, err := s.head(ctx, actor, target)
	if err != nil {
		return nil, err
	}
	at := now()
	_, _, err = s.pairs.update(ctx, actor, target, func(ab, _ *store.Relation) error {
		if ab.Blocked {
			return nil
		}
		ab.Blocked, ab.BlockedAt = true, at
		ab.Withheld = openRange(ab.Withheld, head)
		ab.RequestedAt = time.Time{} // one's own request is withdrawn
		forget(ab)
		return nil
	})
	return &userv1.BlockResponse{}, err
}

// Unblock ends a block; the range that is withheld ends at the head. It is no error if there is no block.
func (s *Service) Unblock(ctx context.Context, r *userv1.UnblockRequest) (*userv1.UnblockResponse, error) {
	actor, target, err := s.other(ctx, r.GetUserId())
	if err != nil {
		return nil, err
	}
	head, err := s.head(ctx, actor, target)
	if err != nil {
		return nil, err
	}
	_, _, err = s.pairs.update(ctx, actor, target, func(ab, _ *store.Relation) error {
		if !ab.Blocked {
			return nil
		}
		ab.Blocked, ab.BlockedAt = false, time.Time{}
		ab.Withheld = closeRange(ab.Withheld, head)
		return nil
	})
	return &userv1.UnblockResponse{}, err
}

// maxRanges bounds the ranges of a pair, for those who block and unblock by turns. Beyond it the two oldest become one:
// a message that was seen between them is withheld then, which is the harmless side.
const maxRanges = 64

// openRange begins to withhold behind head. A range that ended just there goes on.
func openRange(rs []store.SeqRange, head uint64) []store.SeqRange {
	rs = slices.Clone(rs)
	if n := len(rs); n > 0 && (rs[n-1].To == 0 || rs[n-1].To >= head) {
		rs[n-1].To = 0
		return rs
	}
	rs = append(rs, store.SeqRange{From: head + 1})
	if len(rs) > maxRanges {
		rs[1].From = rs[0].From
		rs = rs[1:]
	}
	return rs
}

// closeRange ends the open range at head, and forgets it if nothing fell into it.
func closeRange(rs []store.SeqRange, head uint64) []store.SeqRange {
	rs = slices.Clone(rs)
	n := len(rs)
	if n == 0 || rs[n-1].To != 0 {
		return rs
	}
	if head < rs[n-1].From {
		return rs[:n-1]
	}
	rs[n-1].To = head
	return rs
}

// head returns where the direct conversation of two users ends, 0 if it has not begun.
func (s *Service) head(ctx context.Context, a, b chat.UserID) (uint64, error) {
	c, err := chat.DirectID(a, b)
	if err != nil {
		return 0, err
	}
	resp, err := s.inbox.messages.GetHeads(ctx, &messagev1.GetHeadsRequest{
		UserId: string(a), ConversationIds: []string{string(c)}, Stored: true,
	})
	if err != nil {
		return 0, fmt.Errorf("ask for the head of %s: %w", c, err)
	}
	for _, h := range resp.GetHeads() {
		if h.GetConversationId() == string(c) {
			return h.GetSeq(), nil
		}
	}
	return 0, nil
}
