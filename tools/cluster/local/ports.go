package local

import (
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/oceanchat/oceanchat/internal/freeport"
)

// ports gives addresses on the loopback interface, those that were given back first.
type ports struct {
	mu   sync.Mutex
	next int      // the next fixed one; 0: any that are free
	back []string // given back
}

func (p *ports) take(n int) ([]string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := min(n, len(p.back))
	out := append([]string(nil), p.back[:k]...)
	p.back = p.back[k:]
	if p.next == 0 {
		more, err := freeport.Take(n - k)
		return append(out, more...), err
	}
	for ; len(out) < n; p.next++ {
		if p.next > 65535 {
			return nil, fmt.Errorf("no port left after 65535")
		}
		out = append(out, net.JoinHostPort("127.0.0.1", strconv.Itoa(p.next)))
	}
	return out, nil
}

func (p *ports) give(addrs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.back = append(p.back, addrs...)
}
