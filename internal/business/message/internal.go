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
	c := chat.ConversationID(e.GetConversationId())
	switch {
	case c.Kind() == chat.KindNone:
		return nil, fault.InvalidField("entry.conversationId", "a conversation id")
	case !chat.ValidID(e.GetClientMsgId()):
		return nil, fault.InvalidField("entry.clientMsgId", "1 to 64 of A-Z a-z 0-9 _ -")
	case e.GetKind() == messagev1.EntryKind_ENTRY_KIND_UNSPECIFIED || e.GetBody() == nil:
		return nil, fault.InvalidField("entry.kind", "a kind with its body")
	}
	r, err := s.entries.Append(ctx, convlog.Draft{Entry: e, Resend: true, Permit: convlog.Any})
	if err != nil {
		return nil, err
	}
	return response(c, r), nil
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
