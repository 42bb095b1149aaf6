package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// balanced returns the ledger of a perfect run: two pairs, six messages, seqs 1 to 3 in each conversation.
func balanced() *ledger {
	l := newLedger(2, 6)
	for i := range l.messages {
		l.messages[i].due = time.Duration(i)
		l.messages[i].sent = time.Duration(i + 1)
		deliver(l, i)
	}
	return l
}

func seqOf(i int) uint64 { return uint64(i/2 + 1) }

func deliver(l *ledger, i int) {
	pair, sender := l.place(i)
	l.answered(pair, sender, i, time.Duration(i+10), seqOf(i), "id", "")
	l.pushed(pair, sender, i, time.Duration(i+20), seqOf(i))
	l.pushed(pair, 1-sender, i, time.Duration(i+30), seqOf(i))
}

func TestLedger(t *testing.T) {
	t.Parallel()
	right := balance{Sent: 6, Acked: 6, Received: 6, Echoed: 6}
	with := func(change func(*balance)) balance {
		b := right
		change(&b)
		return b
	}
	tests := []struct {
		name    string
		do      func(l *ledger)
		want    balance
		wantErr string
	}{
		{name: "perfect", do: func(*ledger) {}, want: right},
		{
			name: "an answer missing", do: func(l *ledger) { l.messages[5].acks = 0 },
			want: with(func(b *balance) { b.Acked = 5 }), wantErr: "acknowledged 5",
		},
		{
			name: "a delivery missing", do: func(l *ledger) { l.messages[2].deliveries = 0 },
			want: with(func(b *balance) { b.Received = 5 }), wantErr: "received 5",
		},
		{
			name: "an echo missing", do: func(l *ledger) { l.messages[2].echoes = 0 },
			want: with(func(b *balance) { b.Echoed = 5 }), wantErr: "echoed 5",
		},
		{
			name: "delivered twice", do: func(l *ledger) { l.pushed(0, 1, 0, 99, 1) },
			want: with(func(b *balance) { b.Doubles = 1 }), wantErr: "1 doubles",
		},
		{
			name: "acknowledged twice", do: func(l *ledger) { l.answered(0, 0, 0, 99, 1, "id", "") },
			want: with(func(b *balance) { b.Doubles = 1 }), wantErr: "1 doubles",
		},
		{
			name: "one seq for two", do: func(l *ledger) { m := &l.messages[4]; m.ackSeq, m.seq, m.echoSeq = 2, 2, 2 },
			want: with(func(b *balance) { b.Doubles = 1 }), wantErr: "1 doubles",
		},
		{
			name: "a hole", do: func(l *ledger) { m := &l.messages[4]; m.ackSeq, m.seq, m.echoSeq = 5, 5, 5 },
			want: with(func(b *balance) { b.Holes = 2 }), wantErr: "2 holes",
		},
		{
			name: "others saw another seq", do: func(l *ledger) { l.messages[1].seq = 7 },
			want: with(func(b *balance) { b.Renumbered = 1 }), wantErr: "1 renumbered",
		},
		{
			name: "refused", do: func(l *ledger) {
				l.messages[5] = message{sent: 1}
				l.answered(1, 0, 5, 99, 0, "", "OVERLOADED")
			},
			want: with(func(b *balance) {
				b.Acked, b.Received, b.Echoed, b.Refused, b.Refusal = 5, 5, 5, 1, "OVERLOADED"
			}), wantErr: "by OVERLOADED",
		},
		{
			name: "of another pair", do: func(l *ledger) { l.pushed(1, 0, 0, 99, 1) },
			want: with(func(b *balance) { b.Strays = 1 }), wantErr: "1 strays",
		},
		{
			name: "an answer to who did not ask", do: func(l *ledger) { l.answered(0, 1, 0, 99, 1, "id", "") },
			want: with(func(b *balance) { b.Strays = 1 }), wantErr: "1 strays",
		},
		{
			name: "of nobody", do: func(l *ledger) { l.pushed(0, 0, 600, 99, 1); l.pushed(0, 0, -1, 99, 1) },
			want: with(func(b *balance) { b.Strays = 2 }), wantErr: "2 strays",
		},
		{
			name: "a push left out", do: func(l *ledger) { l.pushGaps.Add(1) },
			want: with(func(b *balance) { b.PushGaps = 1 }), wantErr: "1 gaps",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := balanced()
			tt.do(l)
			got := l.balance()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("balance (-want +got):\n%s", diff)
			}
			err := got.err()
			if (err != nil) != (tt.wantErr != "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("err() = %v; want %q in it", err, tt.wantErr)
			}
		})
	}
}

func TestLedgerLog(t *testing.T) {
	t.Parallel()
	b := balanced().balance()
	b.Log = []string{"a message is lost"}
	if err := b.err(); err == nil || !strings.Contains(err.Error(), "a message is lost") {
		t.Errorf("err() = %v; want what the log contradicts", err)
	}
}

func TestLedgerComplete(t *testing.T) {
	t.Parallel()
	l := newLedger(2, 6)
	for i := range l.messages {
		if l.complete() {
			t.Fatalf("complete() after %d of 6 messages = true; want false", i)
		}
		deliver(l, i)
	}
	if !l.complete() {
		t.Error("complete() after all = false; want true")
	}
}

func TestLatencies(t *testing.T) {
	t.Parallel()
	ack, receive, late := balanced().latencies(2)
	for _, tt := range []struct {
		name string
		got  percentiles
		want time.Duration
	}{{"ack", ack, 10}, {"receive", receive, 30}, {"late", late, 1}} {
		if tt.got.Count != 4 || tt.got.P50 != tt.want || tt.got.Max != tt.want {
			t.Errorf("latencies(2): %s = %+v; want 4 of %d", tt.name, tt.got, tt.want)
		}
	}
}
