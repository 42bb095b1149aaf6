// Package history judges a run from what its clients saw. It knows nothing of the server: clients record what was
// acknowledged, what was refused and what they received, and at the end what the log holds. A run is right if every
// acknowledged message stands exactly once, at the seq it was acknowledged with, if all saw the same, and if every
// log is contiguous from 1 (invariants 1 to 3).
package history

import (
	"fmt"
	"slices"
	"sync"
)

// Entry is an entry as a client saw it.
type Entry struct {
	Conversation string
	Seq          uint64
	MessageID    string
	ClientMsgID  string
	Sender       string
}

type sent struct{ sender, conversation, clientMsgID string }

// Checker collects what clients saw. The zero value is ready; it is safe for concurrent use.
type Checker struct {
	mu       sync.Mutex
	acked    map[sent]Entry
	refused  map[sent]bool
	received map[string][]Entry // by observer
	logs     map[string][]Entry // by conversation
}

// Acked records the answer to a send.
func (c *Checker) Acked(e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.acked == nil {
		c.acked = map[sent]Entry{}
	}
	c.acked[sent{e.Sender, e.Conversation, e.ClientMsgID}] = e
}

// Refused records that a send failed for certain: it must not be in the log.
func (c *Checker) Refused(sender, conversation, clientMsgID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused == nil {
		c.refused = map[sent]bool{}
	}
	c.refused[sent{sender, conversation, clientMsgID}] = true
}

// Received records an entry that observer got by push or by reading.
func (c *Checker) Received(observer string, e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.received == nil {
		c.received = map[string][]Entry{}
	}
	c.received[observer] = append(c.received[observer], e)
}

// Log records what a conversation's log holds at the end, ascending, as read from start to end.
func (c *Checker) Log(conversation string, entries []Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs == nil {
		c.logs = map[string][]Entry{}
	}
	c.logs[conversation] = entries
}

// AckedCount returns how many sends were acknowledged.
func (c *Checker) AckedCount() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.acked)
}

// Forgive takes out what was acknowledged and stands in no log, and returns it: for a server that may lose something, say by
// a power cut. What is still there must be where it was. All logs must be recorded before.
func (c *Checker) Forgive() (lost []Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	there := map[sent]bool{}
	for conv, log := range c.logs {
		for _, e := range log {
			there[sent{e.Sender, conv, e.ClientMsgID}] = true
		}
	}
	for k, e := range c.acked {
		if !there[k] {
			lost = append(lost, e)
			delete(c.acked, k)
		}
	}
	return lost
}

// Violations returns every rule that was broken, one sentence each; none: the run was right.
func (c *Checker) Violations() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	at := map[sent]Entry{}
	for conv, log := range c.logs {
		for i, e := range log {
			if e.Seq != uint64(i+1) {
				say("%s: seq %d stands where %d belongs", conv, e.Seq, i+1)
			}
			if e.ClientMsgID == "" {
				continue
			}
			k := sent{e.Sender, conv, e.ClientMsgID}
			if other, ok := at[k]; ok {
				say("%s: %s's %s stands twice, at seq %d and %d", conv, e.Sender, e.ClientMsgID, other.Seq, e.Seq)
			}
			if c.refused[k] {
				say("%s: %s's %s was refused and stands at seq %d", conv, e.Sender, e.ClientMsgID, e.Seq)
			}
			at[k] = e
		}
	}
	for k, acked := range c.acked {
		switch got, ok := at[k]; {
		case c.logs[k.conversation] == nil:
			say("%s: its log was never read", k.conversation)
		case !ok:
			say("%s: %s's %s was acknowledged at seq %d and is lost", k.conversation, k.sender, k.clientMsgID, acked.Seq)
		case got.Seq != acked.Seq || got.MessageID != acked.MessageID:
			say("%s: %s's %s was acknowledged at seq %d as %s and stands at %d as %s",
				k.conversation, k.sender, k.clientMsgID, acked.Seq, acked.MessageID, got.Seq, got.MessageID)
		}
	}
	for observer, entries := range c.received {
		for _, e := range entries {
			log := c.logs[e.Conversation]
			if log == nil {
				continue // a conversation that nobody read at the end
			}
			if e.Seq == 0 || e.Seq > uint64(len(log)) {
				say("%s: %s saw seq %d, the log ends at %d", e.Conversation, observer, e.Seq, len(log))
			} else if got := log[e.Seq-1]; got.MessageID != e.MessageID {
				say("%s: %s saw %s at seq %d, the log has %s", e.Conversation, observer, e.MessageID, e.Seq, got.MessageID)
			}
		}
	}
	slices.Sort(out)
	return out
}
