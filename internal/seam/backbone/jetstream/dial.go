package jetstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/netdoor"
)

// MinPayload is what servers of a cluster must take as one message, in bytes (their max_payload): answers of calls
// have up to 4 MiB and headers.
const MinPayload = 5 << 20

// How often a connection asks its server for a sign of life, and how many may stay unanswered before it goes to another. A
// server that hangs, or whose machine lost its power, ends no connection by itself.
const (
	pingEvery   = 2 * time.Second
	pingsInVain = 2
)

// Servers says where a cluster's NATS is and as whom to connect.
type Servers struct {
	URLs        []string
	User        string
	Password    config.Secret
	Credentials string // file of a JWT and its nkey, instead of User
	TLS         netdoor.ClientTLS
}

// Validate reports what no single setting shows.
func (s Servers) Validate() error {
	var errs []error
	if len(s.URLs) == 0 {
		errs = append(errs, errors.New("urls: at least one"))
	}
	if s.User != "" && s.Credentials != "" {
		errs = append(errs, errors.New("user and credentials: only one of them"))
	}
	for _, u := range s.URLs {
		if strings.Contains(u, "@") {
			errs = append(errs, errors.New("urls: no user or password in them; nats.user and nats.password are shown to nobody"))
		}
	}
	if strings.ContainsAny(s.User, ".*> ") {
		errs = append(errs, errors.New("user: a word without . * > and blanks, as it is a part of subjects"))
	}
	return errors.Join(errs...)
}

// Dial returns a Backbone on a connection of its own, which Run opens: until then, and whenever no server can be
// reached, calls fail. name is shown to operators of NATS. An error says that files of s cannot be used.
func Dial(s Servers, name string, cfg Config, log *slog.Logger) (*Backbone, error) {
	opts, err := s.options(name, log)
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.RetryOnFailedConnect(true), nats.Timeout(callTimeout))
	conn, err := nats.Connect(strings.Join(s.URLs, ","), opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	b, err := New(conn, cfg, log)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return b, nil
}

// options returns how a connection says who it is.
func (s Servers) options(name string, log *slog.Logger) ([]nats.Option, error) {
	secure, err := s.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("nats.tls: %w", err)
	}
	opts := append(Options(log), nats.Name(name), nats.PingInterval(pingEvery), nats.MaxPingsOutstanding(pingsInVain))
	if secure != nil {
		opts = append(opts, nats.Secure(secure))
	}
	switch {
	case s.Credentials != "":
		opts = append(opts, nats.UserCredentials(s.Credentials))
	case s.User != "":
		// Replies go to inboxes that only this user may read.
		opts = append(opts, nats.UserInfo(s.User, string(s.Password)), nats.CustomInboxPrefix("_OC_INBOX."+s.User))
	}
	return opts, nil
}

// Run waits until a server is reached, calls ready, and closes the connection when ctx ends. It is for a Backbone that
// Dial returned. It fails when the servers cannot carry what OceanChat sends.
func (b *Backbone) Run(ctx context.Context, ready func()) error {
	defer b.conn.Close()
	if !b.awaitConnection(ctx) {
		return nil
	}
	if most := b.conn.MaxPayload(); most < MinPayload {
		return fmt.Errorf("the NATS server %s takes messages of at most %d bytes: set its max_payload to 8MB (at least %d)",
			b.conn.ConnectedUrlRedacted(), most, MinPayload)
	}
	ready()
	b.leaveLost(ctx)
	return nil
}

// How soon, and then how often, it is told that no server has been reached.
const (
	tellFirst = time.Second
	tellEvery = 10 * time.Second
)

// awaitConnection tells again and again what it waits for.
func (b *Backbone) awaitConnection(ctx context.Context) bool {
	look, tell := time.NewTicker(20*time.Millisecond), time.NewTimer(tellFirst)
	defer look.Stop()
	defer tell.Stop()
	for !b.conn.IsConnected() {
		select {
		case <-ctx.Done():
			return false
		case <-tell.C:
			b.log.WarnContext(ctx, "waiting for a server", "server", "NATS", "urls", b.conn.Servers(), "err", b.unreached())
			tell.Reset(tellEvery)
		case <-look.C:
		}
	}
	return true
}

// unreached says why there is no connection. The driver keeps no reason for servers that are just not there.
func (b *Backbone) unreached() error {
	if err := b.conn.LastError(); err != nil {
		return err
	}
	return errors.New("nobody answers")
}
