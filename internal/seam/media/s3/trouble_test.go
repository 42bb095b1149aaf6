package s3_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/oceanchat/oceanchat/internal/fault"
)

// TestPutInTrouble: a small blob is put again by itself, a large one never. Nothing is there unless Put says so, or that
// it does not know.
func TestPutInTrouble(t *testing.T) {
	t.Parallel()
	const none, all = 0, -1
	tests := []struct {
		name string
		size string
		n    int // troubled requests
		kind trouble
		want fault.Reason
		seen int // requests
		kept bool
	}{
		{"503 then fine", "small", 2, trouble{status: 503}, "", 3, true},
		{"500 then fine", "small", 1, trouble{status: 500, early: true}, "", 2, true},
		{"503 and no better", "small", all, trouble{status: 503}, fault.Overloaded, 3, false},
		{"500 and no better", "small", all, trouble{status: 500}, fault.OutcomeUnknown, 3, false},
		{"cut in the middle, then fine", "small", 1, trouble{request: 500}, "", 2, true},
		{"cut in the middle", "small", all, trouble{request: 500}, fault.OutcomeUnknown, 3, false}, // it went out whole
		{"the answer is lost, then fine", "small", 1, trouble{unheeded: true}, "", 2, true},
		{"the answer is lost", "small", all, trouble{unheeded: true}, fault.OutcomeUnknown, 3, true},
		{"503", "large", 1, trouble{status: 503}, fault.Overloaded, 1, false},
		{"503 before it was read", "large", 1, trouble{status: 503, early: true}, fault.Overloaded, 1, false},
		{"403 before it was read", "large", 1, trouble{status: 403, early: true}, fault.InternalReason, 1, false},
		{"cut in the middle", "large", 1, trouble{request: 1 << 20}, fault.Overloaded, 1, false},
		{"the answer is lost", "large", 1, trouble{unheeded: true}, fault.OutcomeUnknown, 1, true},
		{"none", "large", none, trouble{}, "", 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.size+", "+tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := local(t)
			direct := cfg
			p := between(t, &cfg, false)
			b := dial(t, cfg)
			size := sizes[tt.size]
			if tt.size == "large" {
				size = big
			}
			p.set(tt.n, tt.kind)
			if err := put(t.Context(), b, size); fault.ReasonOf(err) != tt.want {
				t.Errorf("Put = %v; want %q", err, tt.want)
			}
			if got := p.seen(); got != tt.seen {
				t.Errorf("Put sent %d requests; want %d", got, tt.seen)
			}
			got, err := read(t.Context(), dial(t, direct))
			if tt.kept && (err != nil || !bytes.Equal(got, pattern(size))) || !tt.kept && !fault.IsReason(err, fault.NotFoundReason) {
				t.Errorf("afterwards the store has %d bytes, %v; want the blob: %t", len(got), err, tt.kept)
			}
		})
	}
}

// TestReadInTrouble: a reader goes on where its connection was cut; Open and Delete are tried again.
func TestReadInTrouble(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		size string
		n    int // troubled requests
		kind trouble
		want fault.Reason
		seen int // requests; 0: any number
	}{
		{"503 then fine", "small", 2, trouble{status: 503}, "", 3},
		{"503 and no better", "small", -1, trouble{status: 503}, fault.Overloaded, 3},
		{"cut in the middle, then fine", "small", 1, trouble{answer: 500}, "", 2},
		{"cut in the middle, then fine", "large", 1, trouble{answer: 1 << 20}, "", 2},
		{"cut after each half", "large", -1, trouble{answer: 2 << 20}, "", 2},
		{"the answer is lost", "large", -1, trouble{unheeded: true}, fault.Overloaded, 0}, // net/http repeats by itself what a connection refuses that was used before
	}
	for _, tt := range tests {
		t.Run(tt.size+", "+tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := local(t)
			p := between(t, &cfg, false)
			b := dial(t, cfg)
			if err := put(t.Context(), b, sizes[tt.size]); err != nil {
				t.Fatal(err)
			}
			p.set(tt.n, tt.kind)
			got, err := read(t.Context(), b)
			if fault.ReasonOf(err) != tt.want || err == nil && !bytes.Equal(got, pattern(sizes[tt.size])) {
				t.Errorf("read %d bytes, %v; want %q", len(got), err, tt.want)
			}
			if seen := p.seen(); tt.seen > 0 && seen != tt.seen {
				t.Errorf("reading took %d requests; want %d", seen, tt.seen)
			}
			p.set(1, trouble{status: 503})
			if err := b.Delete(t.Context(), "m1"); err != nil {
				t.Errorf("Delete after a 503 = %v; want no error", err)
			}
		})
	}
}

// TestCutInTheMiddleOfReading: a reader that gets no further ends with an error, and gives no wrong byte before.
func TestCutInTheMiddleOfReading(t *testing.T) {
	t.Parallel()
	cfg := local(t)
	p := between(t, &cfg, false)
	b := dial(t, cfg)
	if err := put(t.Context(), b, big); err != nil {
		t.Fatal(err)
	}
	p.set(1, trouble{answer: 1 << 20})
	r, _, err := b.Open(t.Context(), "m1")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	p.set(-1, trouble{unheeded: true})
	got, err := io.ReadAll(r)
	if !fault.IsReason(err, fault.Overloaded) || !bytes.Equal(got, pattern(30 << 20)[:len(got)]) {
		t.Errorf("read %d bytes, %v; want a beginning of the blob and %s", len(got), err, fault.Overloaded)
	}
}
