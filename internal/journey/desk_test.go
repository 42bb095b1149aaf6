package journey_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/journey"
)

// wires is what carries signals between the processes of a test.
type wires struct {
	mu   sync.Mutex // guards subs and last
	subs map[string]map[int]func(string, []byte)
	last int
	down error
	sent []string // subjects
}

func (w *wires) Publish(subject string, data []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.down != nil {
		return w.down
	}
	w.sent = append(w.sent, subject)
	for _, fn := range w.subs[subject] {
		go fn(subject, data)
	}
	return nil
}

func (w *wires) Subscribe(subject, _ string, fn func(string, []byte)) (func(), error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last++
	id := w.last
	if w.subs == nil {
		w.subs = map[string]map[int]func(string, []byte){}
	}
	if w.subs[subject] == nil {
		w.subs[subject] = map[int]func(string, []byte){}
	}
	w.subs[subject][id] = fn
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.subs[subject], id)
	}, nil
}

func (w *wires) open() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.subs {
		n += len(s)
	}
	return n
}

func serve(ctx context.Context, t *testing.T, d *journey.Desk) {
	t.Helper()
	ready := make(chan struct{})
	go func() { _ = d.Run(ctx, func() { close(ready) }) }()
	<-ready
}

func get(t *testing.T, d *journey.Desk, id string) (int, journey.Report) {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle("GET /trace/{messageId}", d)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/trace/"+id, nil))
	var r journey.Report
	if w.Code == http.StatusOK || w.Code == http.StatusNotFound {
		if err := json.Unmarshal(w.Body.Bytes(), &r); err != nil {
			t.Fatalf("body %q: %v", w.Body, err)
		}
	}
	return w.Code, r
}

func stagesOf(r journey.Report) (out []string) {
	for _, s := range r.Steps {
		out = append(out, s.Process+" "+s.Stage)
	}
	return out
}

var id = string(chat.NewMessageID(1, 5))

// A message that went through three processes is shown whole by any of them, in the order of time, also by one that
// records nothing itself.
func TestFindOverProcesses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w, log := &wires{}, slog.New(slog.DiscardHandler)
		var desks []*journey.Desk
		var recs []*journey.Recorder
		for _, name := range []string{"a", "b", "c"} {
			r := journey.New(journey.Config{Events: 1 << 16}, name)
			recs, desks = append(recs, r), append(desks, journey.NewDesk(r, w, log))
		}
		desks = append(desks, journey.NewDesk(nil, w, log))
		for _, d := range desks {
			serve(ctx, t, d)
		}
		now := time.Now()
		recs[2].Record(journey.Event{When: now.Add(3), Message: id, Stage: journey.Acknowledged})
		recs[1].Record(journey.Event{When: now.Add(1), Message: id, Stage: journey.Committed})
		recs[2].Record(journey.Event{When: now.Add(2), Message: id, Stage: journey.Pushed})
		recs[0].Record(journey.Event{When: now, Message: id, Stage: journey.Accepted})
		want := []string{"a accepted", "b committed", "c pushed", "c acknowledged"}
		for i, d := range desks {
			code, r := get(t, d, id)
			if diff := cmp.Diff(want, stagesOf(r)); code != http.StatusOK || diff != "" {
				t.Errorf("desk %d: GET = %d, steps (-want +got):\n%s", i, code, diff)
			}
			if len(r.Processes) != 3 || r.Problem != "" {
				t.Errorf("desk %d: processes = %v, problem %q; want 3 and none", i, r.Processes, r.Problem)
			}
		}
		if code, r := get(t, desks[0], string(chat.NewMessageID(2, 5))); code != http.StatusNotFound || len(r.Processes) != 3 {
			t.Errorf("GET of an unknown message = %d, %d processes; want 404 of 3", code, len(r.Processes))
		}
		if n := w.open(); n != 3 {
			t.Errorf("%d subscriptions are open; want 3", n)
		}
		cancel()
		synctest.Wait()
	})
}

// More events than fit into one signal come in several.
func TestFindMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w, log := &wires{}, slog.New(slog.DiscardHandler)
		other := journey.New(journey.Config{Events: 1 << 16}, "other")
		serve(ctx, t, journey.NewDesk(other, w, log))
		for range 1234 {
			other.Record(journey.Event{When: time.Now(), Message: id, Stage: journey.Pushed})
		}
		if _, r := get(t, journey.NewDesk(nil, w, log), id); len(r.Steps) != 1234 || len(r.Processes) != 1 {
			t.Errorf("%d steps of %d processes; want 1234 of 1", len(r.Steps), len(r.Processes))
		}
		cancel()
		synctest.Wait()
	})
}

// A process shows what it knows itself when the others cannot be asked, and says so; one that is alone asks nobody.
func TestFindAlone(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	rec := journey.New(journey.Config{Events: 1 << 16}, "p")
	rec.Record(journey.Event{When: time.Now(), Message: id, Stage: journey.Accepted})
	if code, r := get(t, journey.NewDesk(rec, &wires{down: errors.New("gone")}, log), id); code != 200 || len(r.Steps) != 1 || r.Problem == "" {
		t.Errorf("GET with the backbone gone = %d, %+v; want 200, one step, a problem", code, r)
	}
	began := time.Now()
	if code, r := get(t, journey.NewDesk(rec, nil, log), id); code != 200 || len(r.Steps) != 1 || r.Problem != "" {
		t.Errorf("GET alone = %d, %+v; want 200, one step, no problem", code, r)
	}
	if took := time.Since(began); took > 900*time.Millisecond {
		t.Errorf("alone it took %v; want no wait for others", took)
	}
}

func TestBadIDs(t *testing.T) {
	t.Parallel()
	d := journey.NewDesk(nil, nil, slog.New(slog.DiscardHandler))
	for _, bad := range []string{"x", "m1", strings.Repeat("a", 80), "0123456789abc", "0123456789abc0", "%00", "a.b"} {
		if code, _ := get(t, d, bad); code != http.StatusBadRequest {
			t.Errorf("GET /trace/%s = %d; want 400", bad, code)
		}
	}
}

// A question cannot make a process send anywhere but to subjects of answers, nor break it.
func TestHostileQuestions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		w := &wires{}
		serve(ctx, t, journey.NewDesk(journey.New(journey.Config{Events: 1 << 16}, "p"), w, slog.New(slog.DiscardHandler)))
		questions := []string{
			``, `{`, `[]`, `{"messageId":"` + id + `"}`, `{"messageId":"` + id + `","reply":"oc.session.ended"}`,
			`{"messageId":"` + id + `","reply":"oc.trace.answer."}`, `{"messageId":"` + id + `","reply":"oc.trace.answer.>"}`,
			`{"messageId":"` + id + `","reply":"abc"}`, `{"messageId":"bad","reply":"oc.trace.answer.a"}`,
		}
		for _, q := range questions {
			_ = w.Publish(journey.Subject, []byte(q))
		}
		_ = w.Publish(journey.Subject, []byte(`{"messageId":"`+id+`","reply":"oc.trace.answer.good"}`))
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		var answers []string
		for _, s := range w.sent {
			if s != journey.Subject {
				answers = append(answers, s)
			}
		}
		if diff := cmp.Diff([]string{"oc.trace.answer.good"}, answers); diff != "" {
			t.Errorf("answered (-want +got):\n%s", diff)
		}
		cancel()
	})
}
