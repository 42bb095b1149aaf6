package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// message is what clients saw of one message. Times count from the start of the load; 0 is "not yet".
//
// Each field has one writer: the schedule for due and sent, the sender's reader for the answer and the echo (its own
// message as push), the receiver's reader for the delivery. All are read after these have ended.
type message struct {
	due, sent, acked, received time.Duration
	acks, refusals, deliveries uint16
	echoes                     uint16
	ackSeq, seq, echoSeq       uint64
	id                         string
}

// ledger is the account of one run: what was sent must be acknowledged, delivered and in the log, once each.
//
// Message i belongs to pair i mod pairs; the two of a pair take turns in sending, so every connection sends and receives.
type ledger struct {
	pairs    int
	messages []message

	done     atomic.Int64 // answers and deliveries that came, for knowing when all have
	strays   atomic.Int64 // frames that belong to no message of that connection
	pushGaps atomic.Int64 // pushes whose n did not follow the one before
	refusal  atomic.Pointer[string]
}

func newLedger(pairs, count int) *ledger {
	return &ledger{pairs: pairs, messages: make([]message, count)}
}

// place returns the pair of message i and which of its two sends.
func (l *ledger) place(i int) (pair, sender int) { return i % l.pairs, i / l.pairs % 2 }

// answered records that the connection of (pair, role) got the answer to request i: acknowledged at seq, or refused.
func (l *ledger) answered(pair, role, i int, now time.Duration, seq uint64, id, refusal string) {
	m := l.of(pair, i)
	if m == nil {
		return
	}
	if _, sender := l.place(i); sender != role {
		l.strays.Add(1)
		return
	}
	l.done.Add(1)
	if refusal != "" {
		m.refusals++
		l.refusal.CompareAndSwap(nil, &refusal)
		return
	}
	m.acks++
	if m.acks == 1 {
		m.acked, m.ackSeq, m.id = now, seq, id
	}
}

// pushed records that the connection of (pair, role) got message i as a push.
func (l *ledger) pushed(pair, role, i int, now time.Duration, seq uint64) {
	m := l.of(pair, i)
	if m == nil {
		return
	}
	if _, sender := l.place(i); sender == role {
		m.echoes++
		m.echoSeq = seq
	} else {
		m.deliveries++
		if m.deliveries == 1 {
			m.received, m.seq = now, seq
		}
	}
	l.done.Add(1)
}

func (l *ledger) of(pair, i int) *message {
	if i < 0 || i >= len(l.messages) || i%l.pairs != pair {
		l.strays.Add(1)
		return nil
	}
	return &l.messages[i]
}

// complete reports whether each message has its answer, its delivery and its echo.
func (l *ledger) complete() bool { return l.done.Load() >= 3*int64(len(l.messages)) }

// balance sums a ledger up.
type balance struct {
	Sent     int `json:"sent"`
	Acked    int `json:"acknowledged"`
	Received int `json:"received"` // by the other of the pair
	Echoed   int `json:"echoed"`   // pushes of one's own messages to oneself
	Refused  int `json:"refused"`
	// Doubles counts messages acknowledged or delivered more than once and seqs given twice.
	Doubles int `json:"doubles"`
	// Holes counts seqs that no message has, in 1 to the highest of each conversation.
	Holes int `json:"holes"`
	// Renumbered counts messages whose seq differs between the answer and a push.
	Renumbered int      `json:"renumbered"`
	Strays     int      `json:"strays"`
	PushGaps   int      `json:"pushGaps"`
	Refusal    string   `json:"refusal,omitempty"`
	Log        []string `json:"log,omitempty"` // what the reading of the log at the end contradicts
}

// balance judges what came. Nobody may write to the ledger any more.
func (l *ledger) balance() balance {
	b := balance{Strays: int(l.strays.Load()), PushGaps: int(l.pushGaps.Load())}
	if s := l.refusal.Load(); s != nil {
		b.Refusal = *s
	}
	seqs := make([][]uint64, l.pairs)
	for i := range l.messages {
		m := &l.messages[i]
		b.add(m)
		if m.acks > 0 {
			pair, _ := l.place(i)
			seqs[pair] = append(seqs[pair], m.ackSeq)
		}
	}
	for _, of := range seqs {
		holes, doubles := contiguous(of)
		b.Holes += holes
		b.Doubles += doubles
	}
	return b
}

func (b *balance) add(m *message) {
	if m.sent > 0 {
		b.Sent++
	}
	b.Acked += int(min(m.acks, 1))
	b.Received += int(min(m.deliveries, 1))
	b.Echoed += int(min(m.echoes, 1))
	b.Refused += int(min(m.refusals, 1))
	if m.acks+m.refusals > 1 || m.deliveries > 1 || m.echoes > 1 {
		b.Doubles++
	}
	differ := func(n uint16, seq uint64) bool { return n > 0 && m.acks > 0 && seq != m.ackSeq }
	if differ(m.deliveries, m.seq) || differ(m.echoes, m.echoSeq) {
		b.Renumbered++
	}
}

// contiguous sorts seqs and returns how many of 1 to the highest are missing and how many stand twice.
func contiguous(seqs []uint64) (holes, doubles int) {
	slices.Sort(seqs)
	var last uint64
	for _, seq := range seqs {
		if seq == last {
			doubles++
		} else {
			holes += int(seq - last - 1)
		}
		last = seq
	}
	return holes, doubles
}

// err returns nil if everything balances, else what does not.
func (b *balance) err() error {
	var wrong []string
	check := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	check(b.Acked != b.Sent || b.Received != b.Sent || b.Echoed != b.Sent,
		"sent %d, acknowledged %d, received %d, echoed %d", b.Sent, b.Acked, b.Received, b.Echoed)
	check(b.Refused != 0, "%d refused, one by %s", b.Refused, b.Refusal)
	check(b.Doubles != 0, "%d doubles", b.Doubles)
	check(b.Holes != 0, "%d holes", b.Holes)
	check(b.Renumbered != 0, "%d renumbered", b.Renumbered)
	check(b.Strays != 0, "%d strays", b.Strays)
	check(b.PushGaps != 0, "%d gaps in n", b.PushGaps)
	check(len(b.Log) != 0, "the log contradicts %d times, first: %s", len(b.Log), strings.Join(b.Log[:min(1, len(b.Log))], ""))
	if wrong == nil {
		return nil
	}
	return fmt.Errorf("the ledger does not balance: %s", strings.Join(wrong, "; "))
}

// latencies returns the times from due to answer and from due to delivery, and how late the client itself was, of the
// messages from first on. What never came has no latency: the balance speaks of it.
func (l *ledger) latencies(first int) (ack, receive, late percentiles) {
	var acks, receives, lates []time.Duration
	for i := range l.messages[first:] {
		m := &l.messages[first+i]
		if m.acks > 0 {
			acks = append(acks, m.acked-m.due)
		}
		if m.deliveries > 0 {
			receives = append(receives, m.received-m.due)
		}
		if m.sent > 0 {
			lates = append(lates, m.sent-m.due)
		}
	}
	return percentilesOf(acks), percentilesOf(receives), percentilesOf(lates)
}
