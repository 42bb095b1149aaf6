package pusherrealtime_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	wsgatewayv1 "github.com/oceanchat/oceanchat/gen/oceanchat/wsgateway/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/delivery/pusherrealtime"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/nats"
)

// arrivals is what gateways got, and when: from each writer the tasks of a gateway are numbered.
type arrivals struct {
	wsgatewayv1.UnimplementedGatewayServiceServer

	mu  sync.Mutex // guards got
	got map[string][]arrival
}

type arrival struct {
	n  int
	at time.Time
}

// Deliver notes a task, whose id is "<line> <number>".
func (a *arrivals) Deliver(_ context.Context, r *wsgatewayv1.DeliverRequest) (*wsgatewayv1.DeliverResponse, error) {
	line, number, _ := strings.Cut(r.GetTask().GetId(), " ")
	n, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got[line] = append(a.got[line], arrival{n, time.Now()})
	return &wsgatewayv1.DeliverResponse{}, nil
}

func (a *arrivals) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, line := range a.got {
		n += len(line)
	}
	return n
}

// overtaken returns how long those had to be waited for that came behind a later one of their line, ascending.
func (a *arrivals) overtaken() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	var late []time.Duration
	for _, line := range a.got {
		for i, x := range line {
			if j := slices.IndexFunc(line[:i], func(y arrival) bool { return y.n > x.n }); j >= 0 {
				late = append(late, x.at.Sub(line[j].at))
			}
		}
	}
	slices.Sort(late)
	return late
}

// hung is a gateway that answers nothing.
type hung struct {
	wsgatewayv1.UnimplementedGatewayServiceServer
}

func (hung) Deliver(ctx context.Context, _ *wsgatewayv1.DeliverRequest) (*wsgatewayv1.DeliverResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Three instances share the tasks of three gateways over JetStream; a fourth gateway hangs. All others get every task. It
// says how often a task is overtaken by a later one of its gateway, and for how long: a client asks for what is missing
// after half a second only.
func TestOrderOverJetStream(t *testing.T) {
	t.Parallel()
	const writers, each = 4, 200
	gateways := []string{"g0", "g1", "g2"}
	c := backbonetest.StartCluster(t, 3)
	w, all := newWorld(), &arrivals{got: map[string][]arrival{}}
	w.set("ann", "g0/c", "g1/c", "g2/c", "hung/c")
	open := func(n int) (backbone.Backbone, *nats.Network) {
		b, _ := c.Open(t, n%3)
		net := nats.New(nats.Config{}, b, slog.New(slog.DiscardHandler))
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			net.Drain(ctx)
		})
		return b, net
	}
	b, host := open(0)
	for _, g := range gateways {
		host.ServeGateway(chat.GatewayID(g), func(r grpc.ServiceRegistrar) { wsgatewayv1.RegisterGatewayServiceServer(r, all) })
	}
	host.ServeGateway("hung", func(r grpc.ServiceRegistrar) { wsgatewayv1.RegisterGatewayServiceServer(r, hung{}) })
	presencev1.RegisterPresenceInternalServiceServer(host, w)
	q, err := b.Queue(t.Context(), backbone.PushOnline)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 3 {
		startOn(t, open, n)
	}
	var wg sync.WaitGroup
	for p := range writers { // as orchestrator does, one task after the other
		wg.Go(func() {
			for i := range each {
				for _, g := range append(slices.Clone(gateways), "hung") {
					if g == "hung" && i%20 > 0 {
						continue
					}
					err := publish(t, q, g, fmt.Sprintf("%d-%s %d", p, g, i))
					for errors.Is(err, context.DeadlineExceeded) {
						err = publish(t, q, g, fmt.Sprintf("%d-%s %d", p, g, i))
					}
					if err != nil {
						t.Errorf("Publish = %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
	want := writers * each * len(gateways)
	eventuallyIn(t, time.Minute, "all tasks but those of the gateway that hangs are delivered", func() bool { return all.count() >= want })
	late := all.overtaken()
	if len(late) == 0 {
		t.Logf("none of %d tasks was overtaken", want)
		return
	}
	t.Logf("%d of %d tasks were overtaken: half of them for %s or less, 99 %% %s, at most %s",
		len(late), want, late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
}

func publish(t *testing.T, q backbone.Queue, g, id string) error {
	t.Helper()
	data, err := proto.Marshal(task(t, id, g, text(1, "bob"), connection("ann", g+"/c")))
	if err != nil {
		return err
	}
	return q.Publish(t.Context(), g, strconv.FormatUint(rand.Uint64(), 36), data)
}

// startOn runs an instance with a connection of its own until t ends.
func startOn(t *testing.T, open func(int) (backbone.Backbone, *nats.Network), n int) {
	t.Helper()
	b, net := open(n)
	s := pusherrealtime.New(pusherrealtime.Config{
		InFlight: 64, CallTimeout: 5 * time.Second, PublishTimeout: 5 * time.Second, RetryDelay: 200 * time.Millisecond, Signals: 8, SignalWorkers: 1,
	}, pusherrealtime.Deps{Backbone: b, Network: net}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	ctx, cancel := context.WithCancel(context.Background())
	ready, over := make(chan struct{}), make(chan error, 1)
	go func() { over <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
	})
	<-ready
}

func eventuallyIn(t *testing.T, d time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(d); !cond(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}
