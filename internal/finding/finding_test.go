package finding_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/finding"
)

func TestClock(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name          string
		ahead, within time.Duration
		want          finding.Level
	}{
		{"together", 0, time.Millisecond, finding.OK},
		{"half a second is allowed", 500 * time.Millisecond, 0, finding.OK},
		{"ahead", 501 * time.Millisecond, 0, finding.Warning},
		{"behind", -2 * time.Second, 10 * time.Millisecond, finding.Warning},
		{"too slow a round trip to tell", -2 * time.Second, 1600 * time.Millisecond, finding.OK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := finding.Clock("c", tt.ahead, tt.within); got.Level != tt.want || (got.Do == "") != (tt.want == finding.OK) {
				t.Errorf("Clock(%s, %s) = %+v; want level %s", tt.ahead, tt.within, got, tt.want)
			}
		})
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	tests := []struct {
		name     string
		from, to time.Duration // from now
		want     finding.Level
	}{
		{"long", -day, 90 * day, finding.OK},
		{"two weeks", -day, 14 * day, finding.OK},
		{"soon", -day, 14*day - time.Second, finding.Warning},
		{"over", -2 * day, -day, finding.Problem},
		{"not yet", day, 2 * day, finding.Problem},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := finding.Expiry("c", now.Add(tt.from), now.Add(tt.to), now); got.Level != tt.want {
				t.Errorf("Expiry = %+v; want level %s", got, tt.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"none", nil, ""},
		{"joined", errors.Join(errors.New("a"), errors.New("b")), "a; b"},
		{"blanks", errors.New(" a\t b "), "a b"},
		{"long", errors.New(strings.Repeat("ä", 200)), strings.Repeat("ä", 150) + " …"},
	}
	for _, tt := range tests {
		if got := finding.Text(tt.err); got != tt.want {
			t.Errorf("%s: Text(%v) = %q; want %q", tt.name, tt.err, got, tt.want)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 10 << 30: "10 GiB", 3 << 50: "3072 TiB"} {
		if got := finding.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q; want %q", n, got, want)
		}
	}
}
