package query

import (
	"cmp"
	"context"
	"slices"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// outline is what it takes to order a user's conversations: which there are, and where they stand. It is cheap, so it
// is made for all of them; the rest is built for one page.
type outline struct {
	permit.Scope
	head     store.Head // as the user sees it
	tail     *messagev1.TailHead
	changed  time.Time // when the user's part changed last, where that is known
	position uint64    // of the newest entry in its partition
}

// outlines returns all of a user's conversations that have an entry, newest activity first.
func (s *Service) outlines(ctx context.Context, me chat.UserID) ([]outline, error) {
	// The log's tail is asked for direct conversations before the database lists them: what is stored between the two
	// is then in both.
	fresh, err := s.messages.GetHeads(ctx, &messagev1.GetHeadsRequest{UserId: string(me), AllDirect: true})
	if err != nil {
		return nil, err
	}
	directs, err := s.db.Directs(ctx, me)
	if err != nil {
		return nil, s.unread(ctx, err, "list direct conversations of %s", me)
	}
	for _, h := range fresh.GetHeads() {
		directs = append(directs, chat.ConversationID(h.GetConversationId()))
	}
	slices.Sort(directs)
	groups, err := s.groups.ListMemberships(ctx, &groupv1.ListMembershipsRequest{UserId: string(me)})
	if err != nil {
		return nil, err
	}
	all := []outline{{Scope: permit.Scope{User: me, Conversation: chat.InboxID(me), Visible: []permit.Range{{From: 1}}}}}
	for _, c := range slices.Compact(directs) {
		all = append(all, outline{Scope: permit.Scope{User: me, Conversation: c, Visible: []permit.Range{{From: 1}}}})
	}
	for _, m := range groups.GetMemberships() {
		if o := (outline{Scope: permit.OfMembership(me, m), changed: m.GetChangedAt().AsTime()}); len(o.Visible) > 0 {
			all = append(all, o)
		}
	}
	if all, err = s.heads(ctx, me, all); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(o outline) bool { return o.head.Seq == 0 })
	slices.SortFunc(all, func(a, b outline) int {
		return cmp.Or(b.head.SentAt.Compare(a.head.SentAt), cmp.Compare(a.Conversation, b.Conversation))
	})
	return all, nil
}

// conversations returns the ids of outlines.
func conversations(all []outline) []chat.ConversationID {
	ids := make([]chat.ConversationID, len(all))
	for i, o := range all {
		ids[i] = o.Conversation
	}
	return ids
}

// heads fills in where conversations stand: the log's tail first, then the database.
func (s *Service) heads(ctx context.Context, me chat.UserID, all []outline) ([]outline, error) {
	names := make([]string, len(all))
	for i, o := range all {
		names[i] = string(o.Conversation)
	}
	tails, err := s.messages.GetHeads(ctx, &messagev1.GetHeadsRequest{UserId: string(me), ConversationIds: names})
	if err != nil {
		return nil, err
	}
	stored, err := s.db.Heads(ctx, conversations(all))
	if err != nil {
		return nil, s.unread(ctx, err, "read %d heads", len(all))
	}
	heads := make(map[chat.ConversationID]store.Head, len(all))
	for _, h := range stored {
		heads[h.ConversationID] = h
	}
	byTail := make(map[chat.ConversationID]*messagev1.TailHead, len(tails.GetHeads()))
	for _, t := range tails.GetHeads() {
		c := chat.ConversationID(t.GetConversationId())
		byTail[c] = t
		if t.GetSeq() > heads[c].Seq {
			heads[c] = store.Head{
				ConversationID: c, Seq: t.GetSeq(), Ordinal: t.GetOrdinal(), SentAt: t.GetSentAt().AsTime(), Position: t.GetPosition(),
			}
		}
	}
	for i := range all {
		all[i].stand(heads[all[i].Conversation], byTail[all[i].Conversation])
	}
	return all, nil
}

// stand places the outline at a head, or at the end of what the user sees of it.
func (o *outline) stand(h store.Head, tail *messagev1.TailHead) {
	o.head, o.tail, o.position = h, tail, h.Position
	if last := o.Last(h.Seq); last < h.Seq {
		o.head.Seq, o.head.Ordinal, o.head.SentAt = last, o.Membership.GetLeaveOrdinal(), o.Membership.GetLeftAt().AsTime()
		o.position = 0 // leaving itself is in changed
	}
}

// after reports whether o comes behind a page token in the order of outlines.
func (o outline) after(t pageToken) bool {
	at := o.head.SentAt.UnixMilli()
	return at < t.SentAt || at == t.SentAt && string(o.Conversation) > t.ID
}

// cut returns one page, and the token of the next.
func cut(all []outline, from pageToken, size int) ([]outline, pageToken) {
	if from.ID != "" {
		i := slices.IndexFunc(all, func(o outline) bool { return o.after(from) })
		if i < 0 {
			return nil, pageToken{}
		}
		all = all[i:]
	}
	if len(all) <= size {
		return all, pageToken{}
	}
	last := all[size-1]
	return all[:size], pageToken{SentAt: last.head.SentAt.UnixMilli(), ID: string(last.Conversation), Sync: from.Sync}
}
