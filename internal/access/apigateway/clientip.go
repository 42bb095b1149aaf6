package apigateway

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientIP returns a function that tells who sent a request, behind trusted proxies too. ws-gateway uses it as well, so
// that both doors see the same address. The function returns the zero Addr only for a request that came over no
// network.
func (c Config) ClientIP() func(*http.Request) netip.Addr {
	var trusted []netip.Prefix
	for _, s := range c.TrustedProxies {
		if p, err := parseNetwork(s); err == nil { // Validate named the others
			trusted = append(trusted, p)
		}
	}
	return func(r *http.Request) netip.Addr { return clientIP(r, trusted) }
}

// clientIP walks X-Forwarded-For from the right, as each proxy appends the peer that it saw: the first address that is
// no trusted proxy's is the client. Everything further left the client may have written itself.
func clientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	ip := parseHop(r.RemoteAddr)
	if !contains(trusted, ip) {
		return ip
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, hop := range slices.Backward(hops) {
		next := parseHop(strings.TrimSpace(hop))
		if !next.IsValid() {
			return ip // the last one that is known
		}
		if ip = next; !contains(trusted, ip) {
			return ip
		}
	}
	return ip
}

func contains(networks []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(networks, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// parseHop reads an address with or without a port, or returns the zero Addr.
func parseHop(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return ip.Unmap().WithZone("")
}

// network is what limits count by: an IPv4 address, or the /64 that one IPv6 client has to itself.
func network(ip netip.Addr) string {
	if !ip.Is6() {
		return ip.String()
	}
	p, err := ip.Prefix(64)
	if err != nil {
		return ip.String()
	}
	return p.String()
}
