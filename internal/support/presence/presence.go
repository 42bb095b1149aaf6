// Package presence is the target that knows which gateway holds which device (PRES-1), and tells it to those who may
// know: the pipeline for many users in one round trip (PRES-2), and users about friends and fellow members. It alone
// writes the fast state's connections and the leases of gateways. It stores nothing in a database and sends nothing
// to a client.
//
// It keeps this: a connection counts only while its gateway's lease lives; a removal names gateway and connection, so a
// slow goodbye erases no newer hello; of one device one connection is recorded, and of a user at most
// Config.MaxDevices devices; whoever may not see a user learns nothing of it, not even whether it exists.
package presence

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
)

// Config is the "presence" section of the configuration.
type Config struct {
	Lease      time.Duration `yaml:"lease" default:"15s" min:"1s" max:"10m" doc:"How long a gateway's connections count after its last renewal. Gateways renew several times as often."`
	SweepEvery time.Duration `yaml:"sweep_every" default:"5s" min:"100ms" max:"1h" doc:"How often what lapsed leases left behind is removed."`
	MaxDevices int           `yaml:"max_devices" default:"10" min:"1" max:"1000" doc:"How many devices of one user may be on line at once; the newest win."`
}

// Deps is what the service needs of others; all are required.
type Deps struct {
	State  faststate.Presence
	Users  userv1.UserInternalServiceClient
	Groups groupv1.GroupInternalServiceClient
}

// Service answers presencev1.PresenceService and presencev1.PresenceInternalService. It keeps no state of its own and
// is safe for concurrent use.
type Service struct {
	presencev1.UnimplementedPresenceServiceServer
	presencev1.UnimplementedPresenceInternalServiceServer

	cfg Config
	d   Deps
	log *slog.Logger
	m   metrics
}

var (
	_ presencev1.PresenceServiceServer         = (*Service)(nil)
	_ presencev1.PresenceInternalServiceServer = (*Service)(nil)
)

type metrics struct{ hellos, displaced, unknown, lapsed, lookups, found prometheus.Counter }

func newMetrics(reg prometheus.Registerer) metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "oceanchat_presence_" + name + "_total", Help: help})
		reg.MustRegister(c)
		return c
	}
	return metrics{
		hellos:    counter("hellos", "Connections that gateways registered."),
		displaced: counter("displaced", "Connections that newer ones displaced."),
		unknown:   counter("leases_begun", "Renewals of gateways without a live lease, which then register all connections."),
		lapsed:    counter("leases_lapsed", "Gateways that were gone without a word."),
		lookups:   counter("looked_up_users", "Users that were looked up for the pipeline."),
		found:     counter("looked_up_connections", "Connections that look-ups found."),
	}
}

// New returns a Service that does nothing before it is registered or run. cfg must be valid.
func New(cfg Config, d Deps, log *slog.Logger, reg prometheus.Registerer) *Service {
	return &Service{cfg: cfg, d: d, log: log, m: newMetrics(reg)}
}

// Register serves the public and the internal methods on h.
func (s *Service) Register(h grpc.ServiceRegistrar) {
	presencev1.RegisterPresenceServiceServer(h, s)
	presencev1.RegisterPresenceInternalServiceServer(h, s)
}

// Run removes what lapsed leases left behind until ctx ends. It is ready once the fast state has answered; if that
// fails at first, it returns the error.
func (s *Service) Run(ctx context.Context, ready func()) error {
	if err := s.sweep(ctx); err != nil {
		return fmt.Errorf("first sweep of leases: %w", err)
	}
	ready()
	tick := time.NewTicker(s.cfg.SweepEvery)
	defer tick.Stop()
	quiet := obs.Every(time.Minute)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			if n, ok := quiet.Allow(""); ok {
				s.log.WarnContext(ctx, "sweep of leases failed, the next one repeats it", obs.Err, err, obs.Suppressed, n)
			}
		}
	}
}

// sweep is for tidiness only: what lapsed counts no more without it.
func (s *Service) sweep(ctx context.Context) error {
	gone, err := s.d.State.Sweep(ctx, time.Now())
	if err != nil {
		return err
	}
	for _, g := range gone {
		s.log.WarnContext(ctx, "a gateway's lease ended; its users are off line", obs.GatewayID, string(g))
	}
	s.m.lapsed.Add(float64(len(gone)))
	return nil
}
