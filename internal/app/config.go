package app

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/oceanchat/oceanchat/internal/access/apigateway"
	"github.com/oceanchat/oceanchat/internal/access/router"
	"github.com/oceanchat/oceanchat/internal/access/wsgateway"
	"github.com/oceanchat/oceanchat/internal/business/auth"
	"github.com/oceanchat/oceanchat/internal/business/group"
	"github.com/oceanchat/oceanchat/internal/business/message"
	"github.com/oceanchat/oceanchat/internal/business/user"
	"github.com/oceanchat/oceanchat/internal/command/doctor"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/convlog"
	"github.com/oceanchat/oceanchat/internal/delivery/orchestrator"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline"
	"github.com/oceanchat/oceanchat/internal/delivery/pusherrealtime"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/calls/grpcnet"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/memory"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
	"github.com/oceanchat/oceanchat/internal/support/persistence"
	"github.com/oceanchat/oceanchat/internal/support/presence"
)

// Config is the whole configuration: a section for each target, named like it, and what they share.
type Config struct {
	DataDir string `yaml:"data_dir" default:"./oceanchat-data" min:"1" doc:"Where everything is kept."`

	TrustedProxies []string `yaml:"trusted_proxies" doc:"Addresses or networks (CIDR) of proxies that are believed about who their client is, and nobody else."`
	ClientIPHeader string   `yaml:"client_ip_header" default:"X-Forwarded-For" enum:"X-Forwarded-For,X-Real-IP,Forwarded" doc:"The one header in which trusted proxies say so; they must set it on every request."`

	HTTP  Listener `yaml:"http"`
	TCP   TCP      `yaml:"tcp"`
	Ops   Ops      `yaml:"ops"`
	Log   Log      `yaml:"log"`
	NATS  NATS     `yaml:"nats"`
	Drain Drain    `yaml:"drain"`
	Logs  Logs     `yaml:"logs"`

	Traces  obs.TraceConfig `yaml:"traces"`
	Journey journey.Config  `yaml:"journey"`
	Doctor  doctor.Config   `yaml:"doctor"`

	FastState memory.Config `yaml:"fast_state"`

	Redis redis.Config   `yaml:"redis"`
	Mongo Mongo          `yaml:"mongo"`
	GRPC  grpcnet.Config `yaml:"grpc"`

	APIGateway     apigateway.Config     `yaml:"api_gateway"`
	WSGateway      wsgateway.Config      `yaml:"ws_gateway"`
	Router         router.Config         `yaml:"router"`
	Auth           auth.Config           `yaml:"auth"`
	User           user.Config           `yaml:"user"`
	Group          group.Config          `yaml:"group"`
	Message        message.Config        `yaml:"message"`
	Orchestrator   orchestrator.Config   `yaml:"orchestrator"`
	PusherRealtime pusherrealtime.Config `yaml:"pusher_realtime"`
	Push           pusheroffline.Config  `yaml:"push"`
	Presence       presence.Config       `yaml:"presence"`
	Persistence    persistence.Config    `yaml:"persistence"`
}

// Listener is the public HTTP address.
type Listener struct {
	Addr          string      `yaml:"addr" default:":8080" min:"1" format:"addr" doc:"Where REST and, in one process, WebSocket are served."`
	TLS           netdoor.TLS `yaml:"tls"`
	ProxyProtocol bool        `yaml:"proxy_protocol" default:"false" doc:"Connections of trusted proxies begin with a PROXY header, version 1 or 2."`
}

// TCP is the public TCP address.
type TCP struct {
	Addr          string      `yaml:"addr" default:":8090" format:"addr" doc:"Where raw TCP connections are served; empty: nowhere."`
	TLS           netdoor.TLS `yaml:"tls"`
	ProxyProtocol bool        `yaml:"proxy_protocol" default:"false" doc:"Connections of trusted proxies begin with a PROXY header, version 1 or 2."`
}

// Ops is the operators' address.
type Ops struct {
	Addr string      `yaml:"addr" default:"127.0.0.1:9090" format:"addr" doc:"Where health, metrics and profiles are served; has no authentication. Empty: nowhere."`
	TLS  netdoor.TLS `yaml:"tls"`

	Profiles bool `yaml:"profiles" default:"true" doc:"Whether /debug/pprof is served there too. Profiles hold no messages, but taking one slows the process down."`
}

// Log configures the conversation log.
type Log struct {
	Sync       string        `yaml:"sync" default:"always" enum:"always,interval" doc:"always: an acknowledged message survives a power cut. interval: it survives the death of the process only."`
	Partitions int           `yaml:"partitions" default:"0" max:"256" doc:"Streams that conversations are spread over; 0 means 1 in one process and 16 in a cluster. On data that exist 'oceanchat recover' changes it."`
	Pace       time.Duration `yaml:"pace" default:"0s" max:"100ms" doc:"Least time between two publishes of a partition; trades latency for CPU."`
	IDs        int           `yaml:"ids" default:"250000" min:"1000" doc:"clientMsgIds that a partition remembers at most. One is remembered for 10 minutes, if no more than half as many come after it."`
	MaxBytes   config.Bytes  `yaml:"max_bytes" default:"10GiB" min:"1MiB" doc:"Space of a partition; all together never more than half the disk. When it is full, sends fail with LOG_FULL."`
	Keep       time.Duration `yaml:"keep" default:"24h" min:"10m" doc:"How long a batch stays in the log after it was stored and delivered."`
}

// NATS configures the embedded NATS server, or where that of a cluster is.
type NATS struct {
	Listen string `yaml:"listen" format:"addr" doc:"In one process: where other programs may read domain events; credentials are generated in the data directory. Empty: nowhere."`

	URLs        []string          `yaml:"urls" default:"nats://127.0.0.1:4222" doc:"In a cluster: addresses of the NATS servers; some are enough, they tell of each other."`
	User        string            `yaml:"user" doc:"Whom to connect as: a word, which begins the names of this process's inboxes."`
	Password    config.Secret     `yaml:"password" doc:"The user's password."`
	Credentials string            `yaml:"credentials" doc:"File of a JWT and its key, where users have those instead of passwords."`
	TLS         netdoor.ClientTLS `yaml:"tls"`
	Replicas    int               `yaml:"replicas" default:"3" min:"1" max:"5" doc:"On how many servers each stream is that is made from now on. 3 survive the loss of one."`
}

func (n NATS) servers() jetstream.Servers {
	return jetstream.Servers{URLs: n.URLs, User: n.User, Password: n.Password, Credentials: n.Credentials, TLS: n.TLS}
}

// Validate checks what no single setting shows.
func (n NATS) Validate() error { return n.servers().Validate() }

// Mongo says where the database of a cluster is.
type Mongo struct {
	URI     config.Secret `yaml:"uri" doc:"Connection string of a replica set or of the routers of a sharded cluster, with credentials, TLS and the database's name; empty means mongodb://127.0.0.1:27017/oceanchat."`
	Timeout time.Duration `yaml:"timeout" default:"10s" min:"100ms" max:"5m" doc:"How long a call may take, fail-over included."`
}

func (m Mongo) config() mongo.Config {
	uri := string(m.URI)
	if uri == "" {
		uri = "mongodb://127.0.0.1:27017/oceanchat"
	}
	return mongo.Config{URI: uri, Timeout: m.Timeout}
}

// Drain configures how the process stops.
type Drain struct {
	Notice  time.Duration `yaml:"notice" default:"0s" max:"5m" doc:"How long /readyz is false before connections are closed."`
	Timeout time.Duration `yaml:"timeout" default:"30s" min:"1s" max:"10m" doc:"When the process ends at the latest."`
}

// Logs configures the log lines.
type Logs struct {
	Level  slog.Level `yaml:"level" default:"INFO" enum:"DEBUG,INFO,WARN,ERROR" doc:"The least important lines that are written."`
	Format obs.Format `yaml:"format" default:"text" enum:"text,json" doc:"text for people, json for machines."`
}

// Validate checks what no single setting shows.
func (c Config) Validate() error {
	var errs []error
	if c.HTTP.Addr != "" && c.HTTP.Addr == c.Ops.Addr {
		errs = append(errs, errors.New("ops.addr must not be http.addr: the operations port is never public"))
	}
	if _, err := c.trust(); err != nil {
		errs = append(errs, fmt.Errorf("trusted_proxies: %w", err))
	}
	if (c.HTTP.ProxyProtocol || c.TCP.ProxyProtocol) && len(c.TrustedProxies) == 0 {
		errs = append(errs, errors.New("proxy_protocol: want trusted_proxies too; PROXY headers of others are not read"))
	}
	if least := c.Drain.Notice + c.WSGateway.DrainSpread; c.Drain.Timeout <= least {
		errs = append(errs, fmt.Errorf("drain.timeout = %s: want more than drain.notice and ws_gateway.drain_spread together, %s",
			c.Drain.Timeout, least))
	}
	if least := 2 * c.WSGateway.RenewEvery; c.Presence.Lease < least {
		errs = append(errs, fmt.Errorf("presence.lease = %s: want at least twice ws_gateway.renew_every, %s, or users are off line in between",
			c.Presence.Lease, least))
	}
	if c.Redis.DeniedFor <= c.Auth.AccessTTL {
		errs = append(errs, fmt.Errorf("redis.denied_for = %s: want more than auth.access_ttl, %s, or an ended session is forgotten while its token is valid",
			c.Redis.DeniedFor, c.Auth.AccessTTL))
	}
	return errors.Join(errs...)
}

// trust returns which proxies are believed.
func (c Config) trust() (netdoor.Trust, error) {
	return netdoor.NewTrust(c.TrustedProxies, c.ClientIPHeader)
}

// partitions returns how many there are.
func (l Log) partitions(cluster bool) int {
	switch {
	case l.Partitions > 0:
		return l.Partitions
	case cluster:
		return 16
	}
	return 1
}

// convlog returns the log's own configuration.
func (l Log) convlog(partitions int) convlog.Config {
	c := convlog.Defaults(partitions)
	c.Pace, c.IDs = l.Pace, l.IDs
	return c
}
