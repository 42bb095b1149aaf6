package s3

import (
	"context"
	"errors"
	"time"
)

// errSlow is why a request was ended that the store let wait.
var errSlow = errors.New("the store took too long")

// watch ends a request whose next step the store makes us wait for too long. It runs between start and stop.
type watch struct {
	ctx   context.Context //nolint:containedctx // lives for one request
	timer *time.Timer
	limit time.Duration
}

// newWatch returns one that is stopped. cancel ends it, and the request.
func newWatch(ctx context.Context, limit time.Duration) (*watch, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watch{ctx: ctx, timer: time.AfterFunc(limit, func() { cancel(errSlow) }), limit: limit}
	w.timer.Stop()
	return w, func() {
		w.timer.Stop()
		cancel(nil)
	}
}

func (w *watch) start() { w.timer.Reset(w.limit) }
func (w *watch) stop()  { w.timer.Stop() }

// why returns err, or what ended the request if that was the watch.
func (w *watch) why(err error) error {
	if err != nil && errors.Is(context.Cause(w.ctx), errSlow) {
		return errSlow
	}
	return err
}
