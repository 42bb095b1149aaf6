package pusherrealtime

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
)

// pushing tells of the messages of a task that was worked on since began. Entries are decoded for it, so only when
// somebody wants to know.
func (s *Service) pushing(ctx context.Context, task *flowv1.OnlineTask, began time.Time) {
	if s.deps.Trace == nil && !s.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	for _, item := range task.GetItems() {
		e := &messagev1.Entry{}
		if proto.Unmarshal(item.GetEntry(), e) == nil {
			s.deps.Trace.Passed(ctx, s.log, "pushed", e.GetMessageId(), began)
		}
	}
}
