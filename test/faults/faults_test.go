package main

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"--mode", "half"}, {"--clients", "1"}, {"--only", "("}, {"x"}, {"--nonsense"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("parse(%q) = nil; want an error", args)
		}
	}
	f, err := parse(nil)
	if err != nil || f.seed == 0 || f.mode != "cluster" {
		t.Errorf("parse of nothing = %+v, %v; want the cluster and a seed", f, err)
	}
}

// A walk is the same for the same seed, and never does two faults at once that touch the same.
func TestPick(t *testing.T) {
	run := killed()
	list := []fault{
		{name: "a", touches: "x", run: run},
		{name: "b", touches: "x", run: run},
		{name: "c", touches: "y", run: run},
		{name: "d", touches: everything, run: run},
	}
	walk := func(seed uint64) (names []string) {
		r := &runner{out: &bytes.Buffer{}, rnd: rand.New(rand.NewPCG(seed, 0))}
		for range 200 {
			a, b := r.pick(list)
			if b.run != nil && (a.touches == b.touches || a.touches == everything || b.touches == everything) {
				t.Errorf("at once: %s and %s", a.name, b.name)
			}
			names = append(names, a.name+b.name)
		}
		return names
	}
	first := walk(7)
	if diff := cmp.Diff(first, walk(7)); diff != "" {
		t.Errorf("two walks of one seed differ:\n%s", diff)
	}
	if cmp.Equal(first, walk(8)) {
		t.Error("two seeds make the same walk")
	}
	for _, want := range []string{"a", "d", "ac", "cb"} {
		if !strings.Contains(" "+strings.Join(first, " ")+" ", " "+want+" ") {
			t.Errorf("200 picks hold no %q", want)
		}
	}
}

func TestLine(t *testing.T) {
	res := row{
		name: "kill", times: 2, reads: 9, failed: map[string]int{"b": 1, "a": 2}, lost: 3, silence: 1234 * time.Millisecond,
		back: 50 * time.Millisecond, acked: 77, problems: []string{"x"},
	}
	if got, want := res.line(), "| kill | 2 | 3 of 9 (a 2, b 1) | 3 | 1.2 | 0.1 | 77 | 1 |\n"; got != want {
		t.Errorf("line = %q; want %q", got, want)
	}
}
