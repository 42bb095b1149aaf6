// Package pusherrealtime is the target that hands what orchestrator decided to the gateways that hold the connections
// (RT-1, RT-2). It consumes online tasks, commands the gateway of each, and turns whatever a gateway could not reach, or a
// device did not acknowledge, into offline tasks. It also passes on signals, which may be lost.
//
// It never decides who may see an entry, speaks to no client and keeps nothing. It keeps invariant 7: a task is done when
// its gateway has answered and those it missed are in a stored offline task; a gateway that does not answer is asked
// again for as long as presence lists it, and only then do its users count as gone.
//
// In one process the tasks of a gateway are delivered in the order published. In a cluster all instances share one consumer,
// and a task may be overtaken by a later one of its gateway: clients put entries in order by seq, and ask for what is
// missing only when a hole lasts (half a second in our SDK). TestOrderOverJetStream measures it with three instances that
// get tasks as fast as they can: 1 % are overtaken, by 3 ms at most; on a machine that is overloaded several times 17 to
// 30 %, by 0.19 s at most. To pin each gateway to one instance would let one that hangs hold up those that share its
// place. What waits for a retry is overtaken by all that follows, and is pulled.
package pusherrealtime

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/oceanchat/oceanchat/gen/oceanchat/flow/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	pusherrealtimev1 "github.com/oceanchat/oceanchat/gen/oceanchat/pusherrealtime/v1"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// Config is the "pusher_realtime" section of the configuration.
type Config struct {
	InFlight       int           `yaml:"in_flight" default:"64" min:"1" max:"10000" doc:"How many online tasks are worked on at a time; one gateway gets at most a quarter of them."`
	CallTimeout    time.Duration `yaml:"call_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long a gateway or presence may take to answer."`
	PublishTimeout time.Duration `yaml:"publish_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long the storing of an offline task may take."`
	RetryDelay     time.Duration `yaml:"retry_delay" default:"200ms" min:"1ms" max:"1m" doc:"How long a gateway that did not answer is left alone at first; it doubles up to 5s."`
	Signals        int           `yaml:"signals" default:"1024" min:"8" max:"1000000" doc:"How many signals may wait; more are dropped."`
	SignalWorkers  int           `yaml:"signal_workers" default:"8" min:"1" max:"256" doc:"How many signals are passed on at a time."`
}

const (
	consumerName  = "pusher-realtime" // also the group of those who share the signals
	signalSubject = "oc.signal"       // flowv1.Signal
	offlineTopic  = "task"            // of the queue PushOffline
	schema        = 1
	maxTries      = 100 // of a task, several minutes; then its users get offline pushes
	maxDelay      = 5 * time.Second
	busyDelay     = 10 * time.Millisecond // at first, for a gateway that has enough to do
	maxLookup     = 10_000
	maxTask       = 512 << 10 // bytes of an offline task, about
	publishTries  = 3
)

// streams is what pusher-realtime needs of the backbone.
type streams interface {
	// Queue is as in backbone.Backbone.
	Queue(ctx context.Context, name backbone.QueueName) (backbone.Queue, error)
	// Subscribe is as in backbone.Backbone.
	Subscribe(subject, group string, fn func(subject string, data []byte)) (stop func(), err error)
}

// Deps is what the service is plugged into; all but the last two are required.
type Deps struct {
	Backbone streams
	Network  calls.Network
	Trace    *obs.Tracer       // nil: off
	Journey  *journey.Recorder // nil: off
}

// Service is the target. It is safe for concurrent use.
type Service struct {
	pusherrealtimev1.UnimplementedPusherRealtimeServiceServer

	cfg      Config
	deps     Deps
	presence presencev1.PresenceInternalServiceClient
	offline  *offline
	gateways *gateways
	log      *slog.Logger
	quiet    *obs.Limiter
	m        *metrics
}

var _ pusherrealtimev1.PusherRealtimeServiceServer = (*Service)(nil)

// New returns a Service that does nothing before it is registered or run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	m := newMetrics(reg)
	return &Service{
		cfg: cfg, deps: d, log: log, quiet: obs.Every(time.Minute), m: m,
		presence: presencev1.NewPresenceInternalServiceClient(d.Network),
		offline:  &offline{streams: d.Backbone, timeout: cfg.PublishTimeout, m: m, journey: d.Journey},
		gateways: &gateways{net: d.Network, most: max(1, cfg.InFlight/4), busy: map[string]int{}},
	}
}

// Register serves s on a host.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	pusherrealtimev1.RegisterPusherRealtimeServiceServer(h, s)
}

// Run consumes tasks and signals until ctx ends and then waits for those under way. An error means that the queue could
// not be opened or the subject not be subscribed to.
func (s *Service) Run(ctx context.Context, ready func()) error {
	q, err := s.deps.Backbone.Queue(ctx, backbone.PushOnline)
	if err != nil {
		return fmt.Errorf("open the queue of online tasks: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	lanes := newLanes(s.cfg.SignalWorkers, s.cfg.Signals)
	stop, err := s.deps.Backbone.Subscribe(signalSubject, consumerName, func(_ string, data []byte) { s.receive(lanes, data) })
	if err != nil {
		return fmt.Errorf("subscribe to signals: %w", err)
	}
	defer stop()
	for _, lane := range lanes {
		g.Go(func() error { s.relay(ctx, lane); return nil })
	}
	g.Go(func() error {
		return q.Consume(ctx, backbone.Consumer{
			Name: consumerName, MaxInFlight: s.cfg.InFlight, MaxTries: maxTries, Handle: s.handle, Parked: s.parked,
		})
	})
	ready()
	return g.Wait()
}

func (s *Service) parked(t backbone.Task, err error) {
	s.m.parked.Inc()
	task := &flowv1.OnlineTask{}
	if proto.Unmarshal(t.Data, task) == nil {
		s.failed(task, journey.Parked, err)
	}
	s.log.Error("an online task was parked", "task", t.ID, obs.GatewayID, t.Topic, obs.Err, err)
}
