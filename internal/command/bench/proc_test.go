package bench

import (
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	const tail = " S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20"
	tests := []struct {
		name, stat string
		want       time.Duration
		wantErr    bool
	}{
		{name: "plain", stat: "7 (oceanchat)" + tail, want: 2 * time.Second},
		{name: "a name with a space and a parenthesis", stat: "7 (a) (b c)" + tail, want: 2 * time.Second},
		{name: "cut off", stat: "7 (oceanchat) S 1 2", wantErr: true},
		{name: "empty", stat: "", wantErr: true},
		{name: "no number", stat: "7 (x) S 1 2 3 4 5 6 7 8 9 10 many 50 0", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseStat(tt.stat)
			if got != tt.want && !tt.wantErr || (err != nil) != tt.wantErr {
				t.Errorf("parseStat = %v, %v; want %v, error %t", got, err, tt.want, tt.wantErr)
			}
		})
	}
}

func TestParseRSS(t *testing.T) {
	t.Parallel()
	if got, err := parseRSS("Name:\tx\nVmRSS:\t    2048 kB\nThreads: 3\n"); got != 2<<20 || err != nil {
		t.Errorf("parseRSS = %d, %v; want %d, nil", got, err, 2<<20)
	}
	if _, err := parseRSS("Name:\tx\n"); err == nil {
		t.Error("parseRSS without VmRSS: no error")
	}
}

func TestParseMachine(t *testing.T) {
	t.Parallel()
	got, err := parseMachine("cpu  100 10 50 9000 800 5 5 30 0 0\ncpu0 1 2 3\n")
	if want := 2 * time.Second; got != want || err != nil {
		t.Errorf("parseMachine = %v, %v; want %v, nil", got, err, want)
	}
	if _, err := parseMachine("intr 5\n"); err == nil {
		t.Error("parseMachine of something else: no error")
	}
}

func TestOthers(t *testing.T) {
	t.Parallel()
	start := time.Unix(0, 0)
	before := usage{at: start}
	after := usage{at: start.Add(10 * time.Second), server: 3 * time.Second, client: 2 * time.Second, machine: 7 * time.Second}
	if got := after.others(before, 2); got != 10 {
		t.Errorf("others = %v; want 10", got)
	}
	if got := before.others(before, 2); got != 0 {
		t.Errorf("others of no time = %v; want 0", got)
	}
}
