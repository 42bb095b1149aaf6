package jetstream_test

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// The whole suite on three servers with three replicas of each stream.
func TestCluster(t *testing.T) {
	servers := startCluster(t)
	last := ""
	backbonetest.Test(t, func(t *testing.T, dir string) (backbone.Backbone, func()) {
		conn, err := nats.Connect(servers[0].ClientURL(), jetstream.Options(slog.New(slog.DiscardHandler))...)
		if err != nil {
			t.Fatalf("Connect = %v", err)
		}
		t.Cleanup(conn.Close)
		if dir != last {
			deleteStreams(t, conn)
		}
		last = dir
		b, err := jetstream.New(conn, jetstream.Config{Replicas: 3, LogMaxBytes: 16 << 20, QueueMaxBytes: 16 << 20}, slog.New(slog.NewTextHandler(t.Output(), nil)))
		if err != nil {
			t.Fatal(err)
		}
		return b, conn.Close
	})
}

// deleteStreams makes the cluster as good as new.
func deleteStreams(t *testing.T, conn *nats.Conn) {
	t.Helper()
	j, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	names := j.StreamNames(t.Context())
	for n := range names.Name() {
		if err := j.DeleteStream(t.Context(), n); err != nil {
			t.Fatalf("DeleteStream(%s) = %v", n, err)
		}
	}
	if names.Err() != nil {
		t.Fatalf("StreamNames = %v", names.Err())
	}
}

// startCluster starts three servers in this process that speak with each other over loopback.
func startCluster(t *testing.T) []*natsserver.Server {
	t.Helper()
	dir := t.TempDir()
	var listeners []net.Listener // each server must know the others' ports when it starts
	var routes []*url.URL
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		routes = append(routes, &url.URL{Scheme: "nats", Host: l.Addr().String()})
	}
	var servers []*natsserver.Server
	for n, l := range listeners {
		port := l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		srv, err := natsserver.NewServer(&natsserver.Options{
			ServerName: fmt.Sprintf("s%d", n), JetStream: true, StoreDir: fmt.Sprintf("%s/%d", dir, n),
			Host: "127.0.0.1", Port: natsserver.RANDOM_PORT, NoSigs: true, NoLog: true,
			Cluster: natsserver.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port},
			Routes:  routes,
		})
		if err != nil {
			t.Fatalf("NewServer = %v", err)
		}
		go srv.Start()
		servers = append(servers, srv)
	}
	t.Cleanup(func() {
		for _, s := range servers {
			s.Shutdown()
		}
		for _, s := range servers {
			s.WaitForShutdown()
		}
	})
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for end := time.Now().Add(30 * time.Second); !usable(servers); <-poll.C {
		if time.Now().After(end) {
			t.Fatal("the servers do not form a cluster")
		}
	}
	return servers
}

// usable tells whether all know of one leader.
func usable(servers []*natsserver.Server) bool {
	leaders := 0
	for _, s := range servers {
		if !s.JetStreamIsCurrent() {
			return false
		}
		if s.JetStreamIsLeader() {
			leaders++
		}
	}
	return leaders == 1
}
