package local

import (
	"context"
	"net"
	"sync"
)

// Link is a stretch of network to one address that can be cut: nothing passes then in either direction, and nobody is told,
// as if a cable were pulled. What was on its way passes when it is mended, as TCP would send it again.
type Link struct {
	door   *door
	target string

	mu   sync.Mutex // guards open
	open chan struct{}
	done sync.WaitGroup
}

// OpenLink opens a link to target on a free port of the loopback interface.
func OpenLink(ctx context.Context, target string) (*Link, error) {
	d, err := openDoor(ctx, "")
	if err != nil {
		return nil, err
	}
	l := &Link{door: d, target: target, open: make(chan struct{})}
	close(l.open)
	l.done.Go(l.serve)
	return l, nil
}

// Addr is where the link begins.
func (l *Link) Addr() string { return l.door.Addr().String() }

// Cut lets nothing pass any more.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
		l.open = make(chan struct{})
	default:
	}
}

// Mend ends a Cut.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.open:
	default:
		close(l.open)
	}
}

// Close ends the link and all connections through it.
func (l *Link) Close() error {
	err := l.door.Close()
	l.Mend()
	l.done.Wait()
	return err
}

// pass waits until the link is whole.
func (l *Link) pass() {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	<-open
}

func (l *Link) serve() {
	for {
		in, err := l.door.Accept()
		if err != nil {
			return
		}
		l.done.Go(func() { l.carry(in) })
	}
}

// carry carries one connection, both ways, until either side ends it.
func (l *Link) carry(in net.Conn) {
	defer func() { _ = in.Close() }()
	l.pass()
	var d net.Dialer
	out, err := d.DialContext(context.Background(), "tcp", l.target)
	if err != nil {
		return
	}
	defer func() { _ = out.Close() }()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		both.Go(func() {
			_ = l.copy(way[0], way[1])
			_ = way[0].Close()
			_ = way[1].Close()
		})
	}
	both.Wait()
}

func (l *Link) copy(from, to net.Conn) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		l.pass()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
