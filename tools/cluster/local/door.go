package local

import (
	"context"
	"errors"
	"net"
	"sync"
)

// door is a listener that closes its connections with itself, also those that an HTTP server has given away.
type door struct {
	*net.TCPListener

	mu    sync.Mutex // guards conns
	conns map[*caller]bool
}

// caller is a connection through a door.
type caller struct {
	*net.TCPConn
	door *door
}

// openDoor listens on addr, any port of the loopback interface if it is empty.
func openDoor(ctx context.Context, addr string) (*door, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", orElse(addr, "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	return &door{TCPListener: l.(*net.TCPListener), conns: map[*caller]bool{}}, nil
}

// Accept returns the next connection, a *caller.
func (d *door) Accept() (net.Conn, error) {
	conn, err := d.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c := &caller{conn, d}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conns == nil {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	d.conns[c] = true
	return c, nil
}

// Close closes the door and every connection through it. It may be called again.
func (d *door) Close() error {
	d.mu.Lock()
	conns := d.conns
	d.conns = nil
	d.mu.Unlock()
	err := d.TCPListener.Close()
	for c := range conns {
		_ = c.TCPConn.Close()
	}
	return err
}

func (c *caller) Close() error {
	c.door.mu.Lock()
	delete(c.door.conns, c)
	c.door.mu.Unlock()
	return c.TCPConn.Close()
}
