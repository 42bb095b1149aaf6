// Package embedded is the backbone in one process: a NATS server with JetStream on local disk, with
// which this process speaks without a socket. It owns the server's options, its restart after the
// disk failed, the guard of free space, and the direct hand-over of tasks for connected devices.
// It listens on the network only where Config.Listen says so.
//
// Nothing acknowledged is lost: with Sync "always" each message is on disk before its
// acknowledgement. Before the disk is full the guard refuses new messages, with ErrFull and nothing
// stored. Should the disk fail all the same, JetStream gives no answer any more and stops writing
// for good; then the server is restarted at once, so that what it reads from disk decides which
// messages exist, and writes are let in again only when a trial write succeeds.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// The values of Config.Sync.
const (
	SyncAlways   = "always"
	SyncInterval = "interval"
)

// Config says how the server runs. The zero value of all but Dir is its default.
type Config struct {
	// Dir is the data directory; the server's files are in its folder "nats".
	Dir string
	// Sync is SyncAlways (default): fsync before each acknowledgement; or SyncInterval: every
	// second, so that a power cut takes what was acknowledged in the last second.
	Sync string
	// LogMaxBytes bounds each partition of the log; default 10 GiB. All partitions together never
	// get more than half the disk.
	LogMaxBytes int64
	// Partitions is how many partitions share the disk; default 1.
	Partitions int
	// Reserve is how much of the disk stays free: below it nothing more is accepted. Default: the
	// lower of 256 MiB and 2 % of the disk.
	Reserve int64
	// Listen is where other programs may connect to read events, as host:port; default nowhere.
	// Their password is in the file "nats-credentials" of Dir. The connection is not encrypted.
	Listen string
}

// Server implements backbone.Backbone while Run is under way. It is safe for concurrent use.
type Server struct {
	cfg    Config
	dir    string // of the server's files
	log    *slog.Logger
	online *handover

	mu   sync.Mutex // guards what follows
	js   *jetstream.Backbone
	life *life
	low  error // set while the disk has less than Reserve free
	sick error // set from a failed write until a trial write succeeds
	left int64 // bytes that may be written before the disk is looked at again
}

// life is the time from a start of the NATS server to its end.
type life struct {
	srv    *natsserver.Server
	ctx    context.Context // ends when the server is given up
	cancel context.CancelFunc
	over   chan struct{} // closed when the next life has begun, or Run ends
}

var (
	_ backbone.Backbone = (*Server)(nil)
	_ backbone.Keeper   = (*Server)(nil)
)

// errNotRunning is the answer before Run is ready and after it returned.
var errNotRunning = errors.New("backbone: the embedded server is not running")

// New returns a Server that does nothing before Run.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	switch {
	case cfg.Dir == "":
		return nil, errors.New("embedded backbone: no data directory")
	case cfg.Sync == "":
		cfg.Sync = SyncAlways
	case cfg.Sync != SyncAlways && cfg.Sync != SyncInterval:
		return nil, fmt.Errorf("embedded backbone: sync %q: want %s or %s", cfg.Sync, SyncAlways, SyncInterval)
	}
	cfg.Partitions = max(cfg.Partitions, 1)
	s := &Server{cfg: cfg, dir: filepath.Join(cfg.Dir, "nats"), log: log}
	s.online = newHandover(s.bury, log)
	return s, nil
}

// Run starts the server, calls ready once, and serves until ctx ends. It returns early, with an
// error, only before ready: when the directory is used by another process, or a stream on disk cannot
// be read (it would otherwise be made anew, empty).
func (s *Server) Run(ctx context.Context, ready func()) error {
	unlock, err := lockDir(s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	opts, users, err := s.options()
	if err != nil {
		return err
	}
	srv, err := start(opts, s.log)
	if err != nil {
		return err
	}
	s.begin(ctx, srv)
	defer s.end()
	if err := s.announce(srv, opts, users); err != nil {
		return err
	}
	conn, err := nats.Connect("", append(jetstream.Options(s.log), nats.InProcessServer(door{s}), nats.UserInfo(users.own, users.ownPassword))...)
	if err != nil {
		return fmt.Errorf("connect to the embedded server: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn, s.limits(), s.log)
	if err != nil {
		return err
	}
	s.checkSpace()
	s.mu.Lock()
	s.js = js
	s.mu.Unlock()
	ready()
	s.watch(ctx, opts)
	return nil
}

// limits gives the logs at most half the disk and each other stream at most a 32nd of it.
func (s *Server) limits() jetstream.Config {
	c := jetstream.Config{LogMaxBytes: s.cfg.LogMaxBytes}
	if c.LogMaxBytes <= 0 {
		c.LogMaxBytes = 10 << 30
	}
	if _, total, ok := diskSpace(s.dir); ok {
		c.LogMaxBytes = min(c.LogMaxBytes, total/2/int64(s.cfg.Partitions))
		c.QueueMaxBytes = total / 32
	}
	return c
}

func (s *Server) begin(ctx context.Context, srv *natsserver.Server) {
	l := &life{srv: srv, over: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.life != nil {
		close(s.life.over)
	}
	s.life = l
}

func (s *Server) end() {
	s.mu.Lock()
	l := s.life
	s.js = nil
	s.mu.Unlock()
	l.cancel()
	stop(l.srv)
	close(l.over)
}

func stop(srv *natsserver.Server) {
	srv.Shutdown()
	srv.WaitForShutdown()
}

// watch looks after the disk and the server until ctx ends.
func (s *Server) watch(ctx context.Context, opts *natsserver.Options) {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s.checkSpace()
		if n%4 != 0 {
			continue
		}
		s.mu.Lock()
		srv, sick := s.life.srv, s.sick
		s.mu.Unlock()
		if err := healthy(srv); err != nil {
			s.restart(ctx, opts, err)
		} else if sick != nil {
			s.recovered()
		}
	}
}

// checkSpace closes the gate below the reserve and opens it a tenth above. Before it looks again an
// eighth of the reserve may be written.
func (s *Server) checkSpace() {
	free, total, ok := diskSpace(s.dir)
	if !ok {
		return
	}
	reserve := s.cfg.Reserve
	if reserve <= 0 {
		reserve = min(256<<20, total/50)
	}
	s.mu.Lock()
	was := s.low
	switch {
	case free < reserve:
		s.low = fmt.Errorf("disk has %d bytes free of the %d that stay in reserve: %w", free, reserve, backbone.ErrFull)
	case free >= reserve+reserve/10:
		s.low = nil
	}
	now := s.low
	s.left = reserve / 8
	s.mu.Unlock()
	if was == nil && now != nil {
		s.log.Error("disk is nearly full, messages are refused until there is space", "free", free, "reserve", reserve)
	} else if was != nil && now == nil {
		s.log.Info("disk has space again", "free", free)
	}
}

// restart ends the life of a server that cannot write. What it had not acknowledged is decided by
// what the next one finds on disk. It returns when a server runs, or ctx ended.
func (s *Server) restart(ctx context.Context, opts *natsserver.Options, cause error) {
	s.log.Error("storage failed, the embedded server starts again", "err", cause)
	kind := backbone.ErrRefused
	if outOfSpace(cause) {
		kind = backbone.ErrFull
	}
	s.mu.Lock()
	s.sick = fmt.Errorf("storage failed: %w: %w", kind, cause)
	l := s.life
	s.mu.Unlock()
	l.cancel()
	stop(l.srv)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		srv, err := start(opts, s.log)
		if err == nil {
			s.begin(ctx, srv)
			return
		}
		s.log.Error("embedded server did not start, trying again", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// recovered lets writes in again if a trial write reaches the disk.
func (s *Server) recovered() {
	if err := trialWrite(s.dir); err != nil {
		return // the alarm was raised when the gate was closed
	}
	s.mu.Lock()
	s.sick = nil
	s.mu.Unlock()
	s.log.Info("storage takes writes again")
}

// enter returns the life to write size bytes in, or why nothing may be written.
func (s *Server) enter(size int) (*life, error) {
	s.mu.Lock()
	s.left -= int64(size)
	look := s.left < 0
	s.mu.Unlock()
	if look {
		s.checkSpace()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.js == nil:
		return nil, errNotRunning
	case s.sick != nil:
		return nil, s.sick
	case s.low != nil:
		return nil, s.low
	}
	return s.life, nil
}

// door is how the connection, and each of its reconnections, gets to the server of the day.
type door struct{ s *Server }
