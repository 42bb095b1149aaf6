package backbonetest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

func TestFaultyAppend(t *testing.T) {
	l, err := backbonetest.Open(t).Log(t.Context(), 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	f := backbonetest.NewFaulty(l)
	tests := []struct {
		name    string
		fault   backbonetest.Fault
		wantErr error
		stored  bool
	}{
		{"pass", backbonetest.Pass, nil, true},
		{"lost acknowledgement", backbonetest.LoseAck, backbonetest.ErrInjected, true},
		{"failed before", backbonetest.FailBefore, backbonetest.ErrInjected, false},
		{"stored late", backbonetest.StoreLate, backbonetest.ErrInjected, false},
		{"conflict", backbonetest.Conflict, backbone.ErrConflict, false},
		{"full", backbonetest.Full, backbone.ErrFull, false},
		{"refused", backbonetest.Refuse, backbone.ErrRefused, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			last := lastOf(t, l)
			f.Next(tt.fault)
			if _, err := f.Append(t.Context(), []byte("x"), last); !errors.Is(err, tt.wantErr) {
				t.Errorf("Append = %v; want %v", err, tt.wantErr)
			}
			want := last
			if tt.stored {
				want++
			}
			if got := lastOf(t, l); got != want {
				t.Errorf("last = %d; want %d", got, want)
			}
		})
	}
	last := lastOf(t, l)
	f.Release() // stores what was to be late
	if got := lastOf(t, l); got != last+1 {
		t.Errorf("last after Release = %d; want %d", got, last+1)
	}
	f.FailReads(1)
	if _, err := f.Info(t.Context()); !errors.Is(err, backbonetest.ErrInjected) {
		t.Errorf("Info = %v; want %v", err, backbonetest.ErrInjected)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	f.Always(backbonetest.Hold)
	if _, err := f.Append(ctx, []byte("x"), last+1); !errors.Is(err, context.Canceled) {
		t.Errorf("Append in Hold with an ended context = %v; want %v", err, context.Canceled)
	}
}

func lastOf(t *testing.T, l backbone.Log) uint64 {
	t.Helper()
	i, err := l.Info(t.Context())
	if err != nil {
		t.Fatalf("Info = %v", err)
	}
	return i.Last
}
