package apns_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/apns"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendorapi"
	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
)

func TestProviderTokenIsRenewedInTime(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	for i, want := range []int{1, 1, 2, 2, 3} { // after 0, 22, 44 + 2, … minutes
		if i == 2 {
			c.advance(2 * time.Minute)
		}
		if o := send(t, s, item(device)); o.Class != vendorapi.Accepted {
			t.Fatalf("Send %d = %+v; want accepted", i, o)
		}
		if got := f.ProviderTokens(); got != want {
			t.Errorf("provider tokens after send %d = %d; want %d", i, got, want)
		}
		c.advance(23 * time.Minute)
	}
	noProblems(t, f)
}

func TestExpiredProviderTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	send(t, s, item(device))
	c.advance(21 * time.Minute)
	f.SetClock(func() time.Time { return c.now().Add(45 * time.Minute) }) // refuses the first token, not a new one
	items := make([]vendorapi.Item, 100)
	for i := range items {
		items[i] = item(fmt.Sprintf("%s%04x", device, i))
	}
	for i, o := range s.Send(t.Context(), items) {
		if o.Class != vendorapi.Accepted {
			t.Errorf("outcome %d = %+v; want accepted after a renewal", i, o)
		}
	}
	if got := f.ProviderTokens(); got != 2 {
		t.Errorf("provider tokens = %d; want exactly one renewal", got)
	}
	if len(f.Problems()) == 0 {
		t.Error("no request was refused; want some, or this test proves nothing")
	}
}

func TestClockOfServerIsAhead(t *testing.T) {
	t.Parallel()
	f, s, c := startAt(t)
	send(t, s, item(device))
	c.advance(21 * time.Minute)
	f.SetClock(func() time.Time { return c.now().Add(2 * time.Hour) })
	if o := send(t, s, item(device)); o.Class != vendorapi.Misconfigured || o.VendorCode != "ExpiredProviderToken" {
		t.Errorf("Send with tokens that are old at birth = %+v; want Misconfigured", o)
	}
	o := send(t, s, item(device))
	if o.Class != vendorapi.AuthExpired || o.RetryAfter != 20*time.Minute {
		t.Errorf("Send again = %+v; want AuthExpired for 20m, as no other token may be made before", o)
	}
	if got := f.ProviderTokens(); got != 2 {
		t.Errorf("provider tokens = %d; want 2", got)
	}
}

func TestNewRefusesConfig(t *testing.T) {
	t.Parallel()
	f := vendortest.NewAPNs(t)
	good := apns.Config{KeyFile: f.KeyFile, KeyID: f.KeyID, TeamID: f.TeamID, Topic: f.Topic}
	rsa := filepath.Join(t.TempDir(), "bad.p8")
	if err := os.WriteFile(rsa, []byte("-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		change func(*apns.Config)
		want   string
	}{
		{"no key", func(c *apns.Config) { c.KeyFile = "" }, "key_file is missing"},
		{"no key id", func(c *apns.Config) { c.KeyID = "" }, "key_id is missing"},
		{"no team", func(c *apns.Config) { c.TeamID = "" }, "team_id is missing"},
		{"no topic", func(c *apns.Config) { c.Topic = "" }, "topic is missing"},
		{"key file is not there", func(c *apns.Config) { c.KeyFile = "nowhere.p8" }, "nowhere.p8"},
		{"key file holds no key", func(c *apns.Config) { c.KeyFile = rsa }, "P-256"},
		{"endpoint without TLS", func(c *apns.Config) { c.Endpoint = "http://localhost" }, "https"},
		{"sandbox without TLS", func(c *apns.Config) { c.SandboxEndpoint = "localhost:1" }, "https"},
		{"authority is not there", func(c *apns.Config) { c.CAFile = "nowhere.pem" }, "ca_file"},
		{"authority is no certificate", func(c *apns.Config) { c.CAFile = f.KeyFile }, "no certificate"},
	}
	for _, tt := range tests {
		cfg := good
		tt.change(&cfg)
		_, err := apns.New(cfg, vendorapi.Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, vendorapi.ErrNotConfigured) {
			t.Errorf("%s: New error = %v; want one that says %q", tt.name, err, tt.want)
		}
	}
	if _, err := apns.New(apns.Config{Endpoint: f.URL, Topic: f.Topic}, vendorapi.Options{}); !errors.Is(err, vendorapi.ErrNotConfigured) {
		t.Errorf("New without credentials error = %v; want ErrNotConfigured", err)
	}
	inline := good
	inline.KeyFile = ""
	if s, err := apns.New(inline, vendorapi.Options{Key: f.KeyPEM}); err != nil || s.Name() != "apns" || !s.Caps().Replace {
		t.Errorf("New with an inline key = %v, %v; want a Sender", s, err)
	}
}
