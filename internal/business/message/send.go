package message

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/permit"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// Send appends a message and answers when the log has it.
func (s *Service) Send(ctx context.Context, req *messagev1.SendRequest) (*messagev1.SendResponse, error) {
	sender := calls.IdentityOf(ctx).UserID
	c, err := s.check(sender, req)
	if err != nil {
		return nil, err
	}
	entry := &messagev1.Entry{
		ConversationId: string(c), SenderId: string(sender), ClientMsgId: req.GetClientMsgId(),
		Kind: messagev1.EntryKind_ENTRY_KIND_TEXT,
		Body: &messagev1.Entry_Text{Text: &messagev1.Text{
			Text: req.GetText().GetText(), Mentions: req.GetText().GetMentions(),
		}},
	}
	if r := req.GetReplyTo(); r != "" {
		entry.ReplyTo = &r
	}
	// The hash is of what was sent: with other sensitive words since then, a resend is still the same message.
	sent := convlog.BodyHash(entry)
	entry.GetText().Text = s.words.mask(entry.GetText().GetText())
	r, err := s.appendAs(ctx, sender, c, convlog.Draft{Entry: entry, Hash: sent, Resend: req.GetResend()})
	if err != nil {
		return nil, named(err, req)
	}
	return response(c, r), nil
}

// named calls a target that is not there what the request called it: who wrote to a user or a group knows of no conversation.
func named(err error, req *messagev1.SendRequest) error {
	switch {
	case !fault.IsReason(err, fault.NotFoundReason):
	case req.GetToUserId() != "":
		return fault.Wrap(err, fault.NotFoundReason, "no such user: %s", req.GetToUserId())
	case req.GetGroupId() != "":
		return fault.Wrap(err, fault.NotFoundReason, "no such group: %s", req.GetGroupId())
	}
	return err
}

// stalePermits bounds how often a send asks again because membership changed under it.
const stalePermits = 8

// appendAs appends with the sender's permission. The log refuses one that is older than the newest notice, so a
// permission may be kept in memory for any time and is still exact.
func (s *Service) appendAs(ctx context.Context, sender chat.UserID, c chat.ConversationID, d convlog.Draft) (convlog.Result, error) {
	for n := range stalePermits {
		p, err := s.mayWrite(ctx, sender, c)
		if err != nil {
			return s.committed(ctx, d, err)
		}
		if n > 0 && p == d.Permit { // group answered so again, after the log had refused it
			_, err := s.groups.Overtaken(ctx, &groupv1.OvertakenRequest{GroupId: string(c.Group()), AsOfSeq: p})
			if err != nil && fault.CodeOf(err) != fault.Unimplemented { // which an older version is
				return convlog.Result{}, fmt.Errorf("tell group that its answer for %s is too old: %w", c, err)
			}
			s.permits.forget(sender, c)
			continue
		}
		d.Permit = p
		r, err := s.entries.Append(ctx, d)
		if !errors.Is(err, convlog.ErrStalePermit) {
			return r, err
		}
		s.permits.forget(sender, c)
	}
	return convlog.Result{}, fault.New(fault.Overloaded, "the group's membership is changing too fast").After(time.Second)
}

// committed is the answer to a sender who may write no more: refused, unless an attempt from when it might is in the log.
// What was numbered before a removal or a block stands, so it would be wrong to call it refused.
func (s *Service) committed(ctx context.Context, d convlog.Draft, refused error) (convlog.Result, error) {
	if !d.Resend || fault.CodeOf(refused) != fault.PermissionDenied {
		return convlog.Result{}, refused
	}
	d.Known = true
	r, err := s.entries.Append(ctx, d)
	if errors.Is(err, convlog.ErrStalePermit) {
		return convlog.Result{}, refused
	}
	return r, err
}

// mayWrite returns the seq of the newest notice that the sender's permission knows.
func (s *Service) mayWrite(ctx context.Context, sender chat.UserID, c chat.ConversationID) (uint64, error) {
	now := s.now()
	if p, ok := s.permits.get(sender, c, now); ok {
		return p, nil
	}
	scope, err := s.gate.Authorise(ctx, sender, c, permit.Write)
	if err != nil {
		return 0, err
	}
	if c.Kind() != chat.KindGroup {
		return convlog.Any, nil // user keeps what it is asked for in memory; no notice tells of blocks
	}
	s.permits.put(sender, c, scope.AsOf, scope.Until)
	return scope.AsOf, nil
}

func response(c chat.ConversationID, r convlog.Result) *messagev1.SendResponse {
	return &messagev1.SendResponse{
		MessageId: string(r.MessageID), ConversationId: string(c), Seq: r.Seq, Ordinal: r.Ordinal,
		SentAt: timestamppb.New(r.SentAt),
	}
}

// target returns the conversation that a request names in exactly one of three ways.
func target(sender chat.UserID, req *messagev1.SendRequest) (chat.ConversationID, error) {
	user, group, conv := req.GetToUserId(), req.GetGroupId(), req.GetConversationId()
	n := 0
	for _, t := range []string{user, group, conv} {
		if t != "" {
			n++
		}
	}
	const rule = "exactly one of toUserId, groupId, conversationId"
	switch {
	case n != 1:
		return "", fault.InvalidField("toUserId", rule)
	case user != "":
		if err := chat.CheckID("toUserId", user); err != nil {
			return "", err
		}
		if user == string(sender) {
			return "", fault.InvalidField("toUserId", "not oneself")
		}
		return chat.DirectID(sender, chat.UserID(user))
	case group != "":
		return chat.GroupConversation(chat.GroupID(group)), chat.CheckID("groupId", group)
	}
	return chat.ParseConversationID("conversationId", conv)
}

// check returns the conversation that a request is for, or INVALID_FIELD that names every broken rule.
func (s *Service) check(sender chat.UserID, req *messagev1.SendRequest) (chat.ConversationID, error) {
	var broken []fault.Field
	if !chat.ValidID(req.GetClientMsgId()) {
		broken = append(broken, fault.Field{Field: "clientMsgId", Rule: "1 to 64 of A-Z a-z 0-9 _ -"})
	}
	if r := req.GetReplyTo(); r != "" {
		if _, ok := chat.MessageID(r).Seq(); !ok {
			broken = append(broken, fault.Field{Field: "replyTo", Rule: "a messageId"})
		}
	}
	broken = append(broken, s.checkText(req.GetText())...)
	c, err := target(sender, req)
	if err != nil {
		broken = append(broken, fault.Of(err).Fields...)
	}
	if len(broken) > 0 {
		return "", fault.InvalidFields(broken...)
	}
	return c, nil
}

func (s *Service) checkText(t *messagev1.Text) []fault.Field {
	n := utf8.RuneCountInString(t.GetText())
	if t == nil || n == 0 || n > s.cfg.MaxText || !utf8.ValidString(t.GetText()) {
		return []fault.Field{{Field: "text.text", Rule: fmt.Sprintf("1 to %d code points", s.cfg.MaxText)}}
	}
	if len(t.GetMentions()) > s.cfg.MaxMentions {
		return []fault.Field{{Field: "text.mentions", Rule: fmt.Sprintf("at most %d", s.cfg.MaxMentions)}}
	}
	var broken []fault.Field
	for i, m := range t.GetMentions() {
		field := fmt.Sprintf("text.mentions[%d]", i)
		if !chat.ValidID(m.GetUserId()) {
			broken = append(broken, fault.Field{Field: field + ".userId", Rule: "a user id"})
		}
		if end := uint64(m.GetOffset()) + uint64(m.GetLength()); m.GetLength() == 0 || end > uint64(n) {
			broken = append(broken, fault.Field{Field: field, Rule: "offset and length within the text, in code points"})
		}
	}
	return broken
}
