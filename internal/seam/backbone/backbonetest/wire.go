package backbonetest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// wire carries connections to an address until it is cut.
type wire struct {
	l  net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex // guards what follows
	isCut bool
	conns map[net.Conn]bool
}

// layWire returns a wire that lives as long as t.
func layWire(t testing.TB, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, to: to, conns: map[net.Conn]bool{}}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		_ = l.Close()
		w.cut(true)
		w.wg.Wait()
	})
	return w
}

func (w *wire) accept() {
	for {
		near, err := w.l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		if !w.add(near, far) {
			continue
		}
		w.wg.Go(func() { w.carry(near, far) })
		w.wg.Go(func() { w.carry(far, near) })
	}
}

// add takes over the two ends of a connection, or closes them if the wire is cut.
func (w *wire) add(ends ...net.Conn) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range ends {
		if w.isCut {
			_ = c.Close()
		} else {
			w.conns[c] = true
		}
	}
	return !w.isCut
}

func (w *wire) carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range []net.Conn{to, from} {
		_ = c.Close()
		delete(w.conns, c)
	}
}

// cut breaks all connections and lets none through, or lets them through again.
func (w *wire) cut(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = cut
	for c := range w.conns {
		if cut {
			_ = c.Close()
		}
	}
}
