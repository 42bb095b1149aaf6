package main

import (
	"context"
	"slices"
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
func TestStep(t *testing.T) {
	run := killed()
	list := []fault{
		{name: "a", touches: "x", run: run},
		{name: "b", touches: "x", run: run},
		{name: "c", touches: "y", run: run},
		{name: "d", touches: everything, run: run},
	}
	alone := map[string]bool{"b; a": true, "a; b": true, "a; a": true, "b; b": true, "c; c": true}
	walk := func(seed uint64) (names []string) {
		r := &runner{}
		for n := range uint64(200) {
			name := r.step(list, seed, n).name
			if alone[name] || strings.Contains(name, ";") && strings.Contains(name, "d") {
				t.Errorf("at once: %s", name)
			}
			names = append(names, name)
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
	for _, want := range []string{"a", "d", "a; c", "c; b"} {
		if !slices.Contains(first, want) {
			t.Errorf("200 steps hold no %q", want)
		}
	}
}

// What a step does by chance is its own: another one at the same time takes nothing from it.
func TestStepHasItsOwnChance(t *testing.T) {
	drawn := func() (a []int64) {
		list := []fault{{name: "a", run: func(_ context.Context, r *runner) error { a = append(a, r.below(1000), r.below(1000)); return nil }}}
		r := &runner{}
		for n := range uint64(5) {
			if err := r.step(list, 7, n).run(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		return a
	}
	first := drawn()
	if diff := cmp.Diff(first, drawn()); diff != "" || len(first) != 10 {
		t.Errorf("the same steps draw %v, and then differ:\n%s", first, diff)
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
