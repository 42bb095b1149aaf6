// Package pusheroffline is the target that notifies devices that are not on line, through the vendors' push services
// (OFF-1, OFF-2). It owns the devices' push tokens. An offline task is split into one vendor task per device, each in its
// vendor's own queue, and every vendor has its own consumer, concurrency and breaker: one that is slow or fails touches
// neither another nor the real-time path.
//
// It never decides who may see an entry, and never tells a vendor more than the recipient's settings allow: the text is
// made here and not later. It keeps invariant 7: what fails is tried again a bounded number of times, never past its
// expiry, and then parked. It keeps invariant 9: no text of a message and no whole token reaches the log.
//
// Each entry is a notification of its own, also when a task has several of one conversation; gathering them into "3 new
// messages" would need to hold them back, and is for later. The number on the app's icon is left alone, too.
package pusheroffline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	pushv1 "github.com/oceanchat/oceanchat/gen/oceanchat/push/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/apns"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/fcm"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Config is the "pusher_offline" section of the configuration.
type Config struct {
	TTL         time.Duration `yaml:"ttl" default:"24h" min:"1m" max:"24h" doc:"For how long after it was sent a message is worth a notification. The queue of them keeps no more than a day."`
	Tries       int           `yaml:"tries" default:"5" min:"1" max:"20" doc:"How often a vendor is asked to take one notification before it is given up."`
	Tasks       int           `yaml:"tasks" default:"8" min:"1" max:"256" doc:"How many offline tasks are split at a time."`
	Workers     int           `yaml:"workers" default:"50" min:"1" max:"1000" doc:"How many notifications are sent at a time to each vendor."`
	CallTimeout time.Duration `yaml:"call_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long user, group or the database may take to answer."`
	Pause       time.Duration `yaml:"pause" default:"30s" min:"10ms" max:"1h" doc:"How long a vendor is left alone that refuses our set-up or fails; then one notification tries it."`
	AppName     string        `yaml:"app_name" default:"OceanChat" doc:"Title of notifications to users who want no preview."`
	APNs        apns.Config   `yaml:"apns"`
	FCM         fcm.Config    `yaml:"fcm"`
}

const (
	schema       = 1
	taskTopic    = "task"
	taskName     = "task"    // what a task is called that is for no one vendor
	vendorTopic  = "vendor." // and the vendor's name
	logoutTopic  = "user.loggedOut"
	splitterName = "pusher-offline"
	logoutName   = "pusher-offline-logout"
	vendorName   = "push-" // and the vendor's name
	taskTries    = 50      // most of an hour, while user or the database is away
	maxDelay     = 5 * time.Minute
	chunk        = 500 // users in one question
	parallel     = 16  // publishes under way for one task
)

// streams is what pusher-offline needs of the backbone.
type streams interface {
	// Queue is as in backbone.Backbone.
	Queue(ctx context.Context, name backbone.QueueName) (backbone.Queue, error)
}

// Deps is what the service is plugged into; all but the last two are required.
type Deps struct {
	Backbone streams
	Network  calls.Network
	Tokens   store.PushTokens
	Trace    *obs.Tracer       // nil: off
	Journey  *journey.Recorder // nil: off
}

// Service is the target. It is safe for concurrent use.
type Service struct {
	cfg     Config
	deps    Deps
	tokens  store.PushTokens
	users   userv1.UserInternalServiceClient
	groups  groupv1.GroupInternalServiceClient
	vendors map[pushv1.Provider]*vendor // those that are configured
	log     *slog.Logger
	quiet   *obs.Limiter
	m       *metrics
}

// New returns a Service that does nothing before it is registered or run. cfg must be valid; it reads the credentials
// that cfg names. A vendor without any is off; an error names what is wrong with one that has some.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) (*Service, error) {
	s := &Service{
		cfg: cfg, deps: d, tokens: d.Tokens, log: log, quiet: obs.Every(time.Minute), m: newMetrics(reg),
		users:   userv1.NewUserInternalServiceClient(d.Network),
		groups:  groupv1.NewGroupInternalServiceClient(d.Network),
		vendors: map[pushv1.Provider]*vendor{},
	}
	a, err := apns.New(cfg.APNs, vendorapi.Options{})
	if err := s.plug(pushv1.Provider_PROVIDER_APNS, a, err); err != nil {
		return nil, err
	}
	f, err := fcm.New(cfg.FCM, vendorapi.Options{})
	if err := s.plug(pushv1.Provider_PROVIDER_FCM, f, err); err != nil {
		return nil, err
	}
	return s, nil
}

// adapter is a vendor's adapter with its connections.
type adapter interface {
	vendorapi.Sender
	// Close closes idle connections.
	Close() error
}

// plug adds an adapter, unless err says that it is not configured.
func (s *Service) plug(p pushv1.Provider, a adapter, err error) error {
	if errors.Is(err, vendorapi.ErrNotConfigured) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("push vendor: %w", err)
	}
	s.vendors[p] = newVendor(s, p, a)
	return nil
}

// providerName is a provider's word in the protocol, in topics and in metrics.
func providerName(p pushv1.Provider) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "PROVIDER_"))
}

// Register serves the public methods on h.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	pushv1.RegisterPushServiceServer(h, &devices{tokens: s.tokens, topic: s.cfg.APNs.Topic})
}

// Run consumes tasks until ctx ends and then waits for those under way. An error means that a queue could not be opened.
func (s *Service) Run(ctx context.Context, ready func()) error {
	q, err := s.deps.Backbone.Queue(ctx, backbone.PushOffline)
	if err != nil {
		return fmt.Errorf("open the queue of offline tasks: %w", err)
	}
	events, err := s.deps.Backbone.Queue(ctx, backbone.Events)
	if err != nil {
		return fmt.Errorf("open the queue of events: %w", err)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return q.Consume(ctx, s.splitter(q)) })
	g.Go(func() error { return events.Consume(ctx, s.logouts()) })
	for _, v := range s.vendors {
		g.Go(func() error {
			defer v.close()
			return q.Consume(ctx, v.consumer())
		})
	}
	ready()
	return g.Wait()
}

// parked is the alarm for a task in the dead-letter stream.
func (s *Service) parked(what string) func(backbone.Task, error) {
	return func(t backbone.Task, err error) {
		s.m.parked.WithLabelValues(what).Inc()
		s.givenUp(what, t.Data)
		if n, ok := s.quiet.Allow("parked " + what); ok {
			s.log.Error("a push task was given up", "task", t.ID, "topic", t.Topic, obs.AttemptNo, t.Tries, obs.Err, err, obs.Suppressed, n)
		}
	}
}

// delay doubles from first with each try, up to five minutes.
func delay(first time.Duration, try int) time.Duration {
	if shift := max(0, try-1); shift < 20 {
		return min(maxDelay, first<<shift)
	}
	return maxDelay
}
