package bench

import (
	"bytes"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// message is what its sender saw of one message. Times count from the start of the load; 0 is "not yet". The schedule
// writes due, whoever sends writes sent, the sender's reader the answer; all are read after these have ended.
type message struct {
	due, sent, acked time.Duration
	acks, refusals   uint16
	definite         bool // the refusal says that nothing was stored
	unadvised        bool // it does not say when to try again
	reason           reason
	seq              uint64
	id               string
}

// delivery is what one member saw of one message. The member's reader alone writes it.
type delivery struct {
	at  time.Duration
	seq uint64
	n   uint16 // how often it came
}

// ledger is the account of one run: what was sent must be acknowledged, stored and delivered to every member, once each.
//
// Message i belongs to conversation i mod conversations; its members take turns in sending. A conversation has members 0
// to members-1, and all are connected. The rules are those of test/history, which keeps its account in maps by text and
// would be most of the load; a test holds the two together.
type ledger struct {
	run                    string // what clientMsgIds of this run begin with
	conversations, members int
	messages               []message
	deliveries             [][]delivery  // by conversation·members + member, then by i div conversations
	convs                  []convAccount // what the log held before and after
	unread                 bool          // it could not be read after: nothing is said of what it holds

	done      atomic.Int64 // answers and deliveries that came, for knowing when all have
	strays    atomic.Int64 // frames that belong to no message of that connection
	foreign   atomic.Int64 // entries that are not of this run
	pushGaps  atomic.Int64 // pushes whose n did not follow the one before
	outOfTurn atomic.Int64 // pushes with a lower seq than the one before
	refusal   atomic.Pointer[string]
	reasons   reasons
}

// reason is a refusal's, as a number of reasons; 0: none.
type reason uint8

// reasons are those that occurred; there are few.
type reasons struct {
	mu    sync.Mutex // guards names
	names []string
}

func (r *reasons) number(name string) reason {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.names, name)
	if i < 0 {
		i = len(r.names)
		r.names = append(r.names, name)
	}
	return reason(min(i+1, 255))
}

// of returns the reason why m was refused; "" if it was not. Nobody may write any more.
func (r *reasons) of(m *message) string {
	if m.reason == 0 {
		return ""
	}
	return r.names[m.reason-1]
}

// refusedAs records why request i was refused, and what was advised; answered says of whose it is.
func (l *ledger) refusedAs(i int, name string, retryAfter uint64) {
	if i >= 0 && i < len(l.messages) {
		l.messages[i].reason, l.messages[i].unadvised = l.reasons.number(name), retryAfter == 0
	}
}

// stored tells of each message whether it is in what was read of the log.
func (l *ledger) stored() []bool {
	is := make([]bool, len(l.messages))
	for _, c := range l.convs {
		for _, e := range c.stored {
			if i, ours := l.number([]byte(e.clientMsgID)); ours {
				is[i] = true
			}
		}
	}
	return is
}

// convAccount is a conversation's log: its end before the run, and what was read of it after.
type convAccount struct {
	base   uint64
	stored []storedEntry
}

// storedEntry is an entry as history has it after the run.
type storedEntry struct {
	seq             uint64
	id, clientMsgID string
	sender          int // member; -1 for somebody else
}

func newLedger(run string, conversations, members, count int) *ledger {
	l := &ledger{
		run: run, conversations: conversations, members: members, messages: make([]message, count),
		deliveries: make([][]delivery, conversations*members), convs: make([]convAccount, conversations),
	}
	each := (count + conversations - 1) / conversations
	for i := range l.deliveries {
		l.deliveries[i] = make([]delivery, each)
	}
	return l
}

// place returns the conversation of message i and which member sends it.
func (l *ledger) place(i int) (conv, sender int) {
	return i % l.conversations, i / l.conversations % l.members
}

// name appends the clientMsgId of message i.
func (l *ledger) name(dst []byte, i int) []byte {
	return strconv.AppendInt(append(dst, l.run...), int64(i), 10)
}

// number is name's inverse; false for an entry that is not of this run.
func (l *ledger) number(clientMsgID []byte) (int, bool) {
	digits, ours := bytes.CutPrefix(clientMsgID, []byte(l.run))
	if !ours {
		return 0, false
	}
	i, ok := leadingNumber(digits)
	return int(i), ok && i < uint64(len(l.messages))
}

// unsure are the reasons after which a message may be in the log nevertheless.
var unsure = []string{"OUTCOME_UNKNOWN", "OVERLOADED", "INTERNAL", "LOG_FULL", "SESSION_STORE_DOWN"}

// answered records that a member got the answer to request i: acknowledged at seq, or refused.
func (l *ledger) answered(conv, member, i int, now time.Duration, seq uint64, id, refusal string) {
	if i < 0 || i >= len(l.messages) {
		l.strays.Add(1)
		return
	}
	if c, sender := l.place(i); c != conv || sender != member {
		l.strays.Add(1)
		return
	}
	m := &l.messages[i]
	l.done.Add(1)
	if refusal != "" {
		m.refusals++
		m.definite = !slices.Contains(unsure, refusal)
		l.refusal.CompareAndSwap(nil, &refusal)
		return
	}
	if m.acks++; m.acks == 1 {
		m.acked, m.seq, m.id = now, seq, id
	}
}

// pushed records that a member got an entry.
func (l *ledger) pushed(conv, member int, clientMsgID []byte, now time.Duration, seq uint64) {
	i, ours := l.number(clientMsgID)
	if !ours {
		l.foreign.Add(1)
		return
	}
	if i%l.conversations != conv {
		l.strays.Add(1)
		return
	}
	d := &l.deliveries[conv*l.members+member][i/l.conversations]
	if d.n++; d.n == 1 {
		d.at, d.seq = now, seq
	} else if d.seq != seq {
		l.strays.Add(1)
	}
	l.done.Add(1)
}

// complete reports whether each message has its answer and all its deliveries, the one to its sender included.
func (l *ledger) complete() bool {
	return l.done.Load() >= int64(len(l.messages))*int64(l.members+1)
}

// latencies returns the times from due to the answer and from due to each delivery, and how late the client itself was,
// of the messages from first on. What never came has no latency: the balance speaks of it.
func (l *ledger) latencies(first int) (ack, receive, late percentiles) {
	var acks, receives, lates []time.Duration
	for i := first; i < len(l.messages); i++ {
		m := &l.messages[i]
		if m.acks > 0 {
			acks = append(acks, m.acked-m.due)
		}
		if m.sent > 0 {
			lates = append(lates, m.sent-m.due)
		}
		conv, sender := l.place(i)
		for member := range l.members {
			if d := &l.deliveries[conv*l.members+member][i/l.conversations]; d.n > 0 && member != sender {
				receives = append(receives, d.at-m.due)
			}
		}
	}
	return percentilesOf(acks), percentilesOf(receives), percentilesOf(lates)
}

// throughput returns the acknowledged messages a second among those from first on.
func (l *ledger) throughput(first int) float64 {
	if first >= len(l.messages) {
		return 0
	}
	begun, last, acked := l.messages[first].due, time.Duration(0), 0
	for i := first; i < len(l.messages); i++ {
		if m := &l.messages[i]; m.acks > 0 {
			acked++
			last = max(last, m.acked)
		}
	}
	if last <= begun {
		return 0
	}
	return float64(acked) / (last - begun).Seconds()
}
