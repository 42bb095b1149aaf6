// Package seqlog orders the entries of one conversation: it drops what came already, keeps back what came too early,
// and says which hole must be pulled. It is pure: it knows no clock, no network and no store.
//
// Invariants: an entry is returned as applied once; entries above the live edge are applied in order of seq without a
// gap, except over a hole that was given up or is too wide; at most MaxBuffer entries are kept back.
package seqlog

import (
	"maps"
	"slices"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

const (
	// MaxBuffer is how many entries wait behind a hole; what comes beyond is pulled later.
	MaxBuffer = 256
	// MaxHole is the widest hole that is filled. Behind a wider one the live edge starts anew.
	MaxHole = 300
)

// Log is the order of one conversation. The zero value is one of which nothing is known.
type Log struct {
	held   store.Ranges
	end    uint64 // the live edge: up to here everything is held, or not wanted
	known  uint64 // the highest seq that this connection told of
	noted  uint64 // the highest one of Note since the last Truncate
	placed bool   // end means something
	early  map[uint64]*messagev1.Entry
}

// New returns a Log that holds what a store has; its live edge is at the end of that, or at head.
func New(held store.Ranges, head uint64) *Log {
	l := &Log{held: held, end: head, placed: head > 0}
	if len(held) > 0 {
		l.end, l.placed = held[len(held)-1].To, true
	}
	return l
}

// Held returns the seqs that are held.
func (l *Log) Held() store.Ranges { return l.held }

// End returns the live edge.
func (l *Log) End() uint64 { return l.end }

// Offer takes an entry that was pushed or acknowledged, and returns what is applied now, ascending.
func (l *Log) Offer(e *messagev1.Entry) []*messagev1.Entry {
	seq := e.GetSeq()
	if seq == 0 {
		return nil
	}
	l.known = max(l.known, seq)
	if !l.placed {
		l.end, l.placed = seq-1, true
	}
	switch {
	case l.held.Has(seq) || l.early[seq] != nil:
		return nil
	case seq <= l.end: // from before the live edge
		l.held = l.held.Add(seq, seq)
		return []*messagev1.Entry{e}
	case seq > l.end+1 && seq <= l.end+MaxHole:
		l.keep(e)
		return nil
	}
	applied := l.abandon(seq - 1)
	l.held, l.end = l.held.Add(seq, seq), seq
	return append(append(applied, e), l.drain()...)
}

// Told takes what the server says of the conversation's end, with the entry that stands there if it came along. It
// returns what is applied now.
func (l *Log) Told(head uint64, last *messagev1.Entry) []*messagev1.Entry {
	if head == 0 {
		return nil
	}
	l.known = max(l.known, head)
	var applied []*messagev1.Entry
	if !l.placed || head > l.end+MaxHole {
		applied = l.abandon(head)
		l.placed = true
	}
	if last.GetSeq() == head {
		applied = append(applied, l.Offer(last)...)
	}
	return append(applied, l.drain()...)
}

// Note remembers that there is an entry, without taking it, while it is about to be judged what was lost.
func (l *Log) Note(seq uint64) { l.known, l.noted = max(l.known, seq), max(l.noted, seq) }

// Page takes the answer to a pull of what comes after a seq; it covers all up to to. It returns what is applied now.
func (l *Log) Page(after, to uint64, entries []*messagev1.Entry) []*messagev1.Entry {
	var applied []*messagev1.Entry
	for _, e := range entries {
		if seq := e.GetSeq(); seq > after && seq <= to && !l.held.Has(seq) {
			applied = append(applied, e)
			delete(l.early, seq)
		}
	}
	if to > after {
		l.held = l.held.Add(after+1, to)
	}
	if after <= l.end && to > l.end {
		l.end = to
	}
	l.known = max(l.known, to)
	l.forgetEarly()
	return append(applied, l.drain()...)
}

// Hole returns after which seq something is missing; ok is false if nothing is.
func (l *Log) Hole() (after uint64, ok bool) { return l.end, l.end < l.known }

// Skip gives the hole up: the log goes on with what was kept back, or at the newest seq known. It returns what is
// applied now.
func (l *Log) Skip() []*messagev1.Entry {
	if len(l.early) == 0 {
		l.end = max(l.end, l.known)
		return nil
	}
	l.end = slices.Min(slices.Collect(maps.Keys(l.early))) - 1
	return l.drain()
}

// Truncate forgets everything above last, because the server's log has lost it. What was noted has come since.
func (l *Log) Truncate(last uint64) {
	l.held = l.held.Truncate(last)
	l.end = min(l.end, last)
	l.known, l.noted, l.early = max(last, l.noted), 0, nil
}

// Forget tells that entries below first are not held any more.
func (l *Log) Forget(first uint64) { l.held = l.held.Forget(first) }

// Disconnected forgets what the lost connection told but could not be applied: the next sync tells it again. What is
// missing up to head is still a hole.
func (l *Log) Disconnected(head uint64) { l.known, l.noted, l.early = head, 0, nil }

func (l *Log) keep(e *messagev1.Entry) {
	if len(l.early) >= MaxBuffer {
		return
	}
	if l.early == nil {
		l.early = map[uint64]*messagev1.Entry{}
	}
	l.early[e.GetSeq()] = e
}

// drain applies what follows the live edge: entries that were kept back, and seqs that are held already.
func (l *Log) drain() []*messagev1.Entry {
	var applied []*messagev1.Entry
	for {
		if end := l.held.EndOf(l.end + 1); end != 0 {
			l.end = end
			l.forgetEarly()
			continue
		}
		e := l.early[l.end+1]
		if e == nil {
			return applied
		}
		delete(l.early, l.end+1)
		l.end++
		l.held = l.held.Add(l.end, l.end)
		applied = append(applied, e)
	}
}

// abandon moves the live edge to end without waiting for what is missing. What was kept back before it is applied.
func (l *Log) abandon(end uint64) []*messagev1.Entry {
	var applied []*messagev1.Entry
	for _, seq := range slices.Sorted(maps.Keys(l.early)) {
		if seq <= end {
			applied = append(applied, l.early[seq])
			l.held = l.held.Add(seq, seq)
		}
	}
	l.end = max(l.end, end)
	l.forgetEarly()
	return applied
}

// forgetEarly drops what the live edge has passed.
func (l *Log) forgetEarly() {
	maps.DeleteFunc(l.early, func(seq uint64, _ *messagev1.Entry) bool { return seq <= l.end })
}
