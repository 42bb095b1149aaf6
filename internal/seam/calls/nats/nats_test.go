package nats_test

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/calls/callstest"
	"github.com/oceanchat/oceanchat/internal/seam/calls/nats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer starts a NATS server in this process that lets messages of 8 MiB pass.
func startServer(t testing.TB) *natsserver.Server {
	t.Helper()
	srv, err := natsserver.NewServer(&natsserver.Options{
		Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, MaxPayload: 8 << 20, NoSigs: true, NoLog: true,
	})
	if err != nil {
		t.Fatalf("NewServer = %v", err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return srv
}

// connect returns a Network with a connection of its own, as another process has.
func connect(t testing.TB, srv *natsserver.Server, cfg nats.Config, opts ...natsgo.Option) (*nats.Network, *natsgo.Conn) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	conn, err := natsgo.Connect(srv.ClientURL(), append(jetstream.Options(log), opts...)...)
	if err != nil {
		t.Fatalf("Connect = %v", err)
	}
	t.Cleanup(conn.Close)
	b, err := jetstream.New(conn, jetstream.Config{}, log)
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	n := nats.New(cfg, b, log)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		n.Drain(ctx)
	})
	return n, conn
}

func TestNetwork(t *testing.T) {
	srv := startServer(t)
	callstest.TestNetwork(t, func(t *testing.T, register func(calls.Host)) calls.Network {
		caller, _ := connect(t, srv, nats.Config{})
		host, _ := connect(t, srv, nats.Config{})
		register(host)
		return caller
	})
}

type cluster struct {
	t      *testing.T
	srv    *natsserver.Server
	caller calls.Network
}

// dialer makes connections that lose what is written, once they are mute.
type dialer struct{ mute *atomic.Bool }

func (d dialer) Dial(network, addr string) (net.Conn, error) {
	conn, err := net.Dial(network, addr) //nolint:noctx // the driver's interface has none
	return muted{conn, d.mute}, err
}

type muted struct {
	net.Conn
	mute *atomic.Bool
}

func (m muted) Write(p []byte) (int, error) {
	if m.mute.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

func (c cluster) Caller() calls.Network { return c.caller }

func (c cluster) Start(_, limit int) callstest.Instance {
	mute := new(atomic.Bool)
	n, conn := connect(c.t, c.srv, nats.Config{Limit: limit}, natsgo.SetCustomDialer(dialer{mute}))
	return callstest.Instance{Host: n, Drain: n.Drain, Kill: conn.Close, Mute: func() { mute.Store(true) }}
}

func TestInstances(t *testing.T) {
	callstest.TestInstances(t, func(t *testing.T) callstest.Cluster {
		srv := startServer(t)
		caller, _ := connect(t, srv, nats.Config{})
		return cluster{t, srv, caller}
	})
}

func message(subject string, header map[string][]string, data []byte) *natsgo.Msg {
	return &natsgo.Msg{Subject: subject, Header: header, Data: data}
}
