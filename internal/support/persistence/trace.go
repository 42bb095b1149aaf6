package persistence

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Trace makes t record the storing of each message. It must be called before Run.
func (s *Service) Trace(t *obs.Tracer) { s.tracer = t }

// tell tells of the messages of a batch that was stored since began. Entries are decoded for it, so only when somebody
// wants to know.
func (w *writer) tell(ctx context.Context, b store.Batch, began time.Time) {
	if w.tracer == nil && !w.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for _, e := range b.Entries {
		le := &flowv1.LogEntry{}
		if proto.Unmarshal(e.Data, le) == nil {
			w.tracer.Passed(ctx, w.log, "stored", le.GetEntry().GetMessageId(), began)
		}
	}
}
