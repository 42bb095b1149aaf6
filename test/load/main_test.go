package main

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{"--rows", "pairs,idle", "--rates", "2000,5000", "--duration", "3s", "--", "--log-pace", "4ms"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	want := options{
		rows: []string{"pairs", "idle"}, syncs: []string{"always", "interval"}, rates: []int{2000, 5000},
		duration: 3 * time.Second, warmup: 2 * time.Second, settle: 35 * time.Second, limit: 20 * time.Minute,
		pairs: 50, idle: 2000, server: []string{"--log-pace", "4ms"},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(options{})); diff != "" {
		t.Errorf("parse (-want +got):\n%s", diff)
	}
}

func TestParseRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
	}{
		{"an unknown row", []string{"--rows", "stop"}},
		{"an unknown log.sync", []string{"--sync", "never"}},
		{"a rate that is no number", []string{"--rates", "many"}},
		{"a rate of nothing", []string{"--rates", "0"}},
		{"no pairs", []string{"--pairs", "0"}},
		{"more pairs than history can fill", []string{"--pairs", "121"}},
		{"no idle connections", []string{"--idle", "-1"}},
		{"a row too short to mean anything", []string{"--duration", "10ms"}},
		{"an unknown flag", []string{"--speed", "9"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := parse(tt.args, io.Discard); !errors.Is(err, errUsage) {
				t.Errorf("parse(%q) error = %v; want %v", tt.args, err, errUsage)
			}
		})
	}
}
