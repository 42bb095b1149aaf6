package netdoor_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/netdoor"
)

func trust(t testing.TB, header string, proxies ...string) netdoor.Trust {
	t.Helper()
	got, err := netdoor.NewTrust(proxies, header)
	if err != nil {
		t.Fatalf("NewTrust(%q, %q) = %v; want nil", proxies, header, err)
	}
	return got
}

func TestClient(t *testing.T) {
	t.Parallel()
	const xff, real, fwd = "X-Forwarded-For", "X-Real-Ip", "Forwarded"
	tests := []struct {
		name, believed, remote string
		header                 http.Header
		want                   string
	}{
		{"no proxy", xff, "9.9.9.9:1234", nil, "9.9.9.9"},
		{"a peer that is not trusted", xff, "9.9.9.9:1234", http.Header{xff: {"1.1.1.1"}}, "9.9.9.9"},
		{"one proxy", xff, "10.0.0.1:1", http.Header{xff: {"1.1.1.1"}}, "1.1.1.1"},
		{"two proxies", xff, "10.0.0.1:1", http.Header{xff: {"1.1.1.1, 10.0.0.2"}}, "1.1.1.1"},
		{"written by the client", xff, "10.0.0.1:1", http.Header{xff: {"6.6.6.6, 1.1.1.1, 10.0.0.2"}}, "1.1.1.1"},
		{"a trusted address written by the client", xff, "10.0.0.1:1", http.Header{xff: {"10.0.0.9, 1.1.1.1"}}, "1.1.1.1"},
		{"several headers are one list", xff, "10.0.0.1:1", http.Header{xff: {"6.6.6.6", "1.1.1.1", "10.0.0.2"}}, "1.1.1.1"},
		{"nonsense ends the walk", xff, "10.0.0.1:1", http.Header{xff: {"1.1.1.1, unknown, 10.0.0.2"}}, "10.0.0.2"},
		{"an empty header", xff, "10.0.0.1:1", http.Header{xff: {""}}, "10.0.0.1"},
		{"only proxies", xff, "10.0.0.1:1", http.Header{xff: {"10.0.0.3, 10.0.0.2"}}, "10.0.0.3"},
		{"with a port", xff, "10.0.0.1:1", http.Header{xff: {"1.1.1.1:555"}}, "1.1.1.1"},
		{"IPv6", xff, "[::1]:1", http.Header{xff: {"2001:db8::1"}}, "2001:db8::1"},
		{"IPv6 in brackets", xff, "[::1]:1", http.Header{xff: {"[2001:db8::1]:77"}}, "2001:db8::1"},
		{"IPv4 in IPv6", xff, "[::ffff:10.0.0.1]:1", http.Header{xff: {"::ffff:1.1.1.1"}}, "1.1.1.1"},
		{"a zone is nothing that a client may choose", xff, "[::1]:1", http.Header{xff: {"fe80::1%eth0"}}, "fe80::1"},
		{"headers that the proxy does not set", xff, "10.0.0.1:1", http.Header{real: {"6.6.6.6"}, fwd: {"for=6.6.6.6"}}, "10.0.0.1"},

		{"X-Real-IP", real, "10.0.0.1:1", http.Header{real: {"1.1.1.1"}, xff: {"6.6.6.6"}}, "1.1.1.1"},
		{"X-Real-IP twice: the proxy's is the last", real, "10.0.0.1:1", http.Header{real: {"6.6.6.6", "1.1.1.1"}}, "1.1.1.1"},
		{"X-Real-IP of an untrusted peer", real, "9.9.9.9:1", http.Header{real: {"1.1.1.1"}}, "9.9.9.9"},
		{"no X-Real-IP", real, "10.0.0.1:1", nil, "10.0.0.1"},
		{"X-Real-IP is no list", real, "10.0.0.1:1", http.Header{real: {"6.6.6.6, 1.1.1.1"}}, "10.0.0.1"},

		{"Forwarded", fwd, "10.0.0.1:1", http.Header{fwd: {"for=1.1.1.1;proto=https;by=10.0.0.1"}, xff: {"6.6.6.6"}}, "1.1.1.1"},
		{"Forwarded of an untrusted peer", fwd, "9.9.9.9:1", http.Header{fwd: {"for=1.1.1.1"}}, "9.9.9.9"},
		{"Forwarded, IPv6 with port", fwd, "10.0.0.1:1", http.Header{fwd: {`proto=https; FOR="[2001:db8::1]:4711"`}}, "2001:db8::1"},
		{"Forwarded through two proxies", fwd, "10.0.0.1:1", http.Header{fwd: {"for=6.6.6.6", `for=1.1.1.1, for="10.0.0.2:80"`}}, "1.1.1.1"},
		{"Forwarded with a hidden hop", fwd, "10.0.0.1:1", http.Header{fwd: {"for=1.1.1.1, for=_secret, for=10.0.0.2"}}, "10.0.0.2"},
		{"Forwarded with an open quote before the proxy's", fwd, "10.0.0.1:1", http.Header{fwd: {`for="6.6.6.6, for=1.1.1.1`}}, "1.1.1.1"},
		{"Forwarded that names two", fwd, "10.0.0.1:1", http.Header{fwd: {"for=6.6.6.6;for=1.1.1.1"}}, "10.0.0.1"},
		{"Forwarded without for", fwd, "10.0.0.1:1", http.Header{fwd: {"proto=https"}}, "10.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.remote
			if tt.header != nil {
				r.Header = tt.header
			}
			if got := trust(t, tt.believed, "10.0.0.0/8", "::1").Client(r).String(); got != tt.want {
				t.Errorf("Client(%s, %v) = %s; want %s", tt.remote, tt.header, got, tt.want)
			}
		})
	}
}

func TestNewTrust(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"all", "10.0.0.0/99", "", "10.0.0.1:80"} {
		if _, err := netdoor.NewTrust([]string{bad}, ""); err == nil {
			t.Errorf("NewTrust(%q) = nil error; want one", bad)
		}
	}
	if _, err := netdoor.NewTrust(nil, "Via"); err == nil {
		t.Error("NewTrust with the header Via = nil error; want one")
	}
	if (netdoor.Trust{}).Contains(netip.MustParseAddr("127.0.0.1")) {
		t.Error("the zero Trust trusts 127.0.0.1; want nobody")
	}
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"1.2.3.4": "1.2.3.4", "::ffff:1.2.3.4": "1.2.3.4", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := netdoor.Network(netip.MustParseAddr(in)).String(); got != want {
			t.Errorf("Network(%s) = %s; want %s", in, got, want)
		}
	}
	if got := netdoor.Network(netip.Addr{}); got.IsValid() {
		t.Errorf("Network(none) = %s; want none", got)
	}
}

// FuzzClient: whatever a client writes before what the trusted proxy appends changes nothing.
func FuzzClient(f *testing.F) {
	f.Add("for=6.6.6.6", "1.1.1.1")
	f.Add(`for="6.6.6.6`, "2001:db8::1")
	f.Add("6.6.6.6, ", "1.1.1.1")
	f.Add(`for=";`, "10.0.0.7")
	f.Fuzz(func(t *testing.T, written, client string) {
		ip, err := netip.ParseAddr(client)
		if err != nil || ip.Zone() != "" || ip.Unmap() != ip {
			return
		}
		proxies := trust(t, "X-Forwarded-For", "10.0.0.0/8")
		for _, header := range []string{"X-Forwarded-For", "Forwarded", "X-Real-IP"} {
			appended := client
			if header == "Forwarded" {
				appended = `for="[` + client + `]"`
			}
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = "10.0.0.1:1"
			r.Header[http.CanonicalHeaderKey(header)] = slices.Collect(strings.SplitSeq(written+"\n"+appended, "\n"))
			got := trust(t, header, "10.0.0.0/8").Client(r)
			if got != ip && !proxies.Contains(ip) {
				t.Errorf("%s %q then %q: Client = %s; want %s", header, written, appended, got, ip)
			}
		}
	})
}
