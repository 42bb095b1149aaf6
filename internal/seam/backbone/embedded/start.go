package embedded

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"golang.org/x/crypto/bcrypt"
)

// startTimeout bounds a start; a log of gigabytes takes well under a second.
const startTimeout = 60 * time.Second

// users are the two that may connect when the server listens; without Listen there are none.
type users struct {
	own, ownPassword     string // this process, new at each start, never written
	guest, guestPassword string // programs that read events
	credentials          string // the file that tells them
}

func (s *Server) options() (*natsserver.Options, users, error) {
	o := &natsserver.Options{
		ServerName: "oceanchat",
		JetStream:  true,
		StoreDir:   s.dir,
		SyncAlways: s.cfg.Sync == SyncAlways,
		// What bounds storage is the size of each stream. A bound of the server's would keep a
		// stream from being read at all after the bound was lowered.
		JetStreamMaxStore:      1 << 60,
		JetStreamMaxMemory:     64 << 20,
		DisableJetStreamBanner: true,
		DontListen:             s.cfg.Listen == "",
		NoSigs:                 true,
		NoLog:                  true,
	}
	o.SyncInterval = time.Second
	if s.cfg.Listen == "" {
		return o, users{}, nil
	}
	host, port, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return nil, users{}, fmt.Errorf("nats.listen %q: %w", s.cfg.Listen, err)
	}
	if o.Port, err = strconv.Atoi(port); err != nil || o.Port < 0 || o.Port > 65535 {
		return nil, users{}, fmt.Errorf("nats.listen %q: port is not a number of 0 to 65535", s.cfg.Listen)
	}
	if o.Host = host; host == "" {
		o.Host = "0.0.0.0"
	}
	if o.Port == 0 {
		o.Port = natsserver.RANDOM_PORT
	}
	u := users{own: "oceanchat", ownPassword: rand.Text(), guest: "events", credentials: filepath.Join(s.cfg.Dir, "nats-credentials")}
	if u.guestPassword, err = guestPassword(u.credentials); err != nil {
		return nil, users{}, err
	}
	own, err := hashed(u.ownPassword)
	if err != nil {
		return nil, users{}, err
	}
	guest, err := hashed(u.guestPassword)
	if err != nil {
		return nil, users{}, err
	}
	o.Users = []*natsserver.User{
		{Username: u.own, Password: own},
		{Username: u.guest, Password: guest, Permissions: guestPermissions()},
	}
	return o, u, nil
}

// hashed returns what the server keeps of a password. It is random, so the cheapest hash will do; the server warns of none.
func hashed(password string) (string, error) {
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return "", fmt.Errorf("hash a nats password: %w", err)
	}
	return string(h), nil
}

// guestPermissions lets a program read the stream of events and nothing else: it cannot publish a
// message of OceanChat's, nor see the inboxes of this process.
func guestPermissions() *natsserver.Permissions {
	const s = "OC_EVENTS"
	return &natsserver.Permissions{
		Publish: &natsserver.SubjectPermission{Allow: []string{
			"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.INFO." + s,
			"$JS.API.CONSUMER.CREATE." + s, "$JS.API.CONSUMER.CREATE." + s + ".>", "$JS.API.CONSUMER.DURABLE.CREATE." + s + ".>",
			"$JS.API.CONSUMER.INFO." + s + ".>", "$JS.API.CONSUMER.DELETE." + s + ".>", "$JS.API.CONSUMER.MSG.NEXT." + s + ".>",
			"$JS.ACK." + s + ".>", "$JS.FC." + s + ".>",
		}},
		Subscribe: &natsserver.SubjectPermission{Allow: []string{"auth.event.>", "_INBOX.>"}},
	}
}

// guestPassword reads the password of an earlier start or makes one.
func guestPassword(file string) (string, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return rand.Text(), nil
	}
	if err != nil {
		return "", fmt.Errorf("read nats credentials: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "password="); ok && v != "" {
			return v, nil
		}
	}
	return rand.Text(), nil
}

// announce writes the credentials, and fixes the port so that a restart gets the same.
func (s *Server) announce(srv *natsserver.Server, o *natsserver.Options, u users) error {
	if u.credentials == "" {
		return nil
	}
	a, ok := srv.Addr().(*net.TCPAddr)
	if !ok {
		return errors.New("embedded server does not listen")
	}
	o.Port = a.Port
	text := fmt.Sprintf("url=nats://%s\nuser=%s\npassword=%s\n", a, u.guest, u.guestPassword)
	tmp := u.credentials + ".tmp"
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write nats credentials: %w", err)
	}
	if err := os.Rename(tmp, u.credentials); err != nil {
		return fmt.Errorf("write nats credentials: %w", err)
	}
	s.log.Info("embedded nats listens", "addr", a.String(), "file", u.credentials)
	return nil
}

// start returns a server that has read everything it has on disk.
func start(o *natsserver.Options, log *slog.Logger) (*natsserver.Server, error) {
	if err := sweep(o.StoreDir); err != nil {
		return nil, err
	}
	srv, err := natsserver.NewServer(o.Clone())
	if err != nil {
		return nil, fmt.Errorf("embedded nats: %w", err)
	}
	lines := &logger{log: log, fatal: make(chan string, 1)}
	srv.SetLoggerV2(lines, false, false, false)
	srv.Start()
	for end := time.Now().Add(startTimeout); ; {
		ok := srv.ReadyForConnections(50 * time.Millisecond)
		select {
		case why := <-lines.fatal:
			stop(srv)
			return nil, fmt.Errorf("embedded nats: %s", why)
		default:
		}
		if ok {
			break
		}
		if time.Now().After(end) {
			stop(srv)
			return nil, fmt.Errorf("embedded nats: not ready after %s", startTimeout)
		}
	}
	if err := healthy(srv); err != nil {
		stop(srv)
		return nil, fmt.Errorf("embedded nats: %w", err)
	}
	return srv, nil
}

// healthy returns what keeps a stream of the server's from being read or written.
func healthy(srv *natsserver.Server) error {
	var h *natsserver.HealthStatus
	for range healthTries {
		// It gives itself a millisecond to see that the server is ready, which a busy machine may not have.
		if h = srv.Healthz(&natsserver.HealthzOptions{}); !strings.Contains(h.Error, "failed to be ready for connections") {
			break
		}
	}
	if h.Error != "" {
		return errors.New(h.Error)
	}
	return nil
}

// healthTries is how often the server's health is asked when it did not get around to an answer.
const healthTries = 50

// logger passes the server's lines to slog. Notices tell of each stream at each start: debug.
type logger struct {
	log   *slog.Logger
	fatal chan string
}

func (l *logger) Noticef(f string, v ...any) {
	l.log.Debug("nats-server", "line", fmt.Sprintf(f, v...))
}
func (l *logger) Warnf(f string, v ...any)  { l.log.Warn("nats-server", "line", fmt.Sprintf(f, v...)) }
func (l *logger) Errorf(f string, v ...any) { l.log.Error("nats-server", "line", fmt.Sprintf(f, v...)) }
func (l *logger) Debugf(f string, v ...any) { l.log.Debug("nats-server", "line", fmt.Sprintf(f, v...)) }
func (l *logger) Tracef(string, ...any)     {}

// Fatalf must not end the process: start returns the text as an error.
func (l *logger) Fatalf(f string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(f, v...):
	default:
	}
}
