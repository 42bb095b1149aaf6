package oceanchat

import (
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/proto"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// eventQueue is how many events wait for a slow loop; further ones are dropped.
const eventQueue = 256

// EventKind says what an Event tells of.
type EventKind string

// The kinds.
const (
	// EventConversation: Conversation(ID(e.ConversationID)).Info has something new, such as an entry or a cursor.
	EventConversation EventKind = "conversation"
	// EventTyping: UserID writes in ConversationID; take it as over after 6 s.
	EventTyping EventKind = "typing"
	// EventPresence: UserID has Status now.
	EventPresence EventKind = "presence"
	// EventReceipt: UserID has got or read ConversationID up to DeliveredSeq and ReadSeq.
	EventReceipt EventKind = "receipt"
)

// Event is something that passes. Which fields are set depends on Kind.
type Event struct {
	Kind                  EventKind
	ConversationID        string
	UserID                string
	Status                presencev1.Status
	LastSeenAt            time.Time
	DeliveredSeq, ReadSeq uint64
}

// ear is one loop over events.
type ear struct{ queue chan Event }

// Events yields what passes from now on until ctx ends or the client is closed. It is for screens: events are lost while
// the client is not online, and when the loop is 256 behind. What must not be lost comes by Entries.
func (c *Client) Events(ctx context.Context) iter.Seq[Event] {
	return func(yield func(Event) bool) {
		e := &ear{make(chan Event, eventQueue)}
		c.mu.Lock()
		c.ears[e] = struct{}{}
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			delete(c.ears, e)
			c.mu.Unlock()
		}()
		for {
			c.mu.Lock()
			closed, changed := c.state.Phase == Closed, c.changed
			c.mu.Unlock()
			if closed {
				return
			}
			select {
			case ev := <-e.queue:
				if !yield(ev) {
					return
				}
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

// emit never waits. c.mu is held.
func (c *Client) emit(ev Event) {
	for e := range c.ears {
		select {
		case e.queue <- ev:
		default:
		}
	}
}

// told takes a push that is no entry. Unknown ones are ignored: later versions of the server have more.
func (c *Client) told(s *session, p *wirev1.Push) error {
	switch p.GetMethod() {
	case "conversation":
		return onPush(p, func(m *wirev1.ConversationPush) error { return c.toldConversation(s, m) })
	case "receipt":
		return onPush(p, c.toldReceipt)
	case "typing":
		return onPush(p, func(m *wirev1.TypingPush) error {
			c.pass(Event{Kind: EventTyping, ConversationID: m.GetConversationId(), UserID: m.GetUserId()})
			return nil
		})
	case "presence":
		return onPush(p, func(m *wirev1.PresencePush) error {
			ev := Event{Kind: EventPresence, UserID: m.GetUserId(), Status: m.GetStatus()}
			if m.GetLastSeenAt() != nil {
				ev.LastSeenAt = m.GetLastSeenAt().AsTime()
			}
			c.pass(ev)
			return nil
		})
	case "resync":
		c.resync(s)
	}
	return nil
}

// onPush decodes the params of a push and hands them to f.
func onPush[T any, M interface {
	*T
	proto.Message
}](p *wirev1.Push, f func(M) error,
) error {
	m := M(new(T))
	if err := proto.Unmarshal(p.GetParams(), m); err != nil {
		return fmt.Errorf("decode the push %s: %w", p.GetMethod(), err)
	}
	return f(m)
}

func (c *Client) pass(ev Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emit(ev)
}

// toldConversation takes settings and a cursor that another device of the user changed.
func (c *Client) toldConversation(s *session, m *wirev1.ConversationPush) error {
	info := m.GetConversation()
	if info.GetConversationId() == "" {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.change()
	cv := c.conv(info.GetConversationId())
	cv.merge(info, false)
	ch.touch(cv)
	if !c.resyncing {
		ch.applied(cv, cv.log.Told(min(info.GetHead().GetSeq(), maxSeq(info)), info.GetLastEntry()))
	}
	if err := ch.commit(); err != nil {
		return err
	}
	c.repair(s, cv, holeDelay)
	return nil
}

func (c *Client) toldReceipt(m *wirev1.ReceiptPush) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emit(Event{
		Kind: EventReceipt, ConversationID: m.GetConversationId(), UserID: m.GetUserId(),
		DeliveredSeq: m.GetDeliveredSeq(), ReadSeq: m.GetReadSeq(),
	})
	cv := c.convs[m.GetConversationId()]
	if cv == nil || m.GetUserId() == c.meta.UserID || m.GetReadSeq() <= cv.info.GetPeerReadSeq() {
		return nil
	}
	if between(cv.id, c.meta.UserID) != m.GetUserId() {
		return nil // of a group the number means nothing
	}
	info := proto.CloneOf(cv.info)
	info.PeerReadSeq = m.GetReadSeq()
	cv.info = info
	ch := c.change()
	ch.touch(cv)
	return ch.commit()
}

// readTo moves a cursor as the server answered.
func (c *Client) readTo(conversation string, to *messagev1.Cursor) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	cv := c.convs[conversation]
	if cv == nil || !cv.moveRead(to) {
		return nil
	}
	ch := c.change()
	ch.touch(cv)
	return ch.commit()
}
