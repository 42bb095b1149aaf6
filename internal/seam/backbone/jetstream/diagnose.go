package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/finding"
)

// Diagnosis says what Diagnose looks at, and what it should find there.
type Diagnosis struct {
	Servers Servers
	Config  Config   // with Partitions
	Readers []string // the durable consumers of each partition
	// SyncAlways says that each message must be on the disk before it is acknowledged (log.sync: always).
	SyncAlways bool

	// How servers sync is told to nobody but operators: by the monitoring ports (http://host:8222), or to a user of the
	// system account. One of the two is enough.
	Monitors       []string
	SystemUser     string
	SystemPassword config.Secret
}

const (
	wantPayload = 8 << 20
	logMaxBytes = 10 << 30 // what New takes for 0
	// stepTimeout bounds each of the two steps of a diagnosis: the servers, and then what they store.
	stepTimeout = 5 * time.Second
	// connectTimeout is less, so that there is time to tell.
	connectTimeout = 3 * time.Second
)

const checkNATS = "nats"

// Diagnose tries every server by itself, and then what they store together. It changes nothing, needs no stream to be
// there, and ends within ten seconds.
func Diagnose(ctx context.Context, d Diagnosis) []finding.Finding {
	opts, err := d.Servers.probing()
	if err != nil {
		return []finding.Finding{finding.Bad(checkNATS, finding.Text(err), "correct nats.tls")}
	}
	d.Config.Replicas = max(d.Config.Replicas, 1)
	if d.Config.LogMaxBytes <= 0 {
		d.Config.LogMaxBytes = logMaxBytes
	}
	var seen []node
	var told settings
	var wg sync.WaitGroup
	step, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	wg.Go(func() { told = d.settings(step, opts) })
	seen = d.reach(step, opts)
	wg.Wait()
	var found []finding.Finding
	var first *nats.Conn
	for _, n := range seen {
		found = append(found, n.found...)
		if n.conn != nil {
			defer n.conn.Close()
			if first == nil {
				first = n.conn
			}
		}
	}
	if first != nil {
		found = append(found, d.room(seen, told)...)
		step, cancel := context.WithTimeout(ctx, stepTimeout)
		defer cancel()
		found = append(found, d.stored(step, first)...)
	}
	return append(found, d.judge(told)...)
}

// probing are how to connect once, where Dial does for good.
func (s Servers) probing() ([]nats.Option, error) {
	opts, err := s.options("oceanchat doctor", slog.New(slog.DiscardHandler))
	return append(opts, nats.NoReconnect(), nats.Timeout(connectTimeout)), err
}

// node is what was found of one server.
type node struct {
	conn  *nats.Conn // nil: not reached
	found []finding.Finding
}

// reach tries all servers at once.
func (d Diagnosis) reach(ctx context.Context, opts []nats.Option) []node {
	nodes := make([]node, len(d.Servers.URLs))
	var wg sync.WaitGroup
	for i, u := range d.Servers.URLs {
		wg.Go(func() { nodes[i] = reach(ctx, strings.TrimSpace(u), opts) })
	}
	wg.Wait()
	return nodes
}

func reach(ctx context.Context, address string, opts []nats.Option) node {
	where, ok := hostOf(address)
	check := checkNATS + " " + where
	if !ok {
		return node{found: []finding.Finding{finding.Bad(check, "is no address of a NATS server", "correct nats.urls: nats://host:4222")}}
	}
	conn, err := nats.Connect(address, opts...)
	if err != nil {
		return node{found: []finding.Finding{unreached(check, err)}}
	}
	n := node{conn: conn}
	began := time.Now()
	if err := conn.FlushWithContext(ctx); err != nil {
		conn.Close()
		return node{found: []finding.Finding{finding.Bad(check, "took the connection and does not answer: "+finding.Text(err), "look at the server's log")}}
	}
	trip := time.Since(began)
	n.found = append(n.found, about(check, conn, trip))
	if most := conn.MaxPayload(); most < MinPayload {
		n.found = append(n.found, finding.Bad(check, "takes messages of at most "+finding.Bytes(most), "set max_payload: 8MB in nats.conf; calls answer with up to 4 MiB"))
	} else if most < wantPayload {
		n.found = append(n.found, finding.Warn(check, "takes messages of at most "+finding.Bytes(most), "set max_payload: 8MB in nats.conf"))
	}
	if state, err := conn.TLSConnectionState(); err == nil && len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		n.found = append(n.found, finding.Expiry(check+" certificate", leaf.NotBefore, leaf.NotAfter, time.Now()))
	}
	return n
}

// about judges a server by what it said of itself.
func about(check string, conn *nats.Conn, trip time.Duration) finding.Finding {
	version := conn.ConnectedServerVersion()
	cluster := "by itself"
	if c := conn.ConnectedClusterName(); c != "" {
		cluster = "of cluster " + c
	}
	found := fmt.Sprintf("is %s, %s, version %s, round trip %s", conn.ConnectedServerName(), cluster, version, finding.Round(trip))
	switch {
	case older(version, 2, 11):
		return finding.Bad(check, found, "run nats-server 2.11 or newer")
	case trip > 50*time.Millisecond:
		return finding.Warn(check, found, "that is slow: each message waits for several of these")
	}
	return finding.Good(check, "%s", found)
}

func unreached(check string, err error) finding.Finding {
	switch {
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired), errors.Is(err, nats.ErrAuthRevoked):
		return finding.Bad(check, "does not let us in: "+finding.Text(err), "correct nats.user and nats.password or nats.credentials, or the users in nats.conf")
	case errors.Is(err, nats.ErrSecureConnRequired):
		return finding.Bad(check, "demands TLS", "set nats.tls.enabled: true")
	case errors.Is(err, nats.ErrSecureConnWanted):
		return finding.Bad(check, "has no TLS, and nats.tls.enabled is true", "configure tls in nats.conf, or switch nats.tls.enabled off")
	case errors.Is(err, nats.ErrNoServers):
		return finding.Bad(check, "nobody listens there", "start nats-server, or correct nats.urls")
	}
	return finding.Bad(check, "cannot be reached: "+finding.Text(err), "start nats-server, or correct nats.urls and the network between")
}

// hostOf returns what of an address may be shown: it can hold a password.
func hostOf(address string) (string, bool) {
	if !strings.Contains(address, "://") {
		address = "nats://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return "(unreadable address)", false
	}
	return u.Host, true
}

// older compares versions such as 2.11.4-RC.2.
func older(version string, major, minor int) bool {
	a, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	b, _, _ := strings.Cut(rest, ".")
	x, err1 := strconv.Atoi(a)
	y, err2 := strconv.Atoi(b)
	return err1 == nil && err2 == nil && (x < major || x == major && y < minor)
}

// room judges whether there are servers enough for the replicas.
func (d Diagnosis) room(seen []node, told settings) []finding.Finding {
	const check = "nats.replicas"
	var clusters, ids []string
	known := 0
	for _, n := range seen {
		if n.conn == nil {
			continue
		}
		if id := n.conn.ConnectedServerId(); slices.Contains(ids, id) {
			continue
		}
		ids = append(ids, n.conn.ConnectedServerId())
		if c := n.conn.ConnectedClusterName(); !slices.Contains(clusters, c) {
			clusters = append(clusters, c)
		}
		if n.conn.ConnectedClusterName() == "" {
			known = max(known, 1)
		} else {
			known = max(known, len(n.conn.Servers()))
		}
	}
	known = max(known, len(ids))
	exact := slices.Equal(clusters, []string{""})
	if told.size > 0 {
		known, exact = told.size, true
	}
	var found []finding.Finding
	if len(clusters) > 1 {
		found = append(found, finding.Bad(check, "the servers of nats.urls belong to different clusters: "+strings.Join(clusters, ", "), "name the servers of one cluster"))
	}
	want := d.Config.Replicas
	switch {
	case known < want && exact:
		return append(found, finding.Bad(check, fmt.Sprintf("%d replicas are wanted and there are %d servers", want, known), "start more NATS servers in one cluster, or lower nats.replicas"))
	case known < want:
		return append(found, finding.Warn(check, fmt.Sprintf("%d replicas are wanted and only %d servers are known here", want, known), "name all servers in nats.urls, or start more of them"))
	case want < 3:
		return append(found, finding.Warn(check, fmt.Sprintf("%d of each stream: with its server the log is away, or lost", want), "run three NATS servers and set nats.replicas: 3"))
	}
	return append(found, finding.Good(check, "%d, on %d servers", want, known))
}

// stored looks at JetStream and the streams, by one connection.
func (d Diagnosis) stored(ctx context.Context, conn *nats.Conn) []finding.Finding {
	const check = "nats jetstream"
	b, err := New(conn, d.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return []finding.Finding{finding.Bad(check, finding.Text(err), "report this as a bug")}
	}
	ask, cancel := context.WithTimeout(ctx, askTimeout)
	_, err = b.js.AccountInfo(ask)
	cancel()
	denied := b.denied()
	switch {
	case errors.Is(err, js.ErrJetStreamNotEnabled), errors.Is(err, js.ErrJetStreamNotEnabledForAccount):
		return []finding.Finding{finding.Bad(check, "is off: "+finding.Text(err), "write a jetstream section into nats.conf of each server, and allow it to the account")}
	case err != nil && denied:
		return []finding.Finding{finding.Bad(check, "may not be asked: "+finding.Text(conn.LastError()), "give the user the permissions of the shipped nats.conf")}
	case err != nil:
		return []finding.Finding{finding.Bad(check, "does not answer: "+finding.Text(err), "start more than half of the servers; look at their logs")}
	}
	return append([]finding.Finding{finding.Good(check, "answers")}, d.streams(ctx, b)...)
}
