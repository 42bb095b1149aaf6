package bench

import (
	"strings"
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	t.Parallel()
	plan := schedule{{10, 20}, {100, 50}, {10, 5}}
	for i, want := range map[int]time.Duration{0: 0, 19: 1900 * time.Millisecond, 20: 2 * time.Second, 69: 2490 * time.Millisecond, 70: 2500 * time.Millisecond, 74: 2900 * time.Millisecond} {
		if got := plan.due(i); got != want {
			t.Errorf("due(%d) = %v; want %v", i, got, want)
		}
	}
	if n, d := plan.count(), plan.lasts(); n != 75 || d != 3*time.Second {
		t.Errorf("count, lasts = %d, %v; want 75, 3s", n, d)
	}
}

// overloaded is a ledger of three stretches that balances, whose second half of the overload was refused.
func overloaded() (*ledger, schedule, *overloadRow) {
	plan := schedule{{10, 100}, {20, 200}, {10, 100}}
	led := newLedger("run-", 2, 2, plan.count())
	seqs := make([]uint64, 2)
	for i := range led.messages {
		conv, sender := led.place(i)
		led.messages[i].due, led.messages[i].sent = plan.due(i), plan.due(i)+1
		if i >= 200 && i < 300 {
			led.refusedAs(i, "OVERLOADED", 1000)
			led.answered(conv, sender, i, plan.due(i), 0, "", "OVERLOADED")
			continue
		}
		seqs[conv]++
		led.answered(conv, sender, i, plan.due(i)+time.Millisecond, seqs[conv], idOf(i), "")
		led.convs[conv].stored = append(led.convs[conv].stored, storedEntry{seqs[conv], idOf(i), string(led.name(nil, i)), sender})
		for member := range 2 {
			led.pushed(conv, member, led.name(nil, i), plan.due(i)+2*time.Millisecond, seqs[conv])
		}
	}
	return led, plan, &overloadRow{Bound: 100 * time.Millisecond, Memory: memory{Before: 1 << 20, Most: 2 << 20}}
}

func TestOverloadVerdict(t *testing.T) {
	t.Parallel()
	slow := func(l *ledger, from, to int, by time.Duration) {
		for i := from; i < to; i++ {
			l.messages[i].acked = l.messages[i].due + by
		}
	}
	tests := []struct {
		name string
		do   func(l *ledger, row *overloadRow)
		want string // "": nothing is wrong
	}{
		{"half was refused", func(*ledger, *overloadRow) {}, ""},
		{"slow for the first second after", func(l *ledger, _ *overloadRow) { slow(l, 300, 310, time.Second) }, ""},
		{"slow for ever after", func(l *ledger, _ *overloadRow) { slow(l, 300, 400, time.Second) }, "not back"},
		{"a refusal without advice", func(l *ledger, _ *overloadRow) { l.refusedAs(250, "RATE_LIMITED", 0) }, "1 refusals without retryAfterMs"},
		{"what is accepted waits for long", func(l *ledger, _ *overloadRow) { slow(l, 100, 200, time.Minute) }, "p99 of what was accepted"},
		{"memory grows", func(_ *ledger, row *overloadRow) { row.Memory.Most = 1 << 30 }, "memory grew"},
		{"next to nothing is accepted", func(l *ledger, _ *overloadRow) {
			for i := 101; i < 200; i++ {
				l.messages[i].acks = 0
			}
		}, "messages a second were acknowledged"},
		{"a refused message is stored", func(l *ledger, _ *overloadRow) { l.refusedAs(150, "OVERLOADED", 1) }, "1 messages were refused and are stored"},
		{"not everybody got everything", func(l *ledger, _ *overloadRow) { l.deliveries[1][2].n = 0 }, "stored 300, received 299"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			led, plan, row := overloaded()
			tt.do(led, row)
			row.read(led, plan)
			row.Balance = led.balance()
			err := row.verdict(led)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("verdict = %v; want %q", err, tt.want)
			}
		})
	}
	led, plan, row := overloaded()
	slow(led, 300, 320, time.Second)
	row.read(led, plan)
	if p := row.Phases[1]; p.Refused["OVERLOADED"] != 100 || p.Ack.Count != 100 || p.Throughput != 10 || row.Back != 2*time.Second {
		t.Errorf("phases = %+v, back after %v; want 100 of each under overload, and 2 s", row.Phases, row.Back)
	}
}
