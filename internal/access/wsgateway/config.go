package wsgateway

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/journey"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/token"
)

// Config is the "ws_gateway" section of the configuration.
type Config struct {
	Addr    string   `yaml:"addr" default:":8081" format:"addr" doc:"Where /ws is served when api-gateway is in another process."`
	Origins []string `yaml:"origins" doc:"Origins of web pages that may connect besides the server's own, such as https://chat.example.com; * allows all."`

	Heartbeat      time.Duration `yaml:"heartbeat" default:"30s" min:"10ms" max:"10m" doc:"How long a connection may be silent before the server pings; after twice as long it is closed."`
	AuthTimeout    time.Duration `yaml:"auth_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long a new connection may take to send connect."`
	CallTimeout    time.Duration `yaml:"call_timeout" default:"5s" min:"10ms" max:"1m" doc:"How long each call of another service may take while a client connects."`
	RequestTimeout time.Duration `yaml:"request_timeout" default:"15s" min:"10ms" max:"2m" doc:"How long a request may take; then its outcome is unknown."`

	MaxFrame        config.Bytes `yaml:"max_frame" default:"64KiB" min:"1KiB" max:"4MiB" doc:"The longest frame of a client, after reassembly."`
	MaxFrameNew     config.Bytes `yaml:"max_frame_new" default:"4KiB" min:"1KiB" max:"64KiB" doc:"The longest frame of a client that has not connected yet."`
	MaxConnections  int          `yaml:"max_connections" default:"1000000" min:"1" doc:"How many connections this instance takes."`
	Unauthenticated int          `yaml:"unauthenticated_per_ip" default:"50" min:"1" doc:"How many connections that have not connected yet one IP address may have (IPv6: one /64)."`
	Connects        int          `yaml:"connects" default:"128" min:"1" max:"100000" doc:"How many clients may be at their connect at a time; the others wait for their turn."`
	InFlight        int          `yaml:"in_flight" default:"64" min:"1" max:"1024" doc:"How many requests of a connection may wait for their answer."`

	ConnectWait time.Duration `yaml:"connect_wait" default:"5s" min:"10ms" max:"1m" doc:"How long a connect may wait for its turn; then it is refused as OVERLOADED, with this as the time to wait."`
	LaneWait    time.Duration `yaml:"lane_wait" default:"2s" min:"10ms" max:"1m" doc:"How long a request may wait for those before it in its lane; then it is refused as OVERLOADED, and for 10 s those of its connection may wait a quarter as long."`

	QueueFrames int           `yaml:"queue_frames" default:"2048" min:"8" doc:"How many frames may wait for a slow client before it is closed."`
	QueueBytes  config.Bytes  `yaml:"queue_bytes" default:"4MiB" min:"4KiB" doc:"How many bytes may wait for a slow client before it is closed; one frame may be longer."`
	AckWindow   time.Duration `yaml:"ack_window" default:"10s" min:"10ms" max:"5m" doc:"How long a push may stay unacknowledged before it becomes an offline push."`
	Unacked     int           `yaml:"unacked" default:"4096" min:"8" doc:"How many pushes of a connection are remembered until acknowledged; the oldest beyond become offline pushes."`
	Flushers    int           `yaml:"flushers" default:"0" min:"0" max:"256" doc:"How many goroutines write to clients; 0 means one per core."`

	RenewEvery      time.Duration `yaml:"renew_every" default:"5s" min:"10ms" max:"5m" doc:"How often the lease at presence is renewed: a third of its life."`
	SweepEvery      time.Duration `yaml:"sweep_every" default:"1m" min:"10ms" max:"1h" doc:"In what time all sessions are checked anew; in ten times that each is also asked of auth, in case the fast state has forgotten that it ended."`
	RegisterRate    int           `yaml:"register_rate" default:"5000" min:"1" doc:"How many connections a second are registered again after presence was lost."`
	CloseTimeout    time.Duration `yaml:"close_timeout" default:"2s" min:"10ms" max:"1m" doc:"How long a client may take to answer a close."`
	LastAnswers     time.Duration `yaml:"last_answers" default:"500ms" max:"900ms" doc:"How long requests at work may take when their session ends, so that a log-out is answered; then the connection is closed."`
	DrainSpread     time.Duration `yaml:"drain_spread" default:"5s" max:"10m" doc:"Over what time, at most, connections are closed when the process stops: 2,000 a second, or faster where they would take longer."`
	DrainRetryAfter time.Duration `yaml:"drain_retry_after" default:"1s" max:"10m" doc:"What clients are told to wait before they reconnect to a process that stops."`
}

// The fixed times of the public contract and of the writer's design; prototype.md has the measurements.
const (
	ackPingEvery   = 5 * time.Second        // at most this often a push alone causes a ping
	brokenWindow   = time.Minute            // the tenth broken frame within it ends the connection
	brokenMax      = 10                     // see brokenWindow
	flushBurst     = 256                    // writes in a row after which a flusher pauses
	flushPause     = 5 * time.Millisecond   // so that frames gather
	flushBytes     = 64 << 10               // one write gathers about this much
	writeTimeout   = 10 * time.Second       // a slow client that takes nothing for so long is gone
	queuedBytes    = 256 << 10              // requests of a connection that wait; above it the socket is not read
	callBatch      = 500                    // connections or sessions in one call
	auditTurns     = 10                     // rounds of the sweep in which each session is checked at auth once
	shedRetryAfter = time.Second            // what a client is told whose request waited too long
	shedMemory     = 10 * time.Second       // how long a connection whose requests waited too long bears a part of that only
	shedPart       = 4                      // see shedMemory
	tooManyAfter   = 5 * time.Second        // what a client waits at least after 4008
	entryBatch     = 50                     // entries in one call, each some 20 KiB at most
	backlogMax     = 1 << 16                // goodbyes or hand-backs that wait for their service
	maxRetryPause  = 5 * time.Second        // between attempts of what must arrive
	displaceLimit  = 2 * time.Second        // for telling another gateway to close a displaced connection
	tickMost       = time.Second            // how often each connection is looked at
	settleAfter    = 3 * time.Second        // of silence, until a connection gets a reader with a small stack
	backlogLinger  = 100 * time.Millisecond // in which goodbyes gather
)

// tick is how often timers of connections are looked at: a second, less only where a test sets very short times.
func (c Config) tick() time.Duration {
	least := min(c.Heartbeat, c.AuthTimeout, c.AckWindow, c.CloseTimeout)
	return max(min(tickMost, least/4), time.Millisecond)
}

// Deps is what the gateway needs of others. All but ClientIP and the doors are required; a door that is nil is plain TCP.
type Deps struct {
	Net      calls.Network
	Host     calls.Host
	Signals  Subscriber
	Sessions faststate.Sessions
	Verifier Verifier
	// Mounted says that api-gateway serves Handler, so that Run opens no listener of its own.
	Mounted bool
	// ClientIP returns the address of who sent r, behind proxies too; nil means the peer's address.
	ClientIP func(r *http.Request) netip.Addr
	// HTTP opens the gateway's own port for /ws.
	HTTP *netdoor.Door
	// TCPAddr is where raw TCP is served; "" means nowhere.
	TCPAddr string
	// TCP opens TCPAddr.
	TCP *netdoor.Door
	// Trace makes the spans of requests and deliveries; nil means none.
	Trace *obs.Tracer
	// Journey remembers what was pushed and acknowledged; nil means nothing.
	Journey *journey.Recorder
}

// Verifier checks an access token by auth's public keys; *token.Verifier does.
type Verifier interface {
	// Verify returns whose token it is, or a fault. It does not know whether the session is open.
	Verify(ctx context.Context, accessToken string) (token.Claims, error)
}

// Subscriber is what the gateway needs of the backbone.
type Subscriber interface {
	// Subscribe is as in backbone.Backbone.
	Subscribe(subject, group string, fn func(subject string, data []byte)) (stop func(), err error)
	// OnReconnect is as in backbone.Backbone.
	OnReconnect(fn func()) (stop func())
}
