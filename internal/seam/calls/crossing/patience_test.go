package crossing_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/calls/crossing"
)

func TestPatience(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name           string
		inTime, silent int // of each round
		want           func(asked, silent int) bool
	}{
		{"one of two hangs", 1, 1, func(asked, silent int) bool { return asked == silent }},
		{"one of three answers", 2, 4, func(asked, silent int) bool { return asked == silent }},
		{"nobody answers", 0, 1, func(asked, _ int) bool { return asked == 50 }},
		{"hardly anybody answers", 1, 9, func(asked, silent int) bool { return asked < silent/10 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var p crossing.Patience
			asked := 0
			const rounds = 1000
			for range rounds {
				for range tt.inTime {
					p.Regain()
				}
				for range tt.silent {
					if p.Spend() {
						asked++
					}
				}
			}
			if silent := rounds * tt.silent; !tt.want(asked, silent) {
				t.Errorf("%d of %d calls were repeated; want otherwise", asked, silent)
			}
			for range 60 {
				p.Regain()
			}
			if !p.Spend() {
				t.Error("Spend after answers in time = false; want true")
			}
		})
	}
}
