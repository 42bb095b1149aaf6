package backbonetest

import (
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// inbox is a subscription and what it got.
type inbox struct {
	mu   sync.Mutex
	got  []string
	stop func()
}

func listen(t *testing.T, b backbone.Backbone, subject, group string) *inbox {
	t.Helper()
	i := &inbox{}
	stop, err := b.Subscribe(subject, group, func(subject string, data []byte) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.got = append(i.got, subject+" "+string(data))
	})
	if err != nil {
		t.Fatalf("Subscribe(%s, %q) = %v", subject, group, err)
	}
	t.Cleanup(stop)
	i.stop = stop
	return i
}

func (i *inbox) all() []string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.got)
}

func testSignals(t *testing.T, open Opener) {
	b, _ := open(t, t.TempDir())
	every := []*inbox{listen(t, b, "sig.a.>", ""), listen(t, b, "sig.a.*", "")}
	group := []*inbox{listen(t, b, "sig.a.x", "g"), listen(t, b, "sig.a.x", "g")}
	other := listen(t, b, "sig.b", "")
	var want []string
	for n := range 50 {
		if err := b.Publish("sig.a.x", []byte(strconv.Itoa(n))); err != nil {
			t.Fatalf("Publish = %v", err)
		}
		want = append(want, "sig.a.x "+strconv.Itoa(n))
	}
	for _, i := range every {
		eventually(t, "all signals", func() bool { return len(i.all()) >= len(want) })
		if diff := cmp.Diff(want, i.all()); diff != "" {
			t.Errorf("signals differ (-want +got):\n%s", diff)
		}
	}
	eventually(t, "all signals in the group", func() bool { return len(group[0].all())+len(group[1].all()) >= len(want) })
	got := append(group[0].all(), group[1].all()...)
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("signals of the group differ (-want +got):\n%s", diff)
	}

	every[0].stop()
	if err := b.Publish("sig.a.x", []byte("after")); err != nil {
		t.Fatalf("Publish = %v", err)
	}
	eventually(t, "signal after a stop", func() bool { return slices.Contains(every[1].all(), "sig.a.x after") })
	if got := every[0].all(); slices.Contains(got, "sig.a.x after") || len(other.all()) > 0 {
		t.Errorf("stopped got %v, other subject got %v; want nothing new", got, other.all())
	}
}
