package persistence

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// Trace makes t record the storing of each message. It must be called before Run.
func (s *Service) Trace(t *obs.Tracer) { s.tracer = t }

// Journey makes r remember the storing of each message. It must be called before Run.
func (s *Service) Journey(r *journey.Recorder) { s.journey = r }

// tell tells of the messages of the batch that was stored since began.
func (w *writer) tell(ctx context.Context, began time.Time) {
	now := time.Now()
	for _, id := range w.messages {
		w.tracer.Passed(ctx, w.log, "stored", id, began)
		w.journey.Record(journey.Event{When: now, Message: id, Stage: journey.Stored})
	}
}
