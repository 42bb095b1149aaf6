package embedded_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/embedded"
)

func TestNewChecks(t *testing.T) {
	for _, cfg := range []embedded.Config{{}, {Dir: "x", Sync: "sometimes"}} {
		if _, err := embedded.New(cfg, slog.New(slog.DiscardHandler)); err == nil {
			t.Errorf("New(%+v) = nil; want an error", cfg)
		}
	}
}

// runFails runs an embedded backbone that must not become ready.
func runFails(t *testing.T, cfg embedded.Config) error {
	t.Helper()
	s, err := embedded.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("New = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = s.Run(ctx, func() {
		t.Error("Run is ready; want an error before")
		cancel()
	})
	return err
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	_, stop := backbonetest.OpenDir(t, dir)
	if err := runFails(t, embedded.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Run on a directory in use = %v; want that said", err)
	}
	stop()
	for _, listen := range []string{"nonsense", "127.0.0.1:x", "127.0.0.1:70000", "256.0.0.1:0"} {
		if err := runFails(t, embedded.Config{Dir: dir, Listen: listen}); err == nil {
			t.Errorf("Run with listen %q = nil; want an error", listen)
		}
	}
}

// A log that cannot be read must not be taken for one that does not exist.
func TestUnreadableLog(t *testing.T) {
	dir := t.TempDir()
	b, stop := backbonetest.OpenDir(t, dir)
	l, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	if _, err := l.Append(t.Context(), []byte("x"), 0); err != nil {
		t.Fatalf("Append = %v", err)
	}
	stop()
	meta := filepath.Join(dir, "nats", "jetstream", "$G", "streams", backbone.LogStream(0), "meta.inf")
	was, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := runFails(t, embedded.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), backbone.LogStream(0)) {
		t.Errorf("Run with an unreadable log = %v; want its name", err)
	}
	if err := os.WriteFile(meta, was, 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ = backbonetest.OpenDir(t, dir)
	if l, err = b.Log(t.Context(), 0); err != nil {
		t.Fatalf("Log = %v", err)
	}
	if i, err := l.Info(t.Context()); err != nil || i.Last != 1 {
		t.Errorf("Info = %+v, %v; want Last 1", i, err)
	}
}

// A kill or a power cut within the creation of a stream leaves a folder without a description, or with half of one.
func TestUnbornStream(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no description":          {},
		"an empty one":            {"meta.inf": "", "meta.sum": ""},
		"no checksum":             {"meta.inf": `{"name":"OC_LOG_0","storage":"file"}`},
		"another one's checksum":  {"meta.inf": `{"name":"OC_LOG_0","storage":"file"}`, "meta.sum": "49a333301b7516c3"},
		"half of it never landed": {"meta.inf": `{"name":"OC_LOG_0",` + strings.Repeat("\x00", 512), "meta.sum": "49a333301b7516c3", "msgs/1.blk": ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			stream := filepath.Join(dir, "nats", "jetstream", "$G", "streams", backbone.LogStream(0))
			if err := os.MkdirAll(filepath.Join(stream, "msgs"), 0o700); err != nil {
				t.Fatal(err)
			}
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(stream, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			b, _ := backbonetest.OpenDir(t, dir)
			if _, err := b.Log(t.Context(), 0); err != nil {
				t.Errorf("Log = %v; want nil", err)
			}
		})
	}
}

// A kill or a power cut within a start leaves the file by which the server tries whether it may write. It is no account.
func TestTrialLeftBehind(t *testing.T) {
	dir := t.TempDir()
	b, stop := backbonetest.OpenDir(t, dir)
	if _, err := b.Log(t.Context(), 0); err != nil {
		t.Fatalf("Log = %v", err)
	}
	stop()
	if err := os.WriteFile(filepath.Join(dir, "nats", "jetstream", "_test_3033028637"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b, _ = backbonetest.OpenDir(t, dir)
	if _, err := b.Log(t.Context(), 0); err != nil {
		t.Errorf("Log = %v; want nil", err)
	}
}

// The data directory may be named from within it, or by one letter: there is no name above these.
func TestShortDir(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{".", "d"} {
		b, stop := backbonetest.OpenDir(t, dir)
		if _, err := b.Log(t.Context(), 0); err != nil {
			t.Errorf("Log in %q = %v; want nil", dir, err)
		}
		stop()
	}
}

func TestNotRunning(t *testing.T) {
	b, stop := backbonetest.OpenDir(t, t.TempDir())
	l, err := b.Log(t.Context(), 0)
	if err != nil {
		t.Fatalf("Log = %v", err)
	}
	stop()
	if err := b.Writable(t.Context()); err == nil {
		t.Error("Writable after Run = nil; want an error")
	}
	if _, err := l.Append(t.Context(), nil, 0); err == nil {
		t.Error("Append after Run = nil; want an error")
	}
	if err := b.Publish("a", nil); err == nil {
		t.Error("Publish after Run = nil; want an error")
	}
}

// AUTH-4: other programs can consume the domain events, and nothing else.
func TestListen(t *testing.T) {
	dir := t.TempDir()
	cfg := embedded.Config{Dir: dir, Listen: "127.0.0.1:0", Reserve: 1}
	b, stop := backbonetest.OpenConfig(t, cfg)
	q, err := b.Queue(t.Context(), backbone.Events)
	if err != nil {
		t.Fatalf("Queue = %v", err)
	}
	if err := q.Publish(t.Context(), "user.registered", "", []byte("ann")); err != nil {
		t.Fatalf("Publish = %v", err)
	}
	c := credentials(t, dir)
	if _, err := nats.Connect(c["url"], nats.UserInfo(c["user"], "wrong")); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("Connect with a wrong password = %v; want %v", err, nats.ErrAuthorization)
	}
	if _, err := nats.Connect(c["url"]); err == nil {
		t.Error("Connect without a password = nil; want an error")
	}
	guest := connect(t, c)
	readsEvent(t, guest)
	for _, subject := range []string{"oc.log.0", "auth.event.user.registered", "$JS.API.STREAM.DELETE.OC_EVENTS"} {
		denied(t, guest, func() error { return guest.Publish(subject, nil) }, subject)
	}
	for _, subject := range []string{">", "_OC_INBOX.>", "oc.>"} {
		denied(t, guest, func() error { _, err := guest.SubscribeSync(subject); return err }, subject)
	}
	stop()
	cfg.Listen = strings.TrimPrefix(c["url"], "nats://")
	backbonetest.OpenConfig(t, cfg)
	if got := credentials(t, dir); got["password"] != c["password"] {
		t.Error("the password changed at the second start; want the same")
	}
}

func credentials(t *testing.T, dir string) map[string]string {
	t.Helper()
	file := filepath.Join(dir, "nats-credentials")
	i, err := os.Stat(file)
	if err != nil || i.Mode().Perm() != 0o600 {
		t.Fatalf("Stat(credentials) = %v, %v; want mode 0600", i, err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c := map[string]string{}
	for line := range strings.Lines(string(data)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		c[k] = v
	}
	return c
}

func connect(t *testing.T, c map[string]string) *nats.Conn {
	t.Helper()
	conn, err := nats.Connect(c["url"], nats.UserInfo(c["user"], c["password"]), nats.MaxReconnects(0),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatalf("Connect = %v", err)
	}
	t.Cleanup(conn.Close)
	return conn
}

func readsEvent(t *testing.T, conn *nats.Conn) {
	t.Helper()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateOrUpdateConsumer(t.Context(), "OC_EVENTS", jetstream.ConsumerConfig{Durable: "guest", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatalf("CreateOrUpdateConsumer = %v", err)
	}
	m, err := c.Next(jetstream.FetchMaxWait(10 * time.Second))
	if err != nil || string(m.Data()) != "ann" || m.Subject() != "auth.event.user.registered" {
		t.Fatalf("Next = %v, %v; want the event", m, err)
	}
	if err := m.DoubleAck(t.Context()); err != nil {
		t.Errorf("DoubleAck = %v", err)
	}
}

// denied tells whether the server refused what do asked for; LastError is set before Flush returns.
func denied(t *testing.T, conn *nats.Conn, do func() error, subject string) {
	t.Helper()
	if err := errors.Join(do(), conn.Flush()); err != nil {
		t.Fatalf("ask for %s = %v", subject, err)
	}
	if err := conn.LastError(); err == nil || !strings.Contains(err.Error(), `"`+subject+`"`) {
		t.Errorf("last error after %s = %v; want a violation of permissions", subject, err)
	}
}
