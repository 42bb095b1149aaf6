// Package router is the target between the gateways and the services: it decodes the raw packet of a long connection,
// finds the owner from the method's name, calls it, and encodes the answer. It holds back users who ask too often and
// services that fail. It owns no data, keeps nothing between requests but counters, and knows no method: a new service
// or method changes nothing here.
//
// It keeps invariant 8 for requests of long connections (whatever a packet holds, its sender gets an answer and nobody
// else notices) and says OUTCOME_UNKNOWN where a command may have had its effect, and OVERLOADED where only a reading was lost.
package router

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	routerv1 "github.com/oceanchat/oceanchat/gen/oceanchat/router/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/wire"
)

// Config is the "router" section of the configuration.
type Config struct {
	RateLimit int           `yaml:"rate_limit" default:"100" min:"0" doc:"Requests per second of one user on long connections, over all its devices, with a burst of as many. 0: no limit."`
	Timeout   time.Duration `yaml:"timeout" default:"10s" min:"100ms" doc:"How long a service may take to answer a request of a long connection."`
}

// network is what the router needs of the calls seam: a unary call by the method's full name.
type network interface {
	Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error
}

// Service routes packets. It is safe for concurrent use.
type Service struct {
	routerv1.UnimplementedRouterServiceServer

	cfg      Config
	net      network
	limits   faststate.Limits
	log      *slog.Logger
	registry prometheus.Registerer
	metrics  *metrics
	breakers map[string]*breaker // by target; never changed after New
	shards   int                 // into how many the log is divided; 0: unknown
}

var _ routerv1.RouterServiceServer = (*Service)(nil)

// New returns a Service that answers as soon as it is registered. cfg must be valid. net reaches the owners of all
// methods; Run adds the metrics to reg.
func New(cfg Config, net network, limits faststate.Limits, log *slog.Logger, reg prometheus.Registerer) *Service {
	s := &Service{cfg: cfg, net: net, limits: limits, log: log, registry: reg, breakers: map[string]*breaker{}}
	for _, m := range wire.Methods() {
		if target := calls.Target(m.FullMethod); s.breakers[target] == nil {
			s.breakers[target] = &breaker{}
		}
	}
	s.metrics = newMetrics(s.breakers)
	return s
}

// Shards tells how many partitions the log has, before Run. Requests about a conversation then go to the instance of
// message that appends to its partition, where there is one. It is a hint: any instance does.
func (s *Service) Shards(partitions int) { s.shards = partitions }

// Register serves the router on host.
func (s *Service) Register(host grpc.ServiceRegistrar) { routerv1.RegisterRouterServiceServer(host, s) }

// Run shows the metrics until ctx ends. The router has no state to load and no work of its own, so it is ready at once;
// requests under way belong to their callers.
func (s *Service) Run(ctx context.Context, ready func()) error {
	for i, c := range s.metrics.all() {
		if err := s.registry.Register(c); err != nil {
			return fmt.Errorf("register metric %d of the router: %w", i, err)
		}
		defer s.registry.Unregister(c)
	}
	ready()
	<-ctx.Done()
	return nil
}
