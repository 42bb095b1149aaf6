package oceanchat_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

// others writes n texts that stand where lost ones stood, or behind them.
func (w *world) others(n int) (texts []string) {
	for range n {
		e := w.srv.Append(direct, "u2", fmt.Sprint("other ", len(w.srv.Log(direct))+1))
		texts = append(texts, fmt.Sprintf("%s/%d %s", direct, e.GetSeq(), e.GetText().GetText()))
	}
	return texts
}

// L7: the log lost its end, and others have written behind the cut before the client hears of it. What it holds under numbers
// that were given again goes, and what stands there now is read, once; what was not lost is not read again.
func TestNumbersGivenAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ had, kept, written int }{
		{5, 3, 1},      // fewer than were lost
		{5, 3, 2},      // as many
		{5, 3, 9},      // more
		{5, 0, 5},      // all was lost
		{5, 5, 3},      // nothing was
		{350, 20, 20},  // more than a page
		{350, 60, 300}, // all the way back, as far as a hole is filled
		{300, 200, 100},
	} {
		for _, online := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d, %d kept, %d written, online=%v", tt.had, tt.kept, tt.written, online), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					s := store.NewMemory()
					c := w.start("ann", with(s))
					in := listen(t.Context(), c, oceanchat.Live)
					w.say(direct, 1, 1)
					in.take(t, 1)
					w.say(direct, 2, tt.had-1)
					in.take(t, tt.had-1)
					if online { // what is pushed meanwhile is dropped as known, or comes behind what was lost
						w.srv.LoseLog(direct, uint64(tt.kept), false)
					} else {
						w.srv.Script(fakeserver.Rule{At: fakeserver.AtDial, Do: fakeserver.Cut, Times: 3})
						w.srv.CutAll()
						phase(t, c, oceanchat.Waiting)
						w.srv.LoseLog(direct, uint64(tt.kept), false)
					}
					want := w.others(tt.written)
					if online {
						synctest.Wait()
						for range max(0, tt.kept+tt.written-tt.had) { // pushed as new already, and read once more behind the others
							in.take(t, 1)
						}
						w.srv.LoseLog(direct, uint64(tt.kept+tt.written), true)
					}
					if tt.kept < tt.had || !online {
						if d := cmp.Diff(want, in.take(t, tt.written)); d != "" {
							t.Errorf("entries of the new epoch (-want +got):\n%s", d)
						}
					}
					time.Sleep(time.Minute)
					in.nothing(t)
					held, err := s.Entries(t.Context(), direct, 0, 1000)
					if log := w.srv.Log(direct); err != nil || len(held) != len(log) {
						t.Fatalf("stored are %d entries, %v; want %d", len(held), err, len(log))
					}
					for i, e := range w.srv.Log(direct) {
						if held[i].GetMessageId() != e.GetMessageId() {
							t.Errorf("stored at seq %d is %s; want %s", e.GetSeq(), held[i].GetMessageId(), e.GetMessageId())
						}
					}
				})
			})
		}
	}
}

// The comparison goes through refusals and lost answers; a connection that ends meanwhile begins it anew.
func TestCompareThroughFaults(t *testing.T) {
	t.Parallel()
	for name, rule := range map[string]fakeserver.Rule{
		"refused": {At: fakeserver.AtRequest, Method: "query.entries", Do: fakeserver.Fail, ErrorCode: "RESOURCE_EXHAUSTED", Reason: "RATE_LIMITED", Times: 3},
		"cut":     {At: fakeserver.AtRequest, Method: "query.entries", Do: fakeserver.Cut, Times: 2},
		"lost":    {At: fakeserver.AtReply, Method: "query.entries", Do: fakeserver.Drop},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := w.start("ann")
				in := listen(t.Context(), c, oceanchat.Live)
				w.say(direct, 1, 5)
				in.take(t, 5)
				w.srv.Script(rule)
				w.srv.LoseLog(direct, 2, false)
				want := w.others(3)
				w.srv.CutAll()
				if d := cmp.Diff(want, in.take(t, 3)); d != "" {
					t.Errorf("entries of the new epoch (-want +got):\n%s", d)
				}
				if n := w.srv.Left(); n != 0 {
					t.Errorf("%d faults were not met", n)
				}
				in.nothing(t)
			})
		})
	}
}
