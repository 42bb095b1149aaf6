package query

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// listing returns the full objects of one page, and the token of the next.
func (s *Service) listing(ctx context.Context, me chat.UserID, all []outline, from pageToken, size int) ([]*queryv1.Conversation, pageToken, error) {
	page, next := cut(all, from, size)
	built, err := s.build(ctx, me, page)
	if err != nil {
		return nil, next, err
	}
	fitting, err := fit(built, maxAnswer, false)
	if len(fitting) < len(built) {
		_, next = cut(page, pageToken{Sync: from.Sync}, len(fitting))
	}
	return fitting, next, err
}

// build returns the full objects of a page.
func (s *Service) build(ctx context.Context, me chat.UserID, page []outline) ([]*queryv1.Conversation, error) {
	out := make([]*queryv1.Conversation, 0, len(page))
	peers, err := s.peers(ctx, me, page)
	if err != nil {
		return nil, err
	}
	cursors, err := s.cursors(ctx, me, page)
	if err != nil {
		return nil, err
	}
	mentions, err := s.mentions(ctx, me, page, cursors)
	if err != nil {
		return nil, err
	}
	last, err := s.lastEntries(ctx, me, page)
	if err != nil {
		return nil, err
	}
	readBy, err := s.readByPeers(ctx, me, page)
	if err != nil {
		return nil, err
	}
	for _, o := range page {
		c := conversation(o)
		read := cursors[o.Conversation]
		c.Read = &messagev1.Cursor{Seq: read.Seq, Ordinal: read.Ordinal}
		c.Unread = o.head.Ordinal - min(read.Ordinal, o.head.Ordinal)
		c.MentionSeq = mentions[o.Conversation]
		c.LastEntry = last[o.Conversation]
		if peer := o.Conversation.Peer(me); peer != "" {
			if c.Peer = peers[peer]; c.Peer != nil {
				c.Title, c.Avatar = c.Peer.GetNickname(), c.Peer.GetAvatar()
			}
			c.PeerReadSeq = readBy[o.Conversation]
		}
		out = append(out, c)
	}
	return out, nil
}

func conversation(o outline) *queryv1.Conversation {
	c := &queryv1.Conversation{
		ConversationId: string(o.Conversation), MinSeq: o.First(),
		Head: &queryv1.Head{Seq: o.head.Seq, Ordinal: o.head.Ordinal},
	}
	if o.head.Seq > 0 {
		c.Head.SentAt = timestamppb.New(o.head.SentAt)
	}
	if to := o.Visible[len(o.Visible)-1].To; to != 0 {
		c.MaxSeq = &to
	}
	switch o.Conversation.Kind() {
	case chat.KindDirect:
		c.Kind = queryv1.ConversationKind_CONVERSATION_KIND_DIRECT
	case chat.KindGroup:
		c.Kind = queryv1.ConversationKind_CONVERSATION_KIND_GROUP
		c.Title, c.Avatar = o.Membership.GetName(), o.Membership.GetAvatar()
	default:
		c.Kind = queryv1.ConversationKind_CONVERSATION_KIND_INBOX
	}
	return c
}

// peers returns the other ends of a page's direct conversations.
func (s *Service) peers(ctx context.Context, me chat.UserID, page []outline) (map[chat.UserID]*userv1.User, error) {
	var ids []string
	for _, o := range page {
		if peer := o.Conversation.Peer(me); peer != "" {
			ids = append(ids, string(peer))
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	got, err := s.users.GetProfiles(ctx, &userv1.GetProfilesRequest{UserIds: ids})
	if err != nil {
		return nil, err
	}
	out := make(map[chat.UserID]*userv1.User, len(ids))
	for _, u := range got.GetUsers() {
		out[chat.UserID(u.GetUserId())] = u
	}
	return out, nil
}

// cursors returns how far the user has read: the stored cursor, but not before joining, and at least up to the
// user's own newest message in the log's tail.
func (s *Service) cursors(ctx context.Context, me chat.UserID, page []outline) (map[chat.ConversationID]store.Cursor, error) {
	stored, err := s.db.Cursors(ctx, me, conversations(page))
	if err != nil {
		return nil, s.unread(ctx, err, "read cursors of %s", me)
	}
	out := make(map[chat.ConversationID]store.Cursor, len(page))
	for _, c := range stored {
		out[c.ConversationID] = c.Cursor
	}
	for _, o := range page {
		at := out[o.Conversation]
		if m := o.Membership; m.GetJoinSeq() > at.Seq {
			at = store.Cursor{Seq: m.GetJoinSeq(), Ordinal: m.GetJoinOrdinal()}
		}
		if o.tail.GetOwnSeq() > at.Seq {
			at = store.Cursor{Seq: o.tail.GetOwnSeq(), Ordinal: o.tail.GetOwnOrdinal()}
		}
		out[o.Conversation] = at
	}
	return out, nil
}

// readByPeers returns how far the peers of direct conversations have read: as stored, and at least up to their own
// newest message in the log's tail.
func (s *Service) readByPeers(ctx context.Context, me chat.UserID, page []outline) (map[chat.ConversationID]uint64, error) {
	out := map[chat.ConversationID]uint64{}
	for _, o := range page {
		peer := o.Conversation.Peer(me)
		if peer == "" || o.tail == nil {
			continue
		}
		tails, err := s.messages.GetHeads(ctx, &messagev1.GetHeadsRequest{
			UserId: string(peer), ConversationIds: []string{string(o.Conversation)},
		})
		if err != nil {
			return nil, err
		}
		for _, t := range tails.GetHeads() {
			out[o.Conversation] = t.GetOwnSeq()
		}
	}
	stored, err := s.db.PeerCursors(ctx, me, directs(page))
	if err != nil {
		return nil, s.unread(ctx, err, "read cursors of the peers of %s", me)
	}
	for _, c := range stored {
		out[c.ConversationID] = max(out[c.ConversationID], c.Seq)
	}
	return out, nil
}

// directs returns the direct conversations among outlines.
func directs(all []outline) []chat.ConversationID {
	var ids []chat.ConversationID
	for _, o := range all {
		if o.Conversation.Kind() == chat.KindDirect {
			ids = append(ids, o.Conversation)
		}
	}
	return ids
}

// mentions returns the first unread entry of each conversation that mentions the user.
func (s *Service) mentions(ctx context.Context, me chat.UserID, page []outline, read map[chat.ConversationID]store.Cursor) (map[chat.ConversationID]uint64, error) {
	after := make(map[chat.ConversationID]uint64, len(page))
	for _, o := range page {
		if read[o.Conversation].Seq < o.head.Seq {
			after[o.Conversation] = read[o.Conversation].Seq
		}
	}
	if len(after) == 0 {
		return nil, nil
	}
	first, err := s.db.FirstMentions(ctx, me, after)
	if err != nil {
		return nil, s.unread(ctx, err, "read mentions of %s", me)
	}
	out := make(map[chat.ConversationID]uint64, len(first))
	for _, o := range page {
		read, unread := after[o.Conversation]
		if !unread {
			continue
		}
		at := first[o.Conversation]
		for _, seq := range o.tail.GetMentionSeqs() {
			if at == 0 && seq > read {
				at = seq
			}
		}
		if at <= o.head.Seq {
			out[o.Conversation] = at
		}
	}
	return out, nil
}

// lastEntries returns the entry at the head of each conversation.
func (s *Service) lastEntries(ctx context.Context, me chat.UserID, page []outline) (map[chat.ConversationID]*messagev1.Entry, error) {
	out := make(map[chat.ConversationID]*messagev1.Entry, len(page))
	var keys []store.EntryKey
	for _, o := range page {
		if o.head.Seq == 0 {
			continue
		}
		keys = append(keys, store.EntryKey{ConversationID: o.Conversation, Seq: o.head.Seq})
		if o.tail == nil {
			continue
		}
		tail, err := s.messages.ReadTail(ctx, &messagev1.ReadTailRequest{
			ConversationId: string(o.Conversation), FromSeq: o.head.Seq, ToSeq: o.head.Seq, Limit: 1,
		})
		if err != nil {
			return nil, err
		}
		for _, e := range tail.GetEntries() {
			out[o.Conversation] = e
		}
	}
	stored, err := s.db.At(ctx, keys)
	if err != nil {
		return nil, s.unread(ctx, err, "read %d last entries", len(keys))
	}
	for _, e := range stored {
		entry, err := decode(e)
		if err != nil {
			return nil, err
		}
		out[e.ConversationID] = entry
	}
	for i := range page {
		o := &page[i]
		e := out[o.Conversation]
		if e == nil {
			continue
		}
		// Asked now, after e was read, the owners know of every removal and block that stands before e. One end of a
		// direct conversation may be gone: the other keeps what it has.
		scope, err := s.gate.Authorise(ctx, me, o.Conversation, permit.Read)
		switch {
		case err == nil:
			o.Scope = scope
		case !fault.IsReason(err, fault.NotFoundReason):
			return nil, err
		}
		out[o.Conversation] = show(o.Scope, e)
	}
	return out, nil
}

// decode returns the entry that was stored.
func decode(e store.Entry) (*messagev1.Entry, error) {
	var le flowv1.LogEntry
	if err := proto.Unmarshal(e.Data, &le); err != nil {
		return nil, fmt.Errorf("decode %s seq %d: %w", e.ConversationID, e.Seq, err)
	}
	return le.GetEntry(), nil
}

// show returns e, or its seq without a body where the user may not see it.
func show(scope permit.Scope, e *messagev1.Entry) *messagev1.Entry {
	if scope.Sees(e.GetSeq(), chat.UserID(e.GetSenderId())) {
		return e
	}
	return &messagev1.Entry{
		ConversationId: e.GetConversationId(), Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SentAt: e.GetSentAt(),
		Kind: messagev1.EntryKind_ENTRY_KIND_HIDDEN,
	}
}
