package bench

import (
	"fmt"
	"slices"
	"strings"
)

// balance sums a ledger up.
type balance struct {
	Sent       int  `json:"sent"`
	Acked      int  `json:"acknowledged"`
	Stored     int  `json:"stored"`     // found in history after the run
	Unread     bool `json:"unread"`     // history could not be read, so Stored says nothing
	Received   int  `json:"received"`   // by every other member
	Deliveries int  `json:"deliveries"` // pushes to others than the sender
	Echoes     int  `json:"echoes"`     // pushes of one's own messages to oneself
	Refused    int  `json:"refused"`
	// Doubles counts messages acknowledged, delivered to one member, or stored more than once.
	Doubles int `json:"doubles"`
	// Holes counts seqs that are missing in the logs, from the first of the run to the last that is stored.
	Holes int `json:"holes"`
	// Lost counts messages that were acknowledged or delivered and are not in the log at that place.
	Lost int `json:"lost"`
	// Reordered counts messages that stand before one that the same member sent earlier.
	Reordered int `json:"reordered"`
	// Unwanted counts messages that were refused for good and are in the log.
	Unwanted int `json:"unwanted"`
	Strays   int `json:"strays"`
	PushGaps int `json:"pushGaps"`
	// OutOfTurn counts pushes that overtook an earlier one, which the contract allows; Foreign entries of others.
	OutOfTurn int    `json:"outOfTurn"`
	Foreign   int    `json:"foreign"`
	Refusal   string `json:"refusal,omitempty"` // one of them
	First     string `json:"first,omitempty"`   // the first contradiction in words
}

// balance judges what came. Nobody may write to the ledger any more.
func (l *ledger) balance() balance {
	b := balance{
		Unread: l.unread, Strays: int(l.strays.Load()), PushGaps: int(l.pushGaps.Load()), OutOfTurn: int(l.outOfTurn.Load()), Foreign: int(l.foreign.Load()),
	}
	if s := l.refusal.Load(); s != nil {
		b.Refusal = *s
	}
	stored := make([][]uint64, l.conversations) // seqs of the run's messages, by i div conversations; 0: none
	for c := range l.convs {
		stored[c] = b.judgeLog(l, c)
	}
	for i := range l.messages {
		b.judge(l, i, stored[i%l.conversations][i/l.conversations])
	}
	b.judgeOrder(l)
	return b
}

// tell keeps the first contradiction in words.
func (b *balance) tell(format string, args ...any) {
	if b.First == "" {
		b.First = fmt.Sprintf(format, args...)
	}
}

// judgeLog looks at one conversation's log and returns where each of its messages stands.
func (b *balance) judgeLog(l *ledger, conv int) []uint64 {
	at := make([]uint64, len(l.deliveries[conv*l.members]))
	c := l.convs[conv]
	next := c.base + 1
	for _, e := range c.stored {
		switch {
		case e.seq < next:
			b.Doubles++
			b.tell("conversation %d: seq %d stands twice or in the wrong place", conv, e.seq)
		case e.seq > next:
			b.Holes += int(e.seq - next)
			b.tell("conversation %d: seq %d is missing", conv, next)
		}
		next = max(next, e.seq+1)
		i, ours := l.number([]byte(e.clientMsgID))
		if !ours {
			continue
		}
		if of, sender := l.place(i); of != conv || sender != e.sender {
			b.Strays++
			b.tell("conversation %d: message %d stands at seq %d by somebody else", conv, i, e.seq)
			continue
		}
		k := i / l.conversations
		if at[k] != 0 {
			b.Doubles++
			b.tell("conversation %d: message %d stands at seq %d and at %d", conv, i, at[k], e.seq)
			continue
		}
		at[k] = e.seq
		b.Stored++
		if m := l.messages[i]; m.acks > 0 && m.seq == e.seq && m.id != e.id {
			b.Lost++
			b.tell("message %d was acknowledged as %s and stands at seq %d as %s", i, m.id, e.seq, e.id)
		}
	}
	return at
}

// judge looks at one message, which stands at seq stored.
func (b *balance) judge(l *ledger, i int, stored uint64) {
	m := &l.messages[i]
	conv, sender := l.place(i)
	if m.sent > 0 {
		b.Sent++
	}
	b.Acked += int(min(m.acks, 1))
	b.Refused += int(min(m.refusals, 1))
	if m.acks+m.refusals > 1 {
		b.Doubles++
		b.tell("message %d was answered %d times", i, m.acks+m.refusals)
	}
	lost := m.acks > 0 && m.seq != stored && !l.unread
	if lost {
		b.tell("message %d was acknowledged at seq %d and stands at %d (0: nowhere)", i, m.seq, stored)
	}
	if m.definite && m.acks == 0 && stored != 0 {
		b.Unwanted++
		b.tell("message %d was refused and stands at seq %d", i, stored)
	}
	others := 0
	for member := range l.members {
		d := &l.deliveries[conv*l.members+member][i/l.conversations]
		if d.n == 0 {
			continue
		}
		if member == sender {
			b.Echoes++
		} else {
			others++
		}
		if d.n > 1 {
			b.Doubles++
			b.tell("message %d came %d times to member %d", i, d.n, member)
		}
		if d.seq != stored && !l.unread {
			lost = true
			b.tell("message %d came to member %d at seq %d and stands at %d (0: nowhere)", i, member, d.seq, stored)
		}
	}
	b.Deliveries += others
	if others == l.members-1 {
		b.Received++
	}
	if lost {
		b.Lost++
	}
}

// judgeOrder looks whether what a member sent stands in the order in which it was sent.
func (b *balance) judgeOrder(l *ledger) {
	last := make([]uint64, l.conversations*l.members)
	for i := range l.messages {
		m := &l.messages[i]
		if m.acks == 0 {
			continue
		}
		conv, sender := l.place(i)
		of := &last[conv*l.members+sender]
		if m.seq <= *of {
			b.Reordered++
			b.tell("message %d stands at seq %d, behind it at %d one that its sender sent before", i, m.seq, *of)
		}
		*of = max(*of, m.seq)
	}
}

// wrong returns what no load excuses: nil if nothing was lost, doubled or reordered.
func (b *balance) wrong() error {
	return b.join([]claim{
		{b.Doubles != 0, fmt.Sprintf("%d doubles", b.Doubles)},
		{b.Holes != 0, fmt.Sprintf("%d holes", b.Holes)},
		{b.Lost != 0, fmt.Sprintf("%d lost", b.Lost)},
		{b.Reordered != 0, fmt.Sprintf("%d reordered", b.Reordered)},
		{b.Unwanted != 0, fmt.Sprintf("%d stored though refused", b.Unwanted)},
		{b.Strays != 0, fmt.Sprintf("%d strays", b.Strays)},
		{b.PushGaps != 0, fmt.Sprintf("%d gaps in n", b.PushGaps)},
	})
}

// err returns nil if everything balances, else what does not.
func (b *balance) err() error {
	wrong := b.wrong()
	short := b.join([]claim{
		{
			b.Sent == 0 || b.Acked != b.Sent || b.Stored != b.Sent || b.Received != b.Sent || b.Echoes != b.Sent,
			fmt.Sprintf("sent %d, acknowledged %d, stored %d, received %d, echoed %d", b.Sent, b.Acked, b.Stored, b.Received, b.Echoes),
		},
		{b.Refused != 0, fmt.Sprintf("%d refused, one as %s", b.Refused, b.Refusal)},
	})
	switch {
	case wrong == nil:
		return short
	case short == nil:
		return wrong
	}
	return fmt.Errorf("%w; %w", short, wrong)
}

type claim struct {
	broken bool
	what   string
}

func (b *balance) join(claims []claim) error {
	claims = slices.DeleteFunc(claims, func(c claim) bool { return !c.broken })
	if len(claims) == 0 {
		return nil
	}
	var words []string
	for _, c := range claims {
		words = append(words, c.what)
	}
	text := strings.Join(words, "; ")
	if b.First != "" {
		text += " (" + b.First + ")"
	}
	return fmt.Errorf("the ledger does not balance: %s", text)
}
