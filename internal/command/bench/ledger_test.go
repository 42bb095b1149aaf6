package bench

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/test/history"
)

const (
	convs   = 2
	members = 3
	count   = 12
)

// balanced returns the ledger of a perfect run: two groups of three, twelve messages, seqs 5 to 10 in each conversation.
func balanced() *ledger {
	l := newLedger("run-", convs, members, count)
	for c := range l.convs {
		l.convs[c].base = 4
	}
	for i := range l.messages {
		l.messages[i].due = time.Duration(i)
		l.messages[i].sent = time.Duration(i + 1)
		conv, sender := l.place(i)
		l.answered(conv, sender, i, time.Duration(i+10), seqOf(i), idOf(i), "")
		for m := range members {
			l.pushed(conv, m, l.name(nil, i), time.Duration(i+20+m), seqOf(i))
		}
		store(l, i)
	}
	return l
}

func seqOf(i int) uint64 { return uint64(5 + i/convs) }

func idOf(i int) string { return fmt.Sprintf("id%d", i) }

func store(l *ledger, i int) {
	conv, sender := l.place(i)
	l.convs[conv].stored = append(l.convs[conv].stored, storedEntry{seq: seqOf(i), id: idOf(i), clientMsgID: string(l.name(nil, i)), sender: sender})
}

var right = balance{Sent: 12, Acked: 12, Stored: 12, Received: 12, Deliveries: 24, Echoes: 12}

// Each case changes one thing in the record of a perfect run; inLog says that the log itself contradicts, which the
// checker of all other tests must see too.
var mutations = []struct {
	name    string
	do      func(l *ledger)
	wantErr string
	inLog   bool
}{
	{name: "an answer missing", do: func(l *ledger) { l.messages[5].acks = 0 }, wantErr: "acknowledged 11"},
	{name: "a delivery missing", do: func(l *ledger) { *at(l, 2, 0) = delivery{} }, wantErr: "received 11"},
	{name: "an echo missing", do: func(l *ledger) { *at(l, 0, 0) = delivery{} }, wantErr: "echoed 11"},
	{name: "delivered twice", do: func(l *ledger) { l.pushed(0, 1, []byte("run-0"), 99, 5) }, wantErr: "1 doubles"},
	{name: "delivered twice at two places", do: func(l *ledger) { l.pushed(0, 1, []byte("run-0"), 99, 6) }, wantErr: "1 doubles; 1 strays"},
	{name: "acknowledged twice", do: func(l *ledger) { l.answered(0, 0, 0, 99, 5, "id0", "") }, wantErr: "1 doubles"},
	{
		name: "acknowledged and lost at the end", do: func(l *ledger) { s := &l.convs[1].stored; *s = (*s)[:len(*s)-1] },
		wantErr: "1 lost", inLog: true,
	},
	{
		name: "acknowledged and lost in the middle", do: func(l *ledger) { s := &l.convs[0].stored; *s = append((*s)[:2], (*s)[3:]...) },
		wantErr: "1 holes; 1 lost", inLog: true,
	},
	{name: "nothing stored at all", do: func(l *ledger) { l.convs[0].stored = nil }, wantErr: "6 lost", inLog: true},
	{
		name: "stored twice", do: func(l *ledger) {
			s := &l.convs[0].stored
			again := (*s)[0]
			again.seq = 11
			*s = append(*s, again)
		},
		wantErr: "1 doubles", inLog: true,
	},
	{
		name: "stored as another", do: func(l *ledger) { l.convs[0].stored[3].id = "another" },
		wantErr: "1 lost", inLog: true,
	},
	{
		name: "two that changed places in the log", do: func(l *ledger) {
			s := l.convs[0].stored
			s[1].seq, s[2].seq = s[2].seq, s[1].seq
			s[1], s[2] = s[2], s[1]
		},
		wantErr: "2 lost", inLog: true,
	},
	{
		name: "one that overtook an earlier one of its sender", do: func(l *ledger) {
			a, b := &l.messages[0], &l.messages[6] // the same member's, in the same conversation
			a.seq, b.seq = b.seq, a.seq
		},
		wantErr: "2 lost; 1 reordered", inLog: true,
	},
	{
		name: "one that all agree on overtook an earlier one", do: func(l *ledger) {
			a, b := &l.messages[0], &l.messages[6]
			a.seq, b.seq, a.id, b.id = b.seq, a.seq, b.id, a.id
			for m := range members {
				x, y := at(l, 0, m), at(l, 6, m)
				x.seq, y.seq = y.seq, x.seq
			}
			s := l.convs[0].stored
			s[0].clientMsgID, s[3].clientMsgID = s[3].clientMsgID, s[0].clientMsgID
		},
		wantErr: "1 reordered",
	},
	{name: "others saw another seq", do: func(l *ledger) { at(l, 1, 2).seq = 9 }, wantErr: "1 lost"},
	{
		name: "refused", do: func(l *ledger) {
			l.messages[5] = message{sent: 1}
			l.answered(1, 2, 5, 99, 0, "", "OVERLOADED")
		},
		wantErr: "1 refused, one as OVERLOADED",
	},
	{
		name: "refused for good and stored", do: func(l *ledger) {
			l.messages[5] = message{sent: 1}
			l.answered(1, 2, 5, 99, 0, "", "NOT_MEMBER")
		},
		wantErr: "1 stored though refused",
	},
	{name: "of another conversation", do: func(l *ledger) { l.pushed(1, 0, []byte("run-0"), 99, 5) }, wantErr: "1 strays"},
	{name: "an answer to who did not ask", do: func(l *ledger) { l.answered(0, 1, 0, 99, 5, "id", "") }, wantErr: "1 strays"},
	{name: "an answer to nothing", do: func(l *ledger) { l.answered(0, 0, 600, 99, 5, "id", ""); l.answered(0, 0, -1, 99, 5, "id", "") }, wantErr: "2 strays"},
	{name: "stored by somebody else", do: func(l *ledger) { l.convs[0].stored[0].sender = -1 }, wantErr: "1 strays"},
	{name: "a push left out", do: func(l *ledger) { l.pushGaps.Add(1) }, wantErr: "1 gaps"},
	{name: "nothing sent", do: func(l *ledger) { *l = *newLedger("run-", convs, members, 0) }, wantErr: "sent 0"},
}

func at(l *ledger, i, member int) *delivery {
	return &l.deliveries[i%convs*members+member][i/convs]
}

func TestLedgerBalances(t *testing.T) {
	t.Parallel()
	l := balanced()
	got := l.balance()
	if diff := cmp.Diff(right, got); diff != "" || got.err() != nil {
		t.Errorf("balance of a perfect run: %v (-want +got):\n%s", got.err(), diff)
	}
	l.pushed(0, 0, []byte("other-7"), 99, 99) // somebody else writes here, and that is no fault
	l.convs[0].stored = append(l.convs[0].stored, storedEntry{seq: 11, id: "x", clientMsgID: "other-7", sender: -1})
	if b := l.balance(); b.err() != nil || b.Foreign != 1 {
		t.Errorf("balance with another's entry = %v, %d foreign; want nil, 1", b.err(), b.Foreign)
	}
}

// Invariants 1 to 3: whatever is lost, doubled, reordered or not stored is told, and what a log contradicts is told by
// the checker of the system tests as well.
func TestLedgerCatches(t *testing.T) {
	t.Parallel()
	for _, tt := range mutations {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := balanced()
			tt.do(l)
			b := l.balance()
			if err := b.err(); err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("err() = %v; want %q in it", err, tt.wantErr)
			}
			if said := checked(l); tt.inLog && len(said) == 0 {
				t.Errorf("test/history finds nothing wrong; the ledger says %v", b.err())
			}
		})
	}
	l := balanced()
	if said := checked(l); len(said) != 0 {
		t.Errorf("test/history finds wrong in a perfect run: %q", said)
	}
}

// checked hands a ledger's record to the checker that all other tests use. It wants logs from seq 1.
func checked(l *ledger) []string {
	var c history.Checker
	for conv := range l.convs {
		name := fmt.Sprint(conv)
		log := []history.Entry{}
		for seq := uint64(1); seq <= l.convs[conv].base; seq++ {
			log = append(log, history.Entry{Conversation: name, Seq: seq})
		}
		for _, e := range l.convs[conv].stored {
			log = append(log, history.Entry{Conversation: name, Seq: e.seq, MessageID: e.id, ClientMsgID: e.clientMsgID, Sender: fmt.Sprint(e.sender)})
		}
		c.Log(name, log)
	}
	for i := range l.messages {
		m := &l.messages[i]
		conv, sender := l.place(i)
		e := history.Entry{Conversation: fmt.Sprint(conv), Seq: m.seq, MessageID: m.id, ClientMsgID: string(l.name(nil, i)), Sender: fmt.Sprint(sender)}
		switch {
		case m.acks > 0:
			c.Acked(e)
		case m.definite:
			c.Refused(e.Sender, e.Conversation, e.ClientMsgID)
		}
	}
	return c.Violations()
}

// A log that could not be read is told as such and accuses nobody.
func TestLedgerUnread(t *testing.T) {
	t.Parallel()
	l := balanced()
	l.convs = make([]convAccount, convs)
	l.unread = true
	if b := l.balance(); b.wrong() != nil {
		t.Errorf("wrong() = %v; want nil", b.wrong())
	}
}

func TestLedgerComplete(t *testing.T) {
	t.Parallel()
	l := newLedger("run-", convs, members, count)
	for i := range l.messages {
		conv, sender := l.place(i)
		l.answered(conv, sender, i, 1, seqOf(i), idOf(i), "")
		for m := range members {
			if l.complete() {
				t.Fatalf("complete() before message %d came to member %d = true; want false", i, m)
			}
			l.pushed(conv, m, l.name(nil, i), 1, seqOf(i))
		}
	}
	if !l.complete() {
		t.Error("complete() after all = false; want true")
	}
}

// Latencies count from when a message was due, not from when it was sent.
func TestLatencies(t *testing.T) {
	t.Parallel()
	ack, receive, late := balanced().latencies(2)
	if ack.Count != 10 || ack.P50 != 10 || ack.Max != 10 {
		t.Errorf("latencies(2): ack = %+v; want 10 of 10", ack)
	}
	if receive.Count != 20 || receive.P50 < 20 || receive.Max != 22 {
		t.Errorf("latencies(2): receive = %+v; want 20 from 20 to 22", receive)
	}
	if late.Count != 10 || late.Max != 1 {
		t.Errorf("latencies(2): late = %+v; want 10 of 1", late)
	}
}

func TestThroughput(t *testing.T) {
	t.Parallel()
	l := balanced()
	l.messages[2].due, l.messages[11].acked = time.Second, 6*time.Second
	if got := l.throughput(2); got != 2 {
		t.Errorf("throughput of 10 in 5 s = %v; want 2", got)
	}
	if got := l.throughput(99); got != 0 {
		t.Errorf("throughput of none = %v; want 0", got)
	}
}
