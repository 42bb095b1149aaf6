package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// Peer is a target that runs in other processes.
type Peer struct {
	Target string
	// Addrs are host:port, or a name that stands for all instances as gRPC writes it (dns:///host:port).
	Addrs []string
	// Ask speaks with one instance, of gRPC's choice, as services do: TLS and readiness show only so. It may be nil.
	Ask func(ctx context.Context) error
}

// PeersOf returns where targets are, by the settings grpc.peers and grpc.addrs.
func PeersOf(targets []string, pattern string, addrs []string) (peers []Peer) {
	for _, t := range targets {
		p := Peer{Target: t}
		for _, a := range addrs {
			if addr, ok := strings.CutPrefix(a, t+"="); ok {
				p.Addrs = append(p.Addrs, addr)
			}
		}
		if len(p.Addrs) == 0 && pattern != "" {
			p.Addrs = []string{strings.ReplaceAll(pattern, "{target}", t)}
		}
		peers = append(peers, p)
	}
	return peers
}

// peerTimeout bounds a check of a target.
const peerTimeout = 5 * time.Second

// diagnose looks the target's instances up, connects to each, and asks one.
func (p Peer) diagnose(ctx context.Context) []finding.Finding {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	name := "service " + p.Target
	const do = "start it, or correct grpc.peers or grpc.addrs; --no-peers leaves this out"
	addrs, err := resolve(ctx, p.Addrs)
	if err != nil {
		return []finding.Finding{finding.Bad(name, "is not found: "+finding.Text(err), do)}
	}
	failed := connect(ctx, addrs)
	switch {
	case len(failed) == len(addrs):
		return []finding.Finding{finding.Bad(name, "takes no connection: "+finding.Text(errors.Join(failed...)), do)}
	case len(failed) > 0:
		return []finding.Finding{finding.Warn(name, fmt.Sprintf("%d of %d instances take no connection: %s", len(failed), len(addrs), finding.Text(errors.Join(failed...))), do)}
	}
	if p.Ask != nil {
		if err := p.Ask(ctx); err != nil {
			return []finding.Finding{finding.Bad(name, "takes connections and does not serve: "+finding.Text(err), "look at its log and its /readyz; grpc.tls must be the same everywhere")}
		}
		return []finding.Finding{finding.Good(name, "%s, and it serves", count(len(addrs), "instance"))}
	}
	return []finding.Finding{finding.Good(name, "%s, which take connections", count(len(addrs), "instance"))}
}

// resolve returns every address that the names stand for.
func resolve(ctx context.Context, names []string) (all []string, err error) {
	if len(names) == 0 {
		return nil, errors.New("no address is set")
	}
	for _, n := range names {
		n = n[strings.LastIndex(n, "/")+1:] // dns:///host:port, also with a server of names
		host, port, err := net.SplitHostPort(strings.TrimPrefix(n, "dns:"))
		if err != nil {
			return nil, err
		}
		found, err := net.DefaultResolver.LookupHost(ctx, host)
		if err != nil {
			return nil, err
		}
		for _, a := range found {
			all = append(all, net.JoinHostPort(a, port))
		}
	}
	return all, nil
}

// connect tries all addresses at once.
func connect(ctx context.Context, addrs []string) (failed []error) {
	errs := make([]error, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		wg.Go(func() {
			var d net.Dialer
			c, err := d.DialContext(ctx, "tcp", a)
			if err != nil {
				errs[i] = err
				return
			}
			_ = c.Close() // nothing was sent
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}
