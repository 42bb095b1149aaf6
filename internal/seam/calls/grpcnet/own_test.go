package grpcnet_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	presencev1 "github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/grpcnet"
)

// server counts what it is asked, and answers.
type server struct {
	presencev1.UnimplementedPresenceInternalServiceServer
	asked atomic.Int64
	err   error
}

func (s *server) Lookup(context.Context, *presencev1.LookupRequest) (*presencev1.LookupResponse, error) {
	s.asked.Add(1)
	return &presencev1.LookupResponse{}, s.err
}

func lookup(ctx context.Context, n grpc.ClientConnInterface) error {
	_, err := presencev1.NewPresenceInternalServiceClient(n).Lookup(ctx, &presencev1.LookupRequest{UserIds: []string{"u1", "u2"}})
	return err
}

func newErr(cfg grpcnet.Config) (*grpcnet.Network, error) {
	log := slog.New(slog.DiscardHandler)
	cfg.MaxCalls, cfg.MaxAge = 1, time.Hour
	return grpcnet.New(cfg, netdoor.NewSet(netdoor.Trust{}, log, prometheus.NewRegistry()), log)
}

// eventually repeats f until it has no error.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-poll.C {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still %v", err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  grpcnet.Config
		want []string // in the error; none: no error
	}{
		{"defaults", grpcnet.Config{Addr: ":7070", Peers: "dns:///oceanchat-{target}:7070"}, nil},
		{"addresses only", grpcnet.Config{Addr: "127.0.0.1:0", Addrs: []string{"auth=a:1", "auth=[::1]:2", "ws-gateway=b:1"}}, nil},
		{"mTLS", grpcnet.Config{Addr: ":1", TLS: grpcnet.TLS{Cert: "c", Key: "k", CA: "a"}}, nil},
		{"one for all", grpcnet.Config{Addr: ":1", Peers: "dns:///oceanchat:7070"}, []string{"peers", "{target}"}},
		{"bad addresses", grpcnet.Config{Addr: "7070", Addrs: []string{"auth", "=a:1", "user=a"}}, []string{"addr =", `"auth"`, `"=a:1"`, `"user=a"`}},
		{"half of TLS", grpcnet.Config{Addr: ":1", TLS: grpcnet.TLS{Cert: "c", Key: "k"}}, []string{"tls"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := tt.cfg.Validate()
			if (err != nil) != (len(tt.want) > 0) {
				t.Fatalf("Validate = %v; want an error: %t", err, len(tt.want) > 0)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Validate = %v; want %q in it", err, want)
				}
			}
		})
	}
}

// A target is found by the pattern where it has no address of its own, and one that cannot be found is OVERLOADED.
func TestPeers(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		peers  string
		addrs  []string
		method string
		want   fault.Reason // "": no error
	}{
		{"by the pattern", "dns:///localhost:" + port + "#{target}", nil, "", ""},
		{"no such name", "dns:///{target}.invalid:" + port, nil, "", fault.Overloaded},
		{"no address at all", "", []string{"user=" + addr}, "", fault.Overloaded},
		{"no target", "", []string{"presence=" + addr}, "/grpc.health.v1.Health/Check", fault.Overloaded},
		{"addresses win", "dns:///{target}.invalid:1", []string{"presence=" + addr}, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			caller := newNetwork(t, grpcnet.Config{Addr: ":0", Peers: tt.peers, Addrs: tt.addrs})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			err := lookup(ctx, caller)
			if tt.method != "" {
				err = caller.Invoke(ctx, tt.method, &presencev1.LookupRequest{}, &presencev1.LookupResponse{})
			}
			if fault.ReasonOf(err) != tt.want || ctx.Err() != nil {
				t.Errorf("Lookup = %v; want reason %q", err, tt.want)
			}
		})
	}
}

// An instance that does not have the service yet is passed over.
func TestStartingInstanceIsPassedOver(t *testing.T) {
	t.Parallel()
	full, empty := freeAddr(t), freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, full)
	s := &server{}
	presencev1.RegisterPresenceInternalServiceServer(n, s)
	start(t, grpcnet.Config{}, empty)
	caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + full, "presence=" + empty}})
	eventually(t, func() error { return lookup(t.Context(), caller) })
	for range 50 {
		if err := lookup(t.Context(), caller); err != nil {
			t.Fatalf("Lookup = %v; want that the other instance answers", err)
		}
	}
}

// Connections that are made anew lose no call.
func TestMaxAge(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{MaxAge: 500 * time.Millisecond}, addr)
	s := &server{}
	presencev1.RegisterPresenceInternalServiceServer(n, s)
	caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}})
	calls := int64(0)
	for end := time.Now().Add(1800 * time.Millisecond); time.Now().Before(end); calls++ {
		if err := lookup(t.Context(), caller); err != nil {
			t.Fatalf("Lookup %d = %v; want no error", calls, err)
		}
	}
	if got := s.asked.Load(); got != calls {
		t.Errorf("%d calls were served; want %d", got, calls)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	check := func(service string) healthv1.HealthCheckResponse_ServingStatus {
		r, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service}, grpc.WaitForReady(true))
		if status.Code(err) == codes.NotFound {
			return healthv1.HealthCheckResponse_SERVICE_UNKNOWN
		}
		if err != nil {
			t.Errorf("Check(%q) = %v", service, err)
		}
		return r.GetStatus()
	}
	const name = "oceanchat.presence.v1.PresenceInternalService"
	if got := check(""); got != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("the process is %v; want SERVING", got)
	}
	if got := check(name); got != healthv1.HealthCheckResponse_SERVICE_UNKNOWN {
		t.Errorf("a service that is not registered is %v; want SERVICE_UNKNOWN", got)
	}
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	if got := check(name); got != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("a service that is registered is %v; want SERVING", got)
	}
	// A client that is none of ours sees the code and the message.
	err = conn.Invoke(t.Context(), "/"+name+"/Guess", &presencev1.LookupRequest{}, &presencev1.LookupResponse{})
	if s := status.Convert(err); s.Code() != codes.Unimplemented || !strings.Contains(s.Message(), "Guess") {
		t.Errorf("Guess by a foreign client = %v; want Unimplemented and its name", err)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	presencev1.RegisterPresenceInternalServiceServer(n, &server{})
	caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}})
	if err := lookup(t.Context(), caller); err != nil {
		t.Fatalf("Lookup = %v; want no error", err)
	}
	if err := caller.Close(); err != nil {
		t.Errorf("Close = %v; want nil", err)
	}
	if err := lookup(t.Context(), caller); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Lookup after Close = %v; want %s", err, fault.Overloaded)
	}
	if err := lookup(t.Context(), caller.Gateway("g1")); !fault.IsReason(err, fault.Overloaded) {
		t.Errorf("Lookup at a gateway = %v; want %s", err, fault.Overloaded)
	}
}

// Run tells when it cannot listen, and where it does.
func TestRun(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	if got := n.Addr(); got == nil || got.String() != addr {
		t.Errorf("Addr = %v; want %s", got, addr)
	}
	second := newNetwork(t, grpcnet.Config{Addr: addr})
	if err := second.Run(t.Context(), func() { t.Error("ready on a port that is taken") }); err == nil {
		t.Error("Run on a port that is taken = nil; want an error")
	}
	if second.Addr() != nil {
		t.Errorf("Addr of who does not listen = %v; want nil", second.Addr())
	}
}

// Metadata that a caller's context has for another connection does not cross, and only ours is understood.
func TestBadIdentity(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	n, _ := start(t, grpcnet.Config{}, addr)
	s := &server{}
	presencev1.RegisterPresenceInternalServiceServer(n, s)
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "oc-identity", "root")
	if err := lookup(ctx, conn); status.Code(err) != codes.InvalidArgument || s.asked.Load() != 0 {
		t.Errorf("Lookup as %q = %v, and served %d; want InvalidArgument, 0", "root", err, s.asked.Load())
	}
	caller := newNetwork(t, grpcnet.Config{Addr: ":0", Addrs: []string{"presence=" + addr}})
	if err := lookup(calls.WithShard(ctx, "7"), caller); err != nil {
		t.Errorf("Lookup with metadata of the caller's = %v; want that it does not cross", err)
	}
}
