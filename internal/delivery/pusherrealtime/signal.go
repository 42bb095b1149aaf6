package pusherrealtime

import (
	"context"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/obs"
)

// A lane holds signals that wait for one worker. Those about the same thing share a lane, so that of two changes the
// later one arrives later.
type lane chan *flowv1.Signal

func newLanes(n, waiting int) []lane {
	out := make([]lane, n)
	for i := range out {
		out[i] = make(lane, max(1, waiting/n))
	}
	return out
}

// receive puts a signal into its lane, or drops it when that is full.
func (s *Service) receive(lanes []lane, data []byte) {
	sig := &flowv1.Signal{}
	if err := proto.Unmarshal(data, sig); err != nil {
		s.m.signals.WithLabelValues("unreadable").Inc()
		return
	}
	select {
	case lanes[xxhash.Sum64String(about(sig))%uint64(len(lanes))] <- sig:
	default:
		s.m.signals.WithLabelValues("dropped").Inc()
	}
}

// about names what a signal tells of.
func about(sig *flowv1.Signal) string {
	switch p := sig.GetPush().(type) {
	case *flowv1.Signal_Typing:
		return p.Typing.GetConversationId()
	case *flowv1.Signal_Presence:
		return p.Presence.GetUserId()
	case *flowv1.Signal_Receipt:
		return p.Receipt.GetConversationId()
	case *flowv1.Signal_Conversation:
		return p.Conversation.GetConversation().GetConversationId()
	}
	return ""
}

func (s *Service) relay(ctx context.Context, l lane) {
	for {
		select {
		case <-ctx.Done():
			return
		case sig := <-l:
			s.tell(ctx, sig)
		}
	}
}

// tell passes a signal on to all connections of its users; what fails is lost.
func (s *Service) tell(ctx context.Context, sig *flowv1.Signal) {
	online, err := s.lookup(ctx, sig.GetUserIds())
	if err != nil {
		s.lost(ctx, err)
		return
	}
	for gateway, ids := range byGateway(online, sig.GetExceptConnectionId()) {
		if err := s.tellGateway(ctx, gateway, &wsgatewayv1.TellRequest{Signal: sig, ConnectionIds: ids}); err != nil {
			s.lost(ctx, err)
			continue
		}
		s.m.signals.WithLabelValues("told").Inc()
	}
}

func (s *Service) tellGateway(ctx context.Context, id string, r *wsgatewayv1.TellRequest) error {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	defer cancel()
	_, err := wsgatewayv1.NewGatewayServiceClient(s.deps.Network.Gateway(chat.GatewayID(id))).Tell(ctx, r)
	return err
}

func byGateway(online map[string][]*presencev1.Connection, except string) map[string][]string {
	out := map[string][]string{}
	for _, list := range online {
		for _, c := range list {
			if c.GetConnectionId() != except {
				out[c.GetGatewayId()] = append(out[c.GetGatewayId()], c.GetConnectionId())
			}
		}
	}
	return out
}

func (s *Service) lost(ctx context.Context, err error) {
	s.m.signals.WithLabelValues("lost").Inc()
	if n, ok := s.quiet.Allow("signal"); ok && ctx.Err() == nil {
		s.log.InfoContext(ctx, "a signal was lost", obs.Err, err, obs.Suppressed, n)
	}
}
