package oceanchat

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
)

const typingEvery = 3 * time.Second

// Target says where a conversation is: by a user, a group or its id. Use User, Group or ID.
type Target struct{ user, group, id string }

// User is the direct conversation with a user.
func User(userID string) Target { return Target{user: userID} }

// Group is the conversation of a group.
func Group(groupID string) Target { return Target{group: groupID} }

// ID is the conversation with this id, for example that of an entry.
func ID(conversationID string) Target { return Target{id: conversationID} }

// Message is what is sent. Use Text for a plain one.
type Message struct {
	Text     string // 1 to 5,000 code points
	Mentions []*messagev1.Mention
	ReplyTo  string // the messageId of what it answers
	// ID is the clientMsgId: two messages with the same one are the same message, also after a restart, as long as the log
	// has it: with each attempt the server is told to search for it. The default is a random one. A bot that
	// derives it from what it answers never answers twice. 1 to 64 of A-Z a-z 0-9 _ -.
	ID string
}

// Text is a plain message.
func Text(text string) Message { return Message{Text: text} }

// Receipt is the server's acknowledgement: the message is in the log.
type Receipt struct {
	ConversationID string
	MessageID      string
	Seq, Ordinal   uint64
	SentAt         time.Time
}

// Outgoing is a message in the outbox.
type Outgoing struct{ it *item }

// ID returns the message's clientMsgId.
func (o *Outgoing) ID() string { return o.it.ID }

// Wait waits until the message is acknowledged or refused. Giving up waiting changes nothing for the message.
func (o *Outgoing) Wait(ctx context.Context) (Receipt, error) {
	select {
	case <-o.it.done:
		return o.it.sent, o.it.err
	case <-ctx.Done():
		return Receipt{}, fmt.Errorf("%w: %w", ErrPending, ctx.Err())
	}
}

// Conversation is a place to send to and read from. It is a name and holds nothing; it need not exist yet.
type Conversation struct {
	c  *Client
	to Target
}

// Conversation returns the conversation at a target. It asks nobody.
func (c *Client) Conversation(to Target) *Conversation { return &Conversation{c, to} }

// Conversations returns what the user takes part in, pinned ones first, then by last activity. The objects belong to the
// client and must not be changed.
func (c *Client) Conversations() []*queryv1.Conversation {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*queryv1.Conversation, 0, len(c.convs))
	for _, cv := range c.convs {
		out = append(out, cv.info)
	}
	slices.SortFunc(out, func(a, b *queryv1.Conversation) int {
		if a.GetPinned() != b.GetPinned() {
			if a.GetPinned() {
				return -1
			}
			return 1
		}
		return cmp.Or(b.GetHead().GetSentAt().AsTime().Compare(a.GetHead().GetSentAt().AsTime()),
			cmp.Compare(a.GetConversationId(), b.GetConversationId()))
	})
	return out
}

// Unread returns how many messages are unread in all conversations that are not muted.
func (c *Client) Unread() uint64 {
	var n uint64
	now := time.Now()
	for _, info := range c.Conversations() {
		if info.GetMutedUntil() == nil || info.GetMutedUntil().AsTime().Before(now) {
			n += info.GetUnread()
		}
	}
	return n
}

// Call makes any request of the contract on the connection, for example "group.create" with its generated messages. It
// waits until the client is online. After ErrConnectionLost it is not known whether the server acted.
func (c *Client) Call(ctx context.Context, method string, req, resp proto.Message) error {
	s, err := c.online(ctx, false)
	if err != nil {
		return err
	}
	return s.call(ctx, laneCall, method, req, resp)
}

// Send sends a message and returns when the server has it. It waits through lost connections, and sends again without
// the message ever being there twice. An *Error says that the server refuses the message for good.
//
// When ctx ends before anything went out, the message is gone. Otherwise the error is ErrPending: it may have arrived,
// stays in the outbox, and is sent until it is acknowledged.
func (v *Conversation) Send(ctx context.Context, m Message) (Receipt, error) {
	if st := v.c.State(); st.Phase == Idle {
		return Receipt{}, ErrNotStarted
	} else if st.Phase == Closed {
		return Receipt{}, &ClosedError{st.Reason, st.Err}
	}
	req, err := v.request(m)
	if err != nil {
		return Receipt{}, err
	}
	it, err := v.c.enqueue(ctx, req, m.ID != "", false)
	if err != nil {
		return Receipt{}, err
	}
	r, err := (&Outgoing{it}).Wait(ctx)
	if ctx.Err() != nil && errors.Is(err, ErrPending) && v.c.takeBack(it) {
		return Receipt{}, ctx.Err()
	}
	return r, err
}

// Reply answers an entry in its conversation, as Send does. The same text to the same entry is sent once, also by a later
// process and whatever its Store, so a bot may answer again what it is not sure to have answered. An *Error means that
// this answer will never be taken (too long, blocked, not a member any more): a bot passes over it and goes on.
func (c *Client) Reply(ctx context.Context, e *messagev1.Entry, text string) (Receipt, error) {
	sum := sha256.Sum256([]byte(e.GetMessageId() + " " + text))
	m := Message{Text: text, ReplyTo: e.GetMessageId(), ID: "re-" + hex.EncodeToString(sum[:16])}
	return c.Conversation(ID(e.GetConversationId())).Send(ctx, m)
}

// Enqueue stores a message and returns; the client sends it as soon as it can, also after a restart with the same Store.
// It works before Start, too. A message that the server refuses stays in Outbox with the error until Retry or Discard.
func (v *Conversation) Enqueue(ctx context.Context, m Message) (*Outgoing, error) {
	req, err := v.request(m)
	if err != nil {
		return nil, err
	}
	it, err := v.c.enqueue(ctx, req, m.ID != "", true)
	if err != nil {
		return nil, err
	}
	return &Outgoing{it}, nil
}

// takeBack removes a message that this process never tried; false if it did, and then it stays.
func (c *Client) takeBack(it *item) bool {
	c.mu.Lock()
	tried := it.tried
	it.kept = it.kept || tried
	c.mu.Unlock()
	return !tried && c.Discard(it.ID) == nil
}

func (v *Conversation) request(m Message) (*messagev1.SendRequest, error) {
	id := m.ID
	if id == "" {
		id = rand.Text()
	}
	if !validID.MatchString(id) {
		return nil, errors.New("oceanchat: a message's ID must be 1 to 64 of A-Z a-z 0-9 _ -")
	}
	req := &messagev1.SendRequest{
		ClientMsgId: id, ToUserId: v.to.user, GroupId: v.to.group, ConversationId: v.to.id,
		Text: &messagev1.Text{Text: m.Text, Mentions: m.Mentions},
	}
	if m.ReplyTo != "" {
		req.ReplyTo = &m.ReplyTo
	}
	return req, nil
}

// id returns the conversation's id. That of a direct one is known once the user is.
func (v *Conversation) id() (string, error) {
	me := v.c.UserID()
	switch {
	case v.to.id != "":
		return v.to.id, nil
	case v.to.group != "":
		return "g~" + v.to.group, nil
	case v.to.user == "" || me == "":
		return "", ErrNotStarted
	}
	return "d~" + min(me, v.to.user) + "~" + max(me, v.to.user), nil
}

// Info returns what is known of the conversation, or nil. It belongs to the client and must not be changed.
func (v *Conversation) Info() *queryv1.Conversation {
	id, err := v.id()
	if err != nil {
		return nil
	}
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if cv := v.c.convs[id]; cv != nil {
		return cv.info
	}
	return nil
}

// MarkRead moves the user's cursor forward to seq, on all devices. A smaller seq changes nothing. Call it for what was
// seen, not for what was received.
func (v *Conversation) MarkRead(ctx context.Context, seq uint64) error {
	id, err := v.id()
	if err != nil {
		return err
	}
	s, err := v.c.online(ctx, false)
	if err != nil {
		return err
	}
	r := &messagev1.MarkReadResponse{}
	if err := s.call(ctx, laneSend, "message.markRead", &messagev1.MarkReadRequest{ConversationId: id, Seq: seq}, r); err != nil {
		return err
	}
	return v.c.readTo(id, r.GetRead())
}

// Typing tells the others that the user writes: at most every 3 s, and not at all while the client is not online.
func (v *Conversation) Typing() {
	id, err := v.id()
	if err != nil {
		return
	}
	c := v.c
	c.mu.Lock()
	s := c.session
	cv := c.convs[id]
	if c.state.Phase != Online || cv == nil || time.Since(cv.typed) < typingEvery {
		c.mu.Unlock()
		return
	}
	cv.typed = time.Now()
	c.mu.Unlock()
	s.notify(laneCall, "message.typing", &messagev1.TypingRequest{ConversationId: id})
}

// History asks the server for a page of messages, with edits and the like folded in, ascending. At most one bound of
// req may be set; without one it is the latest page. ConversationId is filled in.
func (v *Conversation) History(ctx context.Context, req *queryv1.HistoryRequest) (*queryv1.EntriesResponse, error) {
	id, err := v.id()
	if err != nil {
		return nil, err
	}
	if req = proto.CloneOf(req); req == nil {
		req = &queryv1.HistoryRequest{}
	}
	req.ConversationId = id
	r := &queryv1.EntriesResponse{}
	return r, v.c.Call(ctx, "query.history", req, r)
}

// Held returns up to limit of the newest entries that the Store has without a gap, folded, without asking the server:
// what a screen shows at once, also offline.
func (v *Conversation) Held(ctx context.Context, limit int) ([]*messagev1.Entry, error) {
	id, err := v.id()
	if err != nil {
		return nil, err
	}
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	cv := v.c.convs[id]
	if cv == nil || len(cv.log.Held()) == 0 || limit <= 0 {
		return nil, nil
	}
	newest := cv.log.Held()[len(cv.log.Held())-1]
	after := newest.From - 1
	if n := uint64(limit); newest.To-after > n {
		after = newest.To - n
	}
	entries, err := v.c.store.Entries(ctx, id, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read the store: %w", err)
	}
	return Fold(entries), nil
}

// Entries is Client.Entries for this conversation alone, from the entry after seq on; 0 is the first that the user sees.
func (v *Conversation) Entries(ctx context.Context, seq uint64) iter.Seq2[*messagev1.Entry, error] {
	return v.c.entries(ctx, func() (*reader, error) {
		id, err := v.id()
		if err != nil {
			return nil, err
		}
		r := newReader("")
		r.only, r.cursors[id] = id, seq
		return r, nil
	})
}

// Fold turns raw entries, in any order and with any repeated, into the messages that they make: ascending by seq, each
// once. It is pure. Kinds that it does not know are left out, as a client shows nothing for them.
func Fold(entries []*messagev1.Entry) []*messagev1.Entry {
	out := slices.Clone(entries)
	slices.SortStableFunc(out, func(a, b *messagev1.Entry) int {
		return cmp.Or(cmp.Compare(a.GetConversationId(), b.GetConversationId()), cmp.Compare(a.GetSeq(), b.GetSeq()))
	})
	out = slices.CompactFunc(out, func(a, b *messagev1.Entry) bool {
		return a.GetConversationId() == b.GetConversationId() && a.GetSeq() == b.GetSeq()
	})
	return slices.DeleteFunc(out, func(e *messagev1.Entry) bool {
		_, known := messagev1.EntryKind_name[int32(e.GetKind())]
		return !known || e.GetKind() == messagev1.EntryKind_ENTRY_KIND_UNSPECIFIED
	})
}
