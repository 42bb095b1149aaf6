package message

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
)

// Append appends an entry for another service. As it may be the repetition of a half-done command, the id is always
// looked up.
func (s *Service) Append(ctx context.Context, req *messagev1.AppendRequest) (*messagev1.SendResponse, error) {
	e := req.GetEntry()
	if err := checkEntry(e); err != nil {
		return nil, err
	}
	r, err := s.entries.Append(ctx, convlog.Draft{Entry: e, Resend: true, Permit: convlog.Any})
	if err != nil {
		return nil, err
	}
	return response(chat.ConversationID(e.GetConversationId()), r), nil
}

// checkEntry names what another service got wrong. The log would keep it for ever.
func checkEntry(e *messagev1.Entry) error {
	var broken []fault.Field
	check := func(ok bool, field, rule string) {
		if !ok {
			broken = append(broken, fault.Field{Field: "entry." + field, Rule: rule})
		}
	}
	check(chat.ConversationID(e.GetConversationId()).Kind() != chat.KindNone, "conversationId", "a conversation id")
	check(chat.ValidID(e.GetSenderId()), "senderId", "a user id")
	check(chat.ValidID(e.GetClientMsgId()), "clientMsgId", "1 to 64 of A-Z a-z 0-9 _ -")
	check(hasBody(e), "kind", "a kind with its body")
	if broken != nil {
		return fault.InvalidFields(broken...)
	}
	return nil
}

// hasBody reports whether e has the body of its kind. A kind of a newer version passes: its body is not known here.
func hasBody(e *messagev1.Entry) bool {
	ok := false
	switch e.GetKind() {
	case messagev1.EntryKind_ENTRY_KIND_UNSPECIFIED, messagev1.EntryKind_ENTRY_KIND_HIDDEN:
	case messagev1.EntryKind_ENTRY_KIND_TEXT:
		ok = e.GetText() != nil
	case messagev1.EntryKind_ENTRY_KIND_NOTICE:
		ok = e.GetNotice() != nil
	case messagev1.EntryKind_ENTRY_KIND_FRIEND_REQUEST:
		ok = e.GetFriendRequest() != nil
	case messagev1.EntryKind_ENTRY_KIND_FRIEND_ADDED:
		ok = e.GetFriendAdded() != nil
	case messagev1.EntryKind_ENTRY_KIND_GROUP_INVITED:
		ok = e.GetGroupInvited() != nil
	default:
		ok = true
	}
	return ok
}

// GetHeads returns where conversations stand in the log.
func (s *Service) GetHeads(ctx context.Context, req *messagev1.GetHeadsRequest) (*messagev1.GetHeadsResponse, error) {
	cs := make([]chat.ConversationID, 0, len(req.GetConversationIds()))
	for _, c := range req.GetConversationIds() {
		cs = append(cs, chat.ConversationID(c))
	}
	heads, err := s.entries.Heads(ctx, chat.UserID(req.GetUserId()), cs, req.GetAllDirect())
	if err != nil {
		return nil, err
	}
	out := &messagev1.GetHeadsResponse{}
	for _, h := range heads {
		out.Heads = append(out.Heads, tailHead(h))
	}
	if req.GetStored() {
		return s.addStored(ctx, cs, out)
	}
	return out, nil
}

func tailHead(h convlog.TailHead) *messagev1.TailHead {
	return &messagev1.TailHead{
		ConversationId: string(h.Conversation), Seq: h.Seq, Ordinal: h.Ordinal,
		SentAt: timestamppb.New(time.UnixMilli(h.SentAt)), Position: h.Position,
		OwnSeq: h.Own.Seq, OwnOrdinal: h.Own.Ordinal, MentionSeqs: h.Mentions,
	}
}

// addStored adds the heads of conversations that have nothing in the log's tail.
func (s *Service) addStored(ctx context.Context, cs []chat.ConversationID, out *messagev1.GetHeadsResponse) (*messagev1.GetHeadsResponse, error) {
	have := map[string]bool{}
	for _, h := range out.GetHeads() {
		have[h.GetConversationId()] = true
	}
	for _, c := range cs {
		if have[string(c)] {
			continue
		}
		h, err := s.entries.Head(ctx, c)
		if err != nil {
			return nil, fmt.Errorf("head of %s: %w", c, err)
		}
		if h.Seq > 0 {
			out.Heads = append(out.Heads, tailHead(convlog.TailHead{Conversation: c, Head: h}))
		}
	}
	return out, nil
}

// maxTail bounds one answer of ReadTail.
const maxTail = 200

// ReadTail returns entries that the database may not have yet.
func (s *Service) ReadTail(ctx context.Context, req *messagev1.ReadTailRequest) (*messagev1.ReadTailResponse, error) {
	limit := int(min(req.GetLimit(), maxTail))
	if limit == 0 {
		return nil, fault.InvalidField("limit", "a whole number from 1")
	}
	t, err := s.entries.Tail(ctx, chat.ConversationID(req.GetConversationId()), req.GetFromSeq(), req.GetToSeq(), limit, req.GetNewest())
	if err != nil {
		return nil, err
	}
	return &messagev1.ReadTailResponse{Entries: t.Entries, HeadSeq: t.Head, TailFrom: t.From}, nil
}

// GetPositions returns the epoch and the position of every partition.
func (s *Service) GetPositions(ctx context.Context, _ *messagev1.GetPositionsRequest) (*messagev1.GetPositionsResponse, error) {
	epoch, positions, err := s.entries.Positions(ctx)
	if err != nil {
		return nil, err
	}
	return &messagev1.GetPositionsResponse{Epoch: epoch, Positions: positions}, nil
}
