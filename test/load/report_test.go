package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// Every row of a table has as many cells as its head, whatever was measured.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	r := report{
		Taken: "today", Start: &startRow{}, Idle: &idleRow{}, History: &historyRow{}, Seeding: &seeding{},
		Pairs: []pairRow{{Rate: 1000, Sync: "always"}, {Rate: 2000, Sync: "always", Error: "lost"}},
	}
	r.fail("2000/s", "lost")
	r.fail("100/s", "")
	var out bytes.Buffer
	if err := r.markdown(&out); err != nil {
		t.Fatal(err)
	}
	columns, rows := 0, 0
	for line := range strings.Lines(out.String()) {
		n := strings.Count(line, "|")
		switch {
		case n == 0:
			columns = 0
		case columns == 0:
			columns = n
		case n != columns:
			t.Errorf("%d cells under a head of %d: %s", n-1, columns-1, line)
		default:
			rows++
		}
	}
	if rows == 0 {
		t.Error("no table")
	}
	if got := strings.Count(out.String(), "**FAILED**"); got != 1 {
		t.Errorf("%d rows are told as failed; want 1", got)
	}
}

func TestHighest(t *testing.T) {
	t.Parallel()
	rows := []pairRow{
		{Rate: 1000, Sync: "always"},
		{Rate: 2000, Sync: "always", Receive: percentiles{P99: tolerable}},
		{Rate: 5000, Sync: "always", Receive: percentiles{P99: tolerable + 1}},
		{Rate: 10000, Sync: "always", Error: "lost"},
		{Rate: 20000, Sync: "interval", Receive: percentiles{P99: time.Second}},
	}
	if got := highest(rows, "always"); got != 2000 {
		t.Errorf("highest(always) = %d; want 2000", got)
	}
	if got := highest(rows, "interval"); got != 0 {
		t.Errorf("highest(interval) = %d; want 0", got)
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 100: "100", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q; want %q", n, got, want)
		}
	}
}
