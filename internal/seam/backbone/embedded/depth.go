package embedded

import (
	"context"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Depths returns what waits in the work queues and what lies in the dead-letter stream; nothing of those on disk before
// Run is ready or while the server restarts. It asks memory only.
func (s *Server) Depths(context.Context) []backbone.Depth {
	s.online.mu.Lock()
	out := []backbone.Depth{{Queue: string(backbone.PushOnline), Tasks: uint64(s.online.tasks), Bytes: uint64(s.online.bytes)}}
	s.online.mu.Unlock()
	s.mu.Lock()
	life, running := s.life, s.js != nil
	s.mu.Unlock()
	if !running || life == nil {
		return out
	}
	streams := map[string]string{backbone.PushOffline.Stream(): string(backbone.PushOffline), backbone.DeadStream: backbone.DeadQueue}
	info, err := life.srv.Jsz(&natsserver.JSzOptions{Accounts: true, Streams: true})
	if err != nil { // JetStream is going down
		return out
	}
	for _, account := range info.AccountDetails {
		for _, stream := range account.Streams {
			if name, ok := streams[stream.Name]; ok {
				out = append(out, backbone.Depth{Queue: name, Tasks: stream.State.Msgs, Bytes: stream.State.Bytes})
			}
		}
	}
	return out
}
