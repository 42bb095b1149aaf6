package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	const (
		start  = `{"Action":"start","Package":"p"}`
		okLine = `{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}`
		passed = `{"Action":"pass","Package":"p"}`
	)
	tests := []struct {
		name   string
		events []string
		want   bool
		shows  []string
		hides  string
	}{
		{
			name: "all passed",
			events: []string{
				start, `{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`, okLine, passed,
			},
			want: true, shows: []string{"ok  \tp\t0.1s", "1 packages with tests, 0 failures, 0 skips"}, hides: "noise",
		},
		{
			name: "a skip fails and gives its reason",
			events: []string{
				start, `{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:1: no server\n"}`,
				`{"Action":"skip","Package":"p","Test":"TestA"}`, okLine, passed,
			},
			shows: []string{"SKIP p TestA: a_test.go:1: no server", "1 skips"},
		},
		{
			name: "a package without tests is no skip",
			events: []string{
				start, okLine, passed, `{"Action":"output","Package":"q","Output":"?   \tq\t[no test files]\n"}`,
				`{"Action":"skip","Package":"q"}`,
			},
			want: true, shows: []string{"[no test files]"},
		},
		{
			name: "a failed test shows its output",
			events: []string{
				start, `{"Action":"output","Package":"p","Test":"TestA","Output":"got 1; want 2\n"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`, `{"Action":"fail","Package":"p"}`,
			},
			shows: []string{"got 1; want 2", "2 failures"},
		},
		{
			name: "a package that does not build fails",
			events: []string{
				`{"Action":"build-output","ImportPath":"p","Output":"syntax error\n"}`,
				`{"Action":"build-fail","ImportPath":"p"}`, `{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			},
			shows: []string{"syntax error"},
		},
		{
			name:   "a test without a verdict fails",
			events: []string{start, `{"Action":"output","Package":"p","Test":"TestA","Output":"panic\n"}`, passed},
			shows:  []string{"no verdict: p TestA", "panic"},
		},
		{name: "nothing ran", shows: []string{"0 packages"}},
		{name: "foreign lines are shown", events: []string{"go: cannot find module"}, shows: []string{"go: cannot find module"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			if got := report(strings.NewReader(strings.Join(tt.events, "\n")), &out); got != tt.want {
				t.Errorf("report = %v; want %v; output:\n%s", got, tt.want, out.String())
			}
			for _, want := range tt.shows {
				if !strings.Contains(out.String(), want) {
					t.Errorf("output lacks %q:\n%s", want, out.String())
				}
			}
			if tt.hides != "" && strings.Contains(out.String(), tt.hides) {
				t.Errorf("output shows %q:\n%s", tt.hides, out.String())
			}
		})
	}
}
