package fakeserver

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// refusal is an error that a client is told.
type refusal struct{ e *wirev1.Error }

func (r refusal) Error() string { return r.e.GetReason() }

func failure(code, reason string, retryAfter time.Duration) error {
	return refusal{&wirev1.Error{Code: code, Reason: reason, Message: "scripted", RetryAfterMs: retryAfter.Milliseconds()}}
}

func asError(err error) *wirev1.Error {
	var r refusal
	if errors.As(err, &r) {
		return r.e
	}
	return &wirev1.Error{Code: "INTERNAL", Reason: "INTERNAL", Message: err.Error()}
}

// request acts on one frame. Requests of a connection are acted on one after the other.
func (c *conn) request(f *wirev1.ClientFrame) {
	s := c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[f.GetMethod()]++
	if f.GetMethod() == "message.send" {
		req := &messagev1.SendRequest{}
		_ = proto.Unmarshal(f.GetParams(), req) // a broken one is answered below
		s.resends = append(s.resends, req.GetResend())
	}
	rule := s.matchLocked(AtRequest, f.GetMethod())
	switch {
	case rule == nil || rule.Do == Duplicate || rule.Do == Hold:
		c.act(f)
	case rule.Do == Delay:
		s.wg.Go(func() {
			if wait(c.ctx, rule.delay()) {
				s.mu.Lock()
				c.act(f)
				s.mu.Unlock()
			}
		})
	case rule.Do == Fail:
		c.answer(f, nil, failure(rule.ErrorCode, rule.Reason, rule.retryAfter()))
	case rule.Do == Cut || rule.Do == CutMid:
		c.cut()
	case rule.Do == Close:
		c.close(rule.Code, rule.retryAfter(), rule.Silent)
	}
}

func (c *conn) act(f *wirev1.ClientFrame) {
	if c.closing {
		return
	}
	if !c.live && f.GetMethod() != "connect" {
		c.answer(f, nil, failure("UNAUTHENTICATED", "TOKEN_MISSING", 0))
		c.close(4001, 0, false)
		return
	}
	out, err := c.method(f.GetMethod(), f.GetParams())
	c.answer(f, out, err)
	if f.GetMethod() == "connect" && err != nil {
		c.close(4001, 0, false)
	}
}

func (c *conn) answer(f *wirev1.ClientFrame, out proto.Message, err error) {
	if f.Id == nil {
		return
	}
	r := &wirev1.Reply{Id: f.GetId()}
	if err != nil {
		r.Outcome = &wirev1.Reply_Error{Error: asError(err)}
	} else {
		r.Outcome = &wirev1.Reply_Result{Result: encode(out)}
	}
	c.say(AtReply, f.GetMethod(), &wirev1.ServerFrame{Kind: &wirev1.ServerFrame_Reply{Reply: r}})
}

func (c *conn) method(name string, params []byte) (proto.Message, error) {
	switch name {
	case "connect":
		return with(params, c.connect)
	case "ping":
		return &wirev1.PingResponse{}, nil
	case "ack":
		return with(params, c.ack)
	case "query.sync":
		return with(params, c.sync)
	case "query.entries":
		return with(params, c.entries)
	case "query.history":
		return with(params, c.history)
	case "query.getConversation":
		return with(params, c.getConversation)
	case "message.send":
		return with(params, c.send)
	case "message.markRead":
		return with(params, c.markRead)
	case "message.typing":
		return with(params, c.typing)
	case "group.create":
		return with(params, c.createGroup)
	case "group.addMembers":
		return with(params, c.addMembers)
	case "group.listMembers":
		return with(params, c.listMembers)
	case "user.getMe":
		return &userv1.UserResponse{User: c.session.user.public()}, nil
	case "user.get":
		return with(params, c.getUser)
	case "user.search":
		return with(params, c.searchUsers)
	}
	return nil, failure("UNIMPLEMENTED", "UNKNOWN_METHOD", 0)
}

// with decodes params for f.
func with[T any, M interface {
	*T
	proto.Message
}, R proto.Message](params []byte, f func(M) (R, error),
) (proto.Message, error) {
	m := M(new(T))
	if err := proto.Unmarshal(params, m); err != nil {
		return nil, failure("INVALID_ARGUMENT", "MALFORMED", 0)
	}
	return f(m)
}

func (c *conn) connect(req *wirev1.ConnectRequest) (*wirev1.ConnectResponse, error) {
	sess, err := c.s.verify(req.GetToken())
	if err != nil {
		return nil, err
	}
	if sess.device != req.GetDeviceId() {
		return nil, failure("INVALID_ARGUMENT", "INVALID_FIELD", 0)
	}
	for other := range c.s.conns {
		if other.session == sess {
			other.close(4003, 0, false)
		}
	}
	c.session, c.user, c.live = sess, sess.user.id, true
	close(c.s.joined)
	c.s.joined = make(chan struct{})
	p, err := c.sync(&queryv1.SyncRequest{SyncToken: req.GetSyncToken()})
	if err != nil {
		return nil, err
	}
	return &wirev1.ConnectResponse{
		ConnectionId: "c", UserId: c.user, HeartbeatSeconds: int32(c.s.Heartbeat), ServerTime: timestamppb.Now(),
		Epoch: p.GetEpoch(), Resync: p.GetResync(), SyncToken: p.GetSyncToken(), Conversations: p.GetConversations(),
		NextPageToken: p.GetNextPageToken(),
	}, nil
}

func (c *conn) ack(req *wirev1.AckRequest) (*wirev1.AckResponse, error) {
	c.acked = max(c.acked, min(req.GetN(), c.n))
	return &wirev1.AckResponse{}, nil
}

func (c *conn) pushEntry(e *messagev1.Entry) {
	c.n++
	c.push("entry", &wirev1.EntryPush{N: c.n, Entry: e})
}

// sync tokens are "<epoch>.<changes>", page tokens "<id of the last conversation>,<the new sync token>".
func (c *conn) sync(req *queryv1.SyncRequest) (*queryv1.SyncResponse, error) {
	fresh := fmt.Sprintf("%d.%d", c.s.epoch, c.s.changes)
	from, kept, paged := strings.Cut(req.GetPageToken(), ",")
	if paged {
		fresh = kept
	}
	out := &queryv1.SyncResponse{Epoch: c.s.epoch, SyncToken: fresh}
	var since uint64
	if token := req.GetSyncToken(); token != "" {
		epoch, changes, _ := strings.Cut(token, ".")
		if epoch != strconv.FormatUint(c.s.epoch, 10) {
			out.Resync = true
		} else {
			since, _ = strconv.ParseUint(changes, 10, 64)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.s.convs)) {
		conv := c.s.convs[id]
		if conv.members[c.user] == nil || id <= from || conv.changed <= since && since > 0 {
			continue
		}
		if len(out.Conversations) == c.s.PageSize {
			out.NextPageToken = out.Conversations[c.s.PageSize-1].GetConversationId() + "," + fresh
			break
		}
		out.Conversations = append(out.Conversations, c.s.view(conv, c.user))
	}
	return out, nil
}

// mine returns a conversation that the user is in.
func (c *conn) mine(id string) (*conversation, error) {
	conv := c.s.convs[id]
	if conv == nil || conv.members[c.user] == nil {
		return nil, failure("NOT_FOUND", "NOT_FOUND", 0)
	}
	return conv, nil
}

func (c *conn) entries(req *queryv1.EntriesRequest) (*queryv1.EntriesResponse, error) {
	conv, err := c.mine(req.GetConversationId())
	if err != nil {
		return nil, err
	}
	return part(conv.entries, req.GetAfterSeq(), int(cmp.Or(req.GetLimit(), 50))), nil
}

func part(all []*messagev1.Entry, after uint64, limit int) *queryv1.EntriesResponse {
	rest := all[min(after, uint64(len(all))):]
	out := &queryv1.EntriesResponse{Entries: rest[:min(limit, 100, len(rest))]}
	if n := len(out.Entries); n > 0 {
		out.FromSeq, out.ToSeq = out.Entries[0].GetSeq(), out.Entries[n-1].GetSeq()
		out.HasMore = n < len(rest)
	}
	return out
}

// history knows afterSeq and the latest page.
func (c *conn) history(req *queryv1.HistoryRequest) (*queryv1.EntriesResponse, error) {
	conv, err := c.mine(req.GetConversationId())
	if err != nil {
		return nil, err
	}
	limit := int(cmp.Or(req.GetLimit(), 50))
	after := req.GetAfterSeq()
	if req.AfterSeq == nil {
		after = uint64(max(len(conv.entries)-limit, 0))
	}
	return part(conv.entries, after, limit), nil
}

func (c *conn) getConversation(req *queryv1.GetConversationRequest) (*queryv1.ConversationResponse, error) {
	conv, err := c.mine(req.GetConversationId())
	if err != nil {
		return nil, err
	}
	return &queryv1.ConversationResponse{Conversation: c.s.view(conv, c.user)}, nil
}

func (c *conn) send(req *messagev1.SendRequest) (*messagev1.SendResponse, error) {
	conv, err := c.target(req)
	if err != nil {
		return nil, err
	}
	var e *messagev1.Entry
	known := conv.entries
	if !req.GetResend() {
		known = known[min(conv.known, len(known)):]
	}
	for _, old := range known {
		if old.GetSenderId() == c.user && old.GetClientMsgId() == req.GetClientMsgId() {
			e = old
		}
	}
	switch {
	case req.GetClientMsgId() == "" || req.GetText().GetText() == "":
		return nil, failure("INVALID_ARGUMENT", "INVALID_FIELD", 0)
	case e != nil && !proto.Equal(e.GetText(), req.GetText()):
		return nil, failure("ALREADY_EXISTS", "CLIENT_MSG_ID_REUSED", 0)
	case e == nil:
		e = c.s.append(conv, c.user, req)
	}
	return &messagev1.SendResponse{
		MessageId: e.GetMessageId(), ConversationId: conv.id, Seq: e.GetSeq(), Ordinal: e.GetOrdinal(), SentAt: e.GetSentAt(),
	}, nil
}

func (c *conn) target(req *messagev1.SendRequest) (*conversation, error) {
	id := req.GetConversationId()
	switch {
	case req.GetToUserId() != "":
		id = Direct(c.user, req.GetToUserId())
	case req.GetGroupId() != "":
		id = "g~" + req.GetGroupId()
	}
	for _, end := range ends(id) {
		if c.s.byID(end) == nil {
			return nil, failure("NOT_FOUND", "NOT_FOUND", 0)
		}
	}
	if c.s.convs[id] == nil && len(ends(id)) == 2 {
		return c.s.conversation(id, ends(id)...), nil
	}
	return c.mine(id)
}

// ends returns the two users of a direct conversation.
func ends(conversationID string) []string {
	rest, direct := strings.CutPrefix(conversationID, "d~")
	if !direct {
		return nil
	}
	return strings.Split(rest, "~")
}

func (c *conn) markRead(req *messagev1.MarkReadRequest) (*messagev1.MarkReadResponse, error) {
	conv, err := c.mine(req.GetConversationId())
	if err != nil {
		return nil, err
	}
	if seq := min(req.GetSeq(), uint64(len(conv.entries))); seq > conv.members[c.user].GetSeq() {
		conv.members[c.user] = &messagev1.Cursor{Seq: seq, Ordinal: conv.entries[seq-1].GetOrdinal()}
		c.s.changed(conv)
		for other := range c.s.conns {
			if other != c && other.user == c.user && other.live {
				other.push("conversation", &wirev1.ConversationPush{Conversation: c.s.view(conv, c.user)})
			}
		}
	}
	v := c.s.view(conv, c.user)
	return &messagev1.MarkReadResponse{Read: v.GetRead(), Unread: v.GetUnread()}, nil
}

func (c *conn) typing(req *messagev1.TypingRequest) (*messagev1.TypingResponse, error) {
	conv, err := c.mine(req.GetConversationId())
	if err != nil {
		return nil, err
	}
	for other := range c.s.conns {
		if other.user != c.user && conv.members[other.user] != nil && other.live {
			other.push("typing", &wirev1.TypingPush{ConversationId: conv.id, UserId: c.user})
		}
	}
	return &messagev1.TypingResponse{}, nil
}
