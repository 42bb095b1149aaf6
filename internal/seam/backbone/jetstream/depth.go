package jetstream

import (
	"context"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Depths returns what waits in the work queues and what lies in the dead-letter stream, as their leaders tell. Streams
// that do not answer, or do not exist yet, are left out.
func (b *Backbone) Depths(ctx context.Context) []backbone.Depth {
	var out []backbone.Depth
	for _, q := range []struct{ stream, name string }{
		{backbone.PushOnline.Stream(), string(backbone.PushOnline)},
		{backbone.PushOffline.Stream(), string(backbone.PushOffline)},
		{backbone.DeadStream, backbone.DeadQueue},
	} {
		if s, err := b.js.Stream(ctx, q.stream); err == nil {
			state := s.CachedInfo().State
			out = append(out, backbone.Depth{Queue: q.name, Tasks: state.Msgs, Bytes: state.Bytes})
		}
	}
	return out
}
