package journey_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/journey"
)

var t0 = time.Unix(1_700_000_000, 123)

// What was recorded of a message comes back, and nothing of another one.
func TestOf(t *testing.T) {
	t.Parallel()
	r := journey.New(journey.Config{Events: 1000}, "p")
	want := []journey.Event{
		{When: t0, Message: "m1", Stage: journey.Accepted, User: "ann", Detail: "request-1"},
		{When: t0.Add(time.Second), Message: "m1", Stage: journey.Pushed, User: "bob", Device: "phone", Via: "g1", Connection: "c1", Count: 7},
	}
	r.Record(want[0])
	r.Record(journey.Event{When: t0, Message: "m2", Stage: journey.Stored})
	r.Record(journey.Event{When: t0, Stage: journey.Stored, User: "hidden"})
	r.Record(want[1])
	got, _ := r.Of("m1")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Of(m1) (-want +got):\n%s", diff)
	}
	for _, id := range []string{"", "m", "m11", "m3"} {
		if got, _ := r.Of(id); len(got) != 0 {
			t.Errorf("Of(%q) = %v; want none", id, got)
		}
	}
}

// The memory has its bound: at least half of it and no more is kept, the newest, and since says what is missing.
func TestBound(t *testing.T) {
	t.Parallel()
	const bound = 16 * 20 // 20 for each sixteenth
	r := journey.New(journey.Config{Events: bound}, "p")
	before, started := r.Of("m")
	if len(before) != 0 || time.Since(started) > time.Minute {
		t.Fatalf("Of at the start = %v, since %v; want none, since now", before, started)
	}
	for i := range 1000 {
		r.Record(journey.Event{When: t0.Add(time.Duration(i) * time.Second), Message: "m", Stage: journey.Pushed, Count: i})
		got, since := r.Of("m")
		if n := min(i+1, 10); len(got) < n || len(got) > 20 {
			t.Fatalf("after %d events %d are remembered; want %d to 20", i+1, len(got), n)
		}
		if last := got[len(got)-1].Count; last != i {
			t.Fatalf("the last remembered is %d; want %d", last, i)
		}
		if got[0].Count > 0 && !since.Equal(got[0].When) {
			t.Fatalf("since = %v; want %v, the first of what is remembered", since, got[0].When)
		}
	}
}

// Strings that are too long are cut, and do not harm what stands behind them.
func TestLongStrings(t *testing.T) {
	t.Parallel()
	r := journey.New(journey.Config{Events: 1000}, "p")
	long := string(make([]byte, 1000))
	r.Record(journey.Event{When: t0, Message: "m", User: long, Device: long, Via: long, Connection: long, Detail: long, Count: -1})
	r.Record(journey.Event{When: t0, Message: "m", Detail: "next"})
	got, _ := r.Of("m")
	if len(got) != 2 || len(got[0].Detail) != 255 || got[0].Count != 0 || got[1].Detail != "next" {
		t.Errorf("Of = %v; want the long one cut and the next one whole", got)
	}
}

// A Recorder that is off is nil, does nothing and costs nothing.
func TestOff(t *testing.T) {
	r := journey.New(journey.Config{}, "p")
	if r != nil {
		t.Fatalf("New with 0 events = %v; want nil", r)
	}
	if n := testing.AllocsPerRun(100, func() { r.Record(journey.Event{Message: "m"}) }); n != 0 {
		t.Errorf("Record of a nil Recorder allocates %v times; want 0", n)
	}
	if got, _ := r.Of("m"); got != nil {
		t.Errorf("Of = %v; want nil", got)
	}
}

// Many record and look up at once.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	r := journey.New(journey.Config{Events: 1 << 20}, "p")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 1000 {
				r.Record(journey.Event{When: t0, Message: fmt.Sprintf("m%d", j%10), Stage: journey.Stored, Count: i})
				if j%100 == 0 {
					r.Of("m1")
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for j := range 10 {
		got, _ := r.Of(fmt.Sprintf("m%d", j))
		total += len(got)
	}
	if total != 8000 {
		t.Errorf("%d events are remembered; want 8000", total)
	}
}

func TestStageString(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for s := journey.Accepted; s <= journey.Parked; s++ {
		if name := s.String(); name == "" || seen[name] {
			t.Errorf("stage %d is called %q; want a name of its own", s, name)
		}
		seen[s.String()] = true
	}
	if got := journey.Stage(99).String(); got != "stage 99" {
		t.Errorf("Stage(99) = %q; want stage 99", got)
	}
}

var event = journey.Event{
	When: t0, Message: "0123456789abc5k", Stage: journey.Pushed, User: "abcdefghijklmnopqrstuvwxyz", Device: "d-abcdefghijklmn",
	Via: "abcdefghijklmnopqrstuvwxyz", Connection: "abcdefghijklmnop",
}

// Once the memory has its size, recording allocates nothing.
func TestRecordAllocatesNothing(t *testing.T) {
	r := journey.New(journey.Config{Events: 1024}, "p")
	for range 10_000 {
		r.Record(event)
	}
	if n := testing.AllocsPerRun(10_000, func() { r.Record(event) }); n != 0 {
		t.Errorf("Record allocates %v times; want 0", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	r := journey.New(journey.Config{Events: 65536}, "p")
	b.ReportAllocs()
	for b.Loop() {
		r.Record(event)
	}
}

// BenchmarkRecordParallel records different messages from all cores.
func BenchmarkRecordParallel(b *testing.B) {
	r := journey.New(journey.Config{Events: 65536}, "p")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		e := event
		for i := 0; pb.Next(); i++ {
			e.Message = ids[i%len(ids)]
			r.Record(e)
		}
	})
}

// BenchmarkOf looks a message up in a memory that is full.
func BenchmarkOf(b *testing.B) {
	r := journey.New(journey.Config{Events: 65536}, "p")
	for i := range 200_000 {
		e := event
		e.Message = ids[i%len(ids)]
		r.Record(e)
	}
	for b.Loop() {
		r.Of(ids[0])
	}
}

var ids = func() (out [64]string) {
	for i := range out {
		out[i] = fmt.Sprintf("%013d5k", i*7919)
	}
	return out
}()

// Under load messages to several devices are remembered by counts, those to very few never.
func TestEach(t *testing.T) {
	t.Parallel()
	r := journey.New(journey.Config{Events: 1000}, "p")
	count := func(n int, at time.Time) (yes int) {
		for range 1000 {
			if r.Each(n, at) {
				yes++
			}
		}
		return yes
	}
	for _, tt := range []struct {
		name    string
		n, want int
		at      time.Time
	}{
		{"many", journey.Few + 1, 0, t0},
		{"several", 50, 200, t0},
		{"several, in the same second", 50, 0, t0},
		{"very few, in the same second", 2, 1000, t0},
		{"several, in the next second", 100, 100, t0.Add(time.Second)},
	} {
		if got := count(tt.n, tt.at); got != tt.want {
			t.Errorf("%s: Each allowed %d of 1000; want %d", tt.name, got, tt.want)
		}
	}
	if (*journey.Recorder)(nil).Each(1, t0) {
		t.Error("Each of a Recorder that is off = true; want false")
	}
}
