package auth

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/fault"
)

func smallHasher(concurrency, queue int) *hasher {
	return newHasher(Config{
		HashMemory: 64 << 10, HashTime: 1, HashThreads: 1, HashConcurrency: concurrency, HashQueue: queue,
	}, prometheus.NewRegistry())
}

func TestHash(t *testing.T) {
	h := smallHasher(2, 2)
	hash, err := h.hash(t.Context(), "pässword")
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=64,t=1,p=1$") {
		t.Fatalf("hash = %q, %v; want the PHC form", hash, err)
	}
	if again, err := h.hash(t.Context(), "pässword"); again == hash || err != nil {
		t.Errorf("hash again = %q, %v; want another salt", again, err)
	}
	// From the tests of the reference implementation, with other parameters than the hasher's.
	const other = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$" +
		"nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"
	tests := []struct {
		name, hash, password string
		want, wantErr        bool
	}{
		{"right", hash, "pässword", true, false},
		{"wrong", hash, "password", false, false},
		{"no account", "", "pässword", false, false},
		{"other parameters", other, "password", true, false},
		{"other parameters, wrong", other, "passwort", false, false},
		{"bcrypt", "$2a$10$abc", "x", false, true},
		{"no parameters", "$argon2id$v=19$m=1$YWJj$YWJj", "x", false, true},
		{"no time", "$argon2id$v=19$m=64,t=0,p=1$YWJj$YWJj", "x", false, true},
		{"no key", "$argon2id$v=19$m=64,t=1,p=1$YWJj$", "x", false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := h.verify(t.Context(), tt.hash, tt.password)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("verify = %t, %v; want %t, error %t", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

// An unknown user costs what a known one costs.
func TestDecoyTakesTheSameWork(t *testing.T) {
	h := smallHasher(1, 1)
	hash, err := h.hash(t.Context(), "password")
	if err != nil {
		t.Fatal(err)
	}
	a, errA := parseHash(hash)
	b, errB := parseHash(h.decoy)
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if a.params != b.params || len(a.salt) != len(b.salt) || len(a.key) != len(b.key) {
		t.Errorf("decoy = %+v; want the parameters of %+v", b.params, a.params)
	}
}

// Invariant 7: hashing has a bound; beyond it there is a clear error, and nothing is held for ever.
func TestHasherIsBounded(t *testing.T) {
	h := smallHasher(1, 1)
	if err := h.enter(t.Context()); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { waiting <- h.enter(ctx) }()
	for h.queued.Load() < 2 {
		select {
		case err := <-waiting:
			t.Fatalf("second enter = %v; want it to wait", err)
		default:
		}
	}
	_, err := h.hash(t.Context(), "password")
	if f := fault.Of(err); f == nil || f.Reason != fault.Overloaded || f.RetryAfter <= 0 {
		t.Errorf("hash = %v; want OVERLOADED with advice", err)
	}
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("enter that was given up = %v; want canceled", err)
	}
	h.leave()
	if _, err := h.hash(t.Context(), "password"); err != nil || h.queued.Load() != 0 {
		t.Errorf("hash afterwards = %v, queued %d; want nil, 0", err, h.queued.Load())
	}
}
