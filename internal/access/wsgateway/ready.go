package wsgateway

import "sync"

// readyList holds the connections that have output, each at most once, in the order in which they got it. It needs no
// memory of its own: connections are linked through themselves. The zero value is not usable; see newReadyList.
type readyList struct {
	mu         sync.Mutex // guards all below
	some       sync.Cond
	head, tail *conn
	closed     bool
}

func newReadyList() *readyList {
	l := &readyList{}
	l.some.L = &l.mu
	return l
}

// push appends c, which must not be in the list.
func (l *readyList) push(c *conn) {
	l.mu.Lock()
	if l.tail == nil {
		l.head = c
	} else {
		l.tail.nextReady = c
	}
	l.tail = c
	l.mu.Unlock()
	l.some.Signal()
}

// pop takes the first connection and says whether it had to wait for it; nil once the list is closed and empty.
func (l *readyList) pop() (c *conn, waited bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.head == nil {
		if l.closed {
			return nil, waited
		}
		waited = true
		l.some.Wait()
	}
	c = l.head
	if l.head = c.nextReady; l.head == nil {
		l.tail = nil
	}
	c.nextReady = nil
	return c, waited
}

// close ends every pop once the list is empty.
func (l *readyList) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.some.Broadcast()
}
