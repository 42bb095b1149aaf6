package netdoor

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// The headers in which proxies tell who their client is. Only one of them is ever read: a proxy that sets one passes the
// others on as the client wrote them.
const (
	forwardedFor = "X-Forwarded-For"
	realIP       = "X-Real-Ip"
	forwarded    = "Forwarded"
)

// Trust is which proxies are believed about who their client is, and by which header. The zero Trust believes nobody.
type Trust struct {
	proxies []netip.Prefix
	header  string // in canonical form; "" means forwardedFor
}

// NewTrust returns a Trust in proxies, each an address or a network such as 10.0.0.0/8, which set header: X-Forwarded-For
// (also ""), X-Real-IP or Forwarded.
func NewTrust(proxies []string, header string) (Trust, error) {
	t := Trust{header: http.CanonicalHeaderKey(header)}
	for _, s := range proxies {
		p, err := parseNetwork(s)
		if err != nil {
			return Trust{}, fmt.Errorf("%q: want an address or a network such as 10.0.0.0/8", s)
		}
		t.proxies = append(t.proxies, p)
	}
	switch t.header {
	case "", forwardedFor, realIP, forwarded:
		return t, nil
	}
	return Trust{}, fmt.Errorf("header %q: want X-Forwarded-For, X-Real-IP or Forwarded", header)
}

// parseNetwork reads a network, or an address as a network of one.
func parseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	return p.Masked(), err
}

// Contains reports whether ip is a trusted proxy's.
func (t Trust) Contains(ip netip.Addr) bool {
	return slices.ContainsFunc(t.proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// Client returns who sent r: the peer, or whom a trusted proxy names. It is the zero Addr only for a request that came
// over no network.
//
// Proxies append the peer that they saw, so the list is walked from the right: the first address that is no trusted
// proxy's is the client. Everything further left the client may have written itself.
func (t Trust) Client(r *http.Request) netip.Addr {
	ip := parseHop(r.RemoteAddr)
	if !t.Contains(ip) {
		return ip
	}
	for _, hop := range slices.Backward(t.hops(r.Header)) {
		next := parseHop(hop)
		if !next.IsValid() {
			return ip // the last one that is known
		}
		if ip = next; !t.Contains(ip) {
			return ip
		}
	}
	return ip
}

// hops returns what the proxies appended, oldest first, as they wrote it.
func (t Trust) hops(h http.Header) []string {
	switch t.header {
	case realIP:
		all := h.Values(realIP) // no list: a proxy replaces it
		return all[max(len(all)-1, 0):]
	case forwarded:
		// Commas in quoted text are no separators, but an element that has one names no address anyway: it ends the walk.
		elements := strings.Split(strings.Join(h.Values(forwarded), ","), ",")
		for i, e := range elements {
			elements[i] = forParam(e)
		}
		return elements
	}
	return strings.Split(strings.Join(h.Values(forwardedFor), ","), ",")
}

// forParam returns the address in an element of Forwarded such as for="[2001:db8::1]:4711";proto=https, or "" if there
// is not exactly one.
func forParam(element string) string {
	found := ""
	for param := range strings.SplitSeq(element, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(name, "for") {
			continue
		}
		if found != "" {
			return ""
		}
		if found = value; len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
			found = value[1 : len(value)-1]
		}
	}
	return found
}

// parseHop reads an address with or without a port, or returns the zero Addr.
func parseHop(s string) netip.Addr {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// Network returns what limits by address count as one client: an IPv4 address, or the first address of the /64 that an
// IPv6 client has to itself at least.
func Network(ip netip.Addr) netip.Addr {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}
