package backbonetest

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/freeport"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// Cluster is one or three NATS servers of this process that listen on loopback. Each can be stopped and started again
// with what it stored, on the ports it had. It is not safe for concurrent use, except for URLs and Open.
type Cluster struct {
	options []natsserver.Options
	servers []*natsserver.Server // nil: stopped
	wires   map[[2]int]*wire     // from which server to which
}

// StartCluster starts n servers and returns when they can be used; they end with t.
func StartCluster(t testing.TB, n int) *Cluster {
	t.Helper()
	return startCluster(t, n, false)
}

// StartWired is StartCluster for three servers that can be isolated.
func StartWired(t testing.TB) *Cluster {
	t.Helper()
	return startCluster(t, 3, true)
}

func startCluster(t testing.TB, n int, wired bool) *Cluster {
	t.Helper()
	ports, err := freeport.Take(2 * n)
	if err != nil {
		t.Fatal(err)
	}
	c := &Cluster{servers: make([]*natsserver.Server, n), wires: map[[2]int]*wire{}}
	dir := t.TempDir()
	for i := range n {
		o := natsserver.Options{
			ServerName: fmt.Sprint("s", i), JetStream: true, StoreDir: filepath.Join(dir, strconv.Itoa(i)),
			Host: "127.0.0.1", Port: port(t, ports[i]), NoSigs: true, NoLog: true,
		}
		if n > 1 {
			o.Cluster = natsserver.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: port(t, ports[n+i])}
			if wired {
				o.Cluster.Advertise = "127.0.0.1:1" // nowhere: servers reach each other by their wires only
			}
			for j := range n {
				to := ports[n+j]
				if wired && j != i {
					w := layWire(t, to)
					c.wires[[2]int{i, j}] = w
					to = w.l.Addr().String()
				}
				if j != i {
					o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: to})
				}
			}
		}
		c.options = append(c.options, o)
	}
	t.Cleanup(func() {
		for i := range n {
			c.Stop(i)
		}
	})
	for i := range n {
		c.start(t, i)
	}
	c.WaitUsable(t)
	return c
}

func port(t testing.TB, address string) int {
	t.Helper()
	_, p, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (c *Cluster) start(t testing.TB, i int) {
	t.Helper()
	o := c.options[i] // the server changes what it is given
	srv, err := natsserver.NewServer(&o)
	if err != nil {
		t.Fatalf("NewServer = %v", err)
	}
	go srv.Start()
	c.servers[i] = srv
}

// Start starts server i anew. It does not wait until the server takes part; WaitUsable does.
func (c *Cluster) Start(t testing.TB, i int) {
	t.Helper()
	if c.servers[i] == nil {
		c.start(t, i)
	}
}

// Stop stops server i; of one that is stopped it does nothing. It does so in an orderly way: what it leads it gives away.
func (c *Cluster) Stop(i int) {
	if srv := c.servers[i]; srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		c.servers[i] = nil
	}
}

// Dir returns where server i stores.
func (c *Cluster) Dir(i int) string { return c.options[i].StoreDir }

// Isolate cuts server i of StartWired off from the others; its clients stay. Join ends it.
func (c *Cluster) Isolate(i int) { c.cut(i, true) }

// Join undoes Isolate. It does not wait until the server takes part; WaitUsable does.
func (c *Cluster) Join(i int) { c.cut(i, false) }

func (c *Cluster) cut(i int, cut bool) {
	for ends, w := range c.wires {
		if ends[0] == i || ends[1] == i {
			w.cut(cut)
		}
	}
}

// WaitUsable returns once the servers that run know of one leader and are up to date and, if all run, streams can be made on all.
func (c *Cluster) WaitUsable(t testing.TB) {
	t.Helper()
	eventually(t, "the servers form a cluster", func() bool {
		leaders := 0
		for _, s := range c.servers {
			if s == nil {
				continue
			}
			if !s.ReadyForConnections(patience) || len(c.servers) > 1 && !s.JetStreamIsCurrent() {
				return false
			}
			if len(c.servers) == 1 || s.JetStreamIsLeader() {
				leaders++
			}
		}
		return leaders == 1
	})
	if slices.Contains(c.servers, nil) {
		return
	}
	conn := c.connect(t)
	defer conn.Close()
	probe := fmt.Sprintf(`{"name":"PROBE","subjects":["probe"],"storage":"memory","num_replicas":%d}`, len(c.servers))
	eventually(t, "streams can be made on all servers", func() bool { // the leader may not know them all yet
		_, err := ask(conn, "$JS.API.STREAM.CREATE.PROBE", probe, 2*time.Second)
		return err == nil
	})
	c.request(t, "$JS.API.STREAM.DELETE.PROBE")
}

// URLs returns the addresses of all servers as clients give them, that of server first ahead of the others.
func (c *Cluster) URLs(first int) string {
	var urls []string
	for i := range c.options {
		o := c.options[(first+i)%len(c.options)]
		urls = append(urls, fmt.Sprintf("nats://%s:%d", o.Host, o.Port))
	}
	return strings.Join(urls, ",")
}

// Open returns a backbone with a connection of its own, to server first as long as that lives. Each stream has as many
// replicas as there are servers, and a log holds 16 MiB. It lives until stop is called or t ends.
func (c *Cluster) Open(t testing.TB, first int) (b *jetstream.Backbone, stop func()) {
	t.Helper()
	return c.open(t, c.URLs(first), nats.DontRandomize())
}

// OpenAt is Open for a client that reaches server i only.
func (c *Cluster) OpenAt(t testing.TB, i int) (b *jetstream.Backbone, stop func()) {
	t.Helper()
	url, _, _ := strings.Cut(c.URLs(i), ",")
	return c.open(t, url, nats.IgnoreDiscoveredServers())
}

func (c *Cluster) open(t testing.TB, urls string, o nats.Option) (b *jetstream.Backbone, stop func()) {
	t.Helper()
	conn, err := nats.Connect(urls, append(jetstream.Options(slog.New(slog.DiscardHandler)), o)...)
	if err != nil {
		t.Fatalf("Connect = %v", err)
	}
	stop = sync.OnceFunc(conn.Close)
	t.Cleanup(stop)
	b, err = jetstream.New(conn, jetstream.Config{Replicas: len(c.options), LogMaxBytes: 16 << 20, QueueMaxBytes: 16 << 20},
		slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatal(err)
	}
	return b, stop
}

// Leader returns which server leads a stream, once one does.
func (c *Cluster) Leader(t testing.TB, stream string) (i int) {
	t.Helper()
	eventually(t, "a server leads "+stream, func() bool { i = c.leader(stream); return i >= 0 })
	return i
}

// leader returns which server leads a stream; -1 if none does.
func (c *Cluster) leader(stream string) int {
	return slices.IndexFunc(c.servers, func(s *natsserver.Server) bool { return leads(s, stream) })
}

// Leads tells whether server i takes itself for a stream's leader; one that is isolated may do so wrongly for a while.
func (c *Cluster) Leads(i int, stream string) bool { return leads(c.servers[i], stream) }

func leads(s *natsserver.Server, stream string) bool {
	return s != nil && s.JetStreamIsStreamLeader(natsserver.DEFAULT_GLOBAL_ACCOUNT, stream)
}

// StepDown has the leader of a stream give way to another server, and returns when that leads.
func (c *Cluster) StepDown(t testing.TB, stream string) {
	t.Helper()
	was := c.Leader(t, stream)
	c.request(t, "$JS.API.STREAM.LEADER.STEPDOWN."+stream)
	eventually(t, "another server leads "+stream, func() bool {
		now := c.leader(stream)
		return now >= 0 && now != was
	})
}

// DeleteStreams makes the cluster as good as new.
func (c *Cluster) DeleteStreams(t testing.TB) {
	t.Helper()
	var names struct {
		Streams []string `json:"streams"`
	}
	if err := json.Unmarshal(c.request(t, "$JS.API.STREAM.NAMES"), &names); err != nil {
		t.Fatal(err)
	}
	for _, n := range names.Streams {
		c.request(t, "$JS.API.STREAM.DELETE."+n)
	}
}

// request asks a server's API by a connection of its own.
func (c *Cluster) request(t testing.TB, subject string) []byte {
	t.Helper()
	conn := c.connect(t)
	defer conn.Close()
	data, err := ask(conn, subject, "", patience)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (c *Cluster) connect(t testing.TB) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(c.URLs(0))
	if err != nil {
		t.Fatalf("Connect = %v", err)
	}
	return conn
}

func ask(conn *nats.Conn, subject, data string, wait time.Duration) ([]byte, error) {
	m, err := conn.Request(subject, []byte(data), wait)
	if err != nil {
		return nil, fmt.Errorf("request to %s: %w", subject, err)
	}
	var answer struct {
		Error *struct{ Description string } `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return nil, fmt.Errorf("answer to %s: %w", subject, err)
	}
	if answer.Error != nil {
		return nil, fmt.Errorf("%s answers %s", subject, answer.Error.Description)
	}
	return m.Data, nil
}

// ServerLeaks are goroutines that a NATS server may leave behind when it is shut down while it makes a stream: the
// store's own, which nobody stops any more. They are none of ours, so tests that look for leaks pass them over.
func ServerLeaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*fileStore).flushStreamStateLoop"),
	}
}
