package app_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/internal/app"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/freeport"
)

// The operations port tells how the process stops until everything else has: it opens first and closes last.
func TestOpsPortStopsLast(t *testing.T) {
	web, ops := freeAddr(t), freeAddr(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	code := make(chan int, 1)
	var log text
	go func() {
		code <- app.Main(ctx, command.Call{Out: io.Discard, Err: &log, Args: []string{
			"--data-dir", t.TempDir(), "--http-addr", web, "--ops-addr", ops, "--tcp-addr", "",
			"--ws-gateway-drain-spread", "0s", "--ws-gateway-close-timeout", "1m", "--drain-timeout", "2m",
		}})
	}()
	readyz := func() int {
		resp, err := http.Get("http://" + ops + "/readyz")
		if err != nil {
			return 0
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	eventually(t, "ready", func() bool { return readyz() == http.StatusOK })

	// A client that does not answer the server's close holds up the stop until it goes.
	conn, _, _, err := ws.Dial(t.Context(), "ws://"+web+"/ws")
	if err != nil {
		t.Fatalf("dial = %v; want nil", err)
	}
	defer func() { _ = conn.Close() }()
	cancel()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Fatalf("waiting for the server's close: %v", err)
	}
	if got := readyz(); got != http.StatusServiceUnavailable {
		t.Errorf("GET /readyz while connections are closed = %d; want 503", got)
	}
	_ = conn.Close()
	if got := <-code; got != 0 {
		t.Errorf("Main = %d; want 0\n%s", got, log.String())
	}
}

const patience = 20 * time.Second

func freeAddr(t *testing.T) string {
	t.Helper()
	addrs, err := freeport.Take(1)
	if err != nil {
		t.Fatal(err)
	}
	return addrs[0]
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// text is a log that may be read while it is written.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Settings that are right one by one and do not fit together are refused at the start: a stop that its time limit cuts
// off, a lease that ends before it is renewed.
func TestSettingsFit(t *testing.T) {
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"defaults", nil, ""},
		{"long spread", []string{"--ws-gateway-drain-spread", "1m"}, "drain.timeout"},
		{"long notice", []string{"--drain-notice", "1m"}, "drain.timeout"},
		{"short lease", []string{"--presence-lease", "9s"}, "presence.lease"},
		{"short lease, renewed more often", []string{"--presence-lease", "9s", "--ws-gateway-renew-every", "3s"}, ""},
		{"a proxy that nobody trusts", []string{"--tcp-proxy-protocol"}, "trusted_proxies"},
		{"a proxy that is trusted", []string{"--tcp-proxy-protocol", "--trusted-proxies", "10.0.0.0/8,::1"}, ""},
		{"a proxy that is no network", []string{"--trusted-proxies", "lb.example"}, "lb.example"},
		{"a certificate without its key", []string{"--ops-tls-cert-file", "x.pem"}, "ops.tls"},
		{"a header that is none", []string{"--client-ip-header", "Via"}, "client_ip_header"},
		{"long spread with time for it", []string{"--ws-gateway-drain-spread", "1m", "--drain-timeout", "2m"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out, errs strings.Builder
			code := app.Main(t.Context(), command.Call{Args: append([]string{"config", "check"}, tt.args...), Out: &out, Err: &errs})
			if ok := code == 0; ok != (tt.want == "") || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("config check %q = %d, %q; want an error that names %q", tt.args, code, errs.String(), tt.want)
			}
		})
	}
}
