package wsgateway

import (
	"context"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
)

// delivered counts an entry that was queued for its connections since began.
func (s *Service) delivered(e *messagev1.Entry, began time.Time) {
	if at := e.GetSentAt(); at != nil {
		s.m.delivery.Observe(max(0, time.Since(at.AsTime()).Seconds()))
	}
	s.deps.Trace.Passed(context.Background(), s.log, "delivered", e.GetMessageId(), began)
}
