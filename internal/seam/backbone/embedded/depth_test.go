package embedded_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

func TestDepths(t *testing.T) {
	b, stop := backbonetest.OpenDir(t, t.TempDir())
	defer stop()
	s, ok := b.(*embedded.Server)
	if !ok {
		t.Fatalf("the backbone is a %T; want the embedded server", b)
	}
	online, err := s.Queue(t.Context(), backbone.PushOnline)
	if err != nil {
		t.Fatal(err)
	}
	offline, err := s.Queue(t.Context(), backbone.PushOffline)
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []backbone.Queue{online, online, offline} {
		if err := q.Publish(t.Context(), "x", "", []byte("12345")); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]uint64{}
	for _, d := range s.Depths(t.Context()) {
		got[d.Queue] = d.Tasks
		if d.Tasks > 0 && d.Bytes == 0 {
			t.Errorf("Depths: %+v; want its bytes too", d)
		}
	}
	if got["push-online"] != 2 || got["push-offline"] != 1 || got["dead"] != 0 || len(got) != 3 {
		t.Errorf("Depths = %v; want 2 push-online, 1 push-offline, 0 dead", got)
	}
}
