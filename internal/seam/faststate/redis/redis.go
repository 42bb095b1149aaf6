// Package redis is the fast state of a cluster: presence, the allow-list, limits and the cache in Redis, single or
// Cluster. It owns the keys below its prefix (docs/reference/redis.md) and the connections to the servers. It never
// lists keys (no KEYS, no SCAN), never keeps a copy of what it read, never repeats a call by itself and starts nothing that outlives
// Close. While a server does not answer, calls to it fail at once and are not tried.
//
// It keeps invariant 7: the pool is bounded, every call has a deadline, every key has a time to live. All instances
// share one clock, the server's: leases and buckets are compared with its time inside scripts, so clocks of instances
// that are apart change nothing. Each script works on one key, or on keys of one hash tag.
package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/netdoor"
)

// Config says where Redis is and what may be asked of it.
type Config struct {
	Addrs       []string          `yaml:"addrs" default:"127.0.0.1:6379" doc:"Addresses of Redis, host:port. One for a single server; with cluster some nodes to begin with."`
	Cluster     bool              `yaml:"cluster" default:"false" doc:"Whether it is a Redis Cluster."`
	Username    string            `yaml:"username" doc:"The ACL user; empty is the default user."`
	Password    config.Secret     `yaml:"password" doc:"The password; empty is none."`
	TLS         netdoor.ClientTLS `yaml:"tls"`
	Prefix      string            `yaml:"prefix" default:"oc" doc:"What the names of all keys begin with, so that several installations can share a server."`
	CallTimeout time.Duration     `yaml:"call_timeout" default:"1s" min:"10ms" max:"30s" doc:"How long one call may take, the wait for a connection and connecting included."`
	PoolSize    int               `yaml:"pool_size" default:"32" min:"1" max:"10000" doc:"Most connections of one process to one server."`
	DeniedFor   time.Duration     `yaml:"denied_for" default:"25h" min:"1m" doc:"How long an ended session is remembered; more than an access token lives."`
	LastSeenFor time.Duration     `yaml:"last_seen_for" default:"2160h" min:"1m" doc:"How long it is remembered when a user was last on line."`
	MaxValue    config.Bytes      `yaml:"max_value" default:"1MiB" min:"1KiB" doc:"Larger values are not cached."`
}

// Validate reports what the tags can't say.
func (c Config) Validate() error {
	var errs []error
	if len(c.Addrs) == 0 {
		errs = append(errs, errors.New("addrs: at least one"))
	}
	if !c.Cluster && len(c.Addrs) > 1 {
		errs = append(errs, errors.New("addrs: one, or cluster: true"))
	}
	if c.Prefix == "" || strings.ContainsAny(c.Prefix, "{} ") {
		errs = append(errs, errors.New("prefix: a word without braces"))
	}
	return errors.Join(errs...)
}

// Client holds the connections that the parts of the fast state share. It is safe for concurrent use.
type Client struct {
	cfg Config
	db  redis.UniversalClient

	probes *probes

	// now is the local time, from which durations are reckoned. Only tests change it, and then scripts take it for the
	// server's, too.
	now    func() time.Time
	frozen bool
}

// New returns a Client that connects when it is first used. cfg must be valid; an error says that files of cfg.TLS
// cannot be used.
func New(cfg Config) (*Client, error) {
	opts, err := options(cfg)
	if err != nil {
		return nil, err
	}
	silence()
	c := &Client{cfg: cfg, probes: newProbes(), now: time.Now}
	if cfg.Cluster {
		o := opts.Cluster()
		o.DisableRoutingPolicies = true // they ask servers for the list of all commands, without regard to our deadline
		db := redis.NewClusterClient(o)
		db.OnNewNode(c.watch)
		c.db = db
	} else {
		db := redis.NewClient(opts.Simple())
		c.watch(db)
		c.db = db
	}
	return c, nil
}

// silence stops the driver's own lines on standard error: whoever calls handles the error.
var silence = sync.OnceFunc(func() { redis.SetLogger(discard{}) })

type discard struct{}

func (discard) Printf(context.Context, string, ...any) {}

// options are the driver's. It must not repeat a call: the answer of one that was lost is part of what the interfaces
// promise (whom a Put displaced, which users a Remove took off line, that a lease was not known).
func options(cfg Config) (*redis.UniversalOptions, error) {
	t, err := cfg.TLS.Config()
	if err != nil {
		return nil, fmt.Errorf("redis.tls: %w", err)
	}
	return &redis.UniversalOptions{
		Addrs: cfg.Addrs, Username: cfg.Username, Password: string(cfg.Password), TLSConfig: t, Protocol: 2,
		MaxRetries: -1, MaxRedirects: 3, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: cfg.CallTimeout, ReadTimeout: cfg.CallTimeout, WriteTimeout: cfg.CallTimeout, PoolTimeout: cfg.CallTimeout,
		PoolSize: cfg.PoolSize, MaxActiveConns: cfg.PoolSize, PipelinePoolSize: -1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}, nil
}

// Ping reports whether Redis answers; of a Cluster, whether each of the masters does. It always asks.
func (c *Client) Ping(ctx context.Context) error {
	ctx, cancel := c.within(ctx)
	defer cancel()
	err := c.masters(ctx, func(ctx context.Context, m *redis.Client) error { return m.Ping(ctx).Err() })
	return down("ping", err)
}

// masters calls f for every server that takes writes, at the same time. What f asks with its context is always sent.
func (c *Client) masters(ctx context.Context, f func(context.Context, *redis.Client) error) error {
	ctx = context.WithValue(ctx, regardless{}, true)
	switch db := c.db.(type) {
	case *redis.ClusterClient:
		return db.ForEachMaster(ctx, f)
	case *redis.Client:
		return f(ctx, db)
	default:
		return fmt.Errorf("unknown client %T", db)
	}
}

// Close ends all connections. Calls that are under way fail.
func (c *Client) Close() error {
	c.probes.stop()
	err := c.db.Close()
	c.probes.wg.Wait()
	return err
}

// within bounds one call. The caller's deadline counts if it is earlier.
func (c *Client) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if end, ok := ctx.Deadline(); ok && time.Until(end) < c.cfg.CallTimeout {
		ctx = context.WithValue(ctx, hurried{}, true)
	}
	return context.WithTimeout(ctx, c.cfg.CallTimeout)
}

// retryAfter is when to try again what failed because Redis is away.
const retryAfter = time.Second

// down is the error of everything but sessions: OVERLOADED, to be tried again.
func down(what string, err error) error {
	if err == nil {
		return nil
	}
	return fault.Wrap(fmt.Errorf("redis: %s: %w", what, err), fault.Overloaded, "the fast state does not answer").After(retryAfter)
}
