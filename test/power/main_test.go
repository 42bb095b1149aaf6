package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/test/fleet"
)

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"--sync", "never"}, {"--names", "loose"}, {"--keep", "half"}, {"--clients", "1"}, {"--mode", "half"}, {"--only", "("}, {"x"}, {"--nonsense"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("parse(%q) = nil; want an error", args)
		}
	}
	f, err := parse([]string{"--mode", "cluster", "--short"})
	if err != nil || f.cuts != 1 {
		t.Errorf("parse(--mode cluster --short) = %+v, %v; want one cut", f, err)
	}
	f, err = parse([]string{"--short"})
	if err != nil || f.seed == 0 || f.sync != "always" || f.cuts > 4 {
		t.Errorf("parse(--short) = %+v, %v; want always, a seed and few cuts", f, err)
	}
}

// What is lost is told, and wrong if it is older than the interval.
func TestRow(t *testing.T) {
	cut := time.Now()
	r := row{name: "now and then", sync: "interval", names: "journal", within: lossWithin, cuts: 3, acked: 100, back: 250 * time.Millisecond}
	r.count([]fleet.Loss{{Acked: cut.Add(-900 * time.Millisecond)}, {Acked: cut.Add(-time.Millisecond)}}, cut)
	r.count(nil, cut)
	var out bytes.Buffer
	if err := r.tell(&out); err != nil {
		t.Errorf("tell = %v; want nil", err)
	}
	if want := "| now and then | interval | journal | 3 | 100 | 1 | 2 | 2 | 900 | 0.2 | 0 |\n"; out.String() != want {
		t.Errorf("tell wrote %q; want %q", out.String(), want)
	}
	r.count([]fleet.Loss{{Acked: cut.Add(-time.Minute)}}, cut)
	out.Reset()
	if err := r.tell(&out); err == nil || !strings.Contains(out.String(), "WRONG") {
		t.Errorf("tell of a loss that is a minute old = %v, %q; want an error", err, out.String())
	}
}
