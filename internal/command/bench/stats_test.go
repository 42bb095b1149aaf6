package bench

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPercentilesOf(t *testing.T) {
	t.Parallel()
	upTo := func(n int) []time.Duration {
		values := make([]time.Duration, n)
		for i := range values {
			values[i] = time.Duration(n - i) // descending: it has to sort
		}
		return values
	}
	tests := []struct {
		name   string
		values []time.Duration
		want   percentiles
	}{
		{"none", nil, percentiles{}},
		{"one is every percentile", upTo(1), percentiles{Count: 1, P50: 1, P99: 1, P999: 1, Max: 1}},
		{"of two the lower is the median", upTo(2), percentiles{Count: 2, P50: 1, P99: 2, P999: 2, Max: 2}},
		{"a hundred", upTo(100), percentiles{Count: 100, P50: 50, P99: 99, P999: 100, Max: 100}},
		{"a thousand", upTo(1000), percentiles{Count: 1000, P50: 500, P99: 990, P999: 999, Max: 1000}},
		{"one more than a thousand rounds up", upTo(1001), percentiles{Count: 1001, P50: 501, P99: 991, P999: 1000, Max: 1001}},
		{"one slow of ten", []time.Duration{1, 1, 1, 1, 1, 1, 1, 1, 1, 90}, percentiles{Count: 10, P50: 1, P99: 90, P999: 90, Max: 90}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, percentilesOf(tt.values)); diff != "" {
				t.Errorf("percentilesOf (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPercentilesShown(t *testing.T) {
	t.Parallel()
	p := percentiles{Count: 1, P50: 1234 * time.Microsecond, P99: 20 * time.Millisecond, P999: time.Second}
	if got, want := p.three(), "1.23 / 20.00 / 1000.00"; got != want {
		t.Errorf("three() = %q; want %q", got, want)
	}
}
