package wsgateway

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/netdoor"
	"github.com/oceanchat/oceanchat/internal/obs"
	"github.com/oceanchat/oceanchat/internal/wire"
)

const handshakeTimeout = 5 * time.Second

// Handler returns the handler of /ws. It answers 503 unless Run is ready; the connections live as long as Run.
func (s *Service) Handler() http.Handler { return http.HandlerFunc(s.serveWS) }

func (s *Service) serveWS(w http.ResponseWriter, r *http.Request) {
	nameRequest(w, r)
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "websocket")
		httpError(w, http.StatusUpgradeRequired, fault.New(fault.Malformed, "a WebSocket handshake is needed"))
		return
	}
	d, err := chooseDoor(r.Header.Values("Sec-WebSocket-Protocol"))
	if err != nil {
		httpError(w, http.StatusBadRequest, err)
		return
	}
	if !s.originAllowed(r) {
		httpError(w, http.StatusForbidden, fault.New(fault.NotAllowed, "this origin may not connect"))
		return
	}
	if !s.enter() {
		w.Header().Set("Retry-After", "1")
		httpError(w, http.StatusServiceUnavailable, fault.New(fault.Overloaded, "the server is not ready or is stopping").After(time.Second))
		return
	}
	up := ws.HTTPUpgrader{Timeout: handshakeTimeout, Protocol: func(p string) bool { return p == d.name }}
	nc, rw, _, err := up.Upgrade(r, w)
	if err != nil {
		if nc != nil {
			_ = nc.Close() // it was hijacked; the error was answered
		}
		s.wg.Done()
		return
	}
	var early []byte
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ = rw.Reader.Peek(n) // all of it is there
	}
	s.accept(nc, d, s.deps.ClientIP(r), early)
}

// chooseDoor returns the door of the first subprotocol that is known, or JSON when none is offered.
func chooseDoor(offers []string) (*door, error) {
	offered := false
	for _, line := range offers {
		for p := range strings.SplitSeq(line, ",") {
			switch p = strings.TrimSpace(p); p {
			case "":
				continue
			case jsonDoor.name:
				return jsonDoor, nil
			case protoDoor.name:
				return protoDoor, nil
			}
			offered = true
		}
	}
	if offered {
		return nil, fault.InvalidField("Sec-WebSocket-Protocol", jsonDoor.name+" or "+protoDoor.name)
	}
	return jsonDoor, nil
}

// originAllowed lets pages of the own origin and of the list in, and clients that are no pages.
func (s *Service) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(s.cfg.Origins, "*") {
		return true
	}
	if slices.ContainsFunc(s.cfg.Origins, func(o string) bool { return strings.EqualFold(strings.TrimSuffix(o, "/"), origin) }) {
		return true
	}
	return netdoor.SameOrigin(r)
}

// nameRequest answers with an id of the request: the one that api-gateway gave it, if it did.
func nameRequest(w http.ResponseWriter, r *http.Request) {
	if w.Header().Get(netdoor.HeaderRequest) == "" {
		w.Header().Set(netdoor.HeaderRequest, netdoor.RequestID(r))
	}
}

// httpError answers before the handshake with the error object of the contract, for a request that has its name.
func httpError(w http.ResponseWriter, status int, err error) {
	body, merr := wire.MarshalJSON(wire.ErrorObject(err, w.Header().Get(netdoor.HeaderRequest)))
	if merr != nil {
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client's loss
}

// enter takes part in the service's life, unless it is not ready or is stopping. Who entered calls wg.Done at the end.
func (s *Service) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		s.wg.Add(1)
	}
	return s.open
}

func (s *Service) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// accept starts the life of a connection; enter was called for it. Its loop is a fresh goroutine with a small stack:
// the handshake's has grown.
func (s *Service) accept(nc net.Conn, d *door, client netip.Addr, early []byte) {
	if t, ok := nc.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true) // the default; an error would show at the next write
	}
	remote := netdoor.Network(client)
	c := &conn{s: s, door: d, nc: nc, raw: rawOf(nc), remote: remote, accepted: s.clock()}
	c.id.ConnectionID = chat.ConnectionID(chat.NewID())
	c.heard.Store(c.accepted)
	c.counted = s.ips.take(remote, s.cfg.Unauthenticated)
	s.conns.add(c)
	switch {
	case !c.counted:
		c.close(tooMany, "too many connections of this address that have not connected yet")
	case s.conns.count.Load() > int64(s.cfg.MaxConnections):
		c.close(tooMany, "the server has no room for more connections")
	case !s.isOpen(): // drain may have looked before it was there
		c.close(draining, drainReason)
	}
	go c.read(early)
}

// finish forgets a connection: what it did not acknowledge is handed back, and presence is told.
func (s *Service) finish(c *conn, panicked any) {
	if p := panicked; p != nil {
		s.log.Error("panic in a connection's reader", "panic", p, obs.ConnectionID, string(c.id.ConnectionID))
	}
	c.broke()
	c.mu.Lock()
	c.state.Store(int32(gone))
	c.out.last, c.out.hold = true, false
	c.out.clear()
	waiting, said, counted, code := c.push.waiting, c.said, c.counted, c.ended
	c.push.waiting, c.counted = nil, false
	c.mu.Unlock()
	if counted {
		s.ips.release(c.remote)
	}
	s.conns.remove(c)
	c.handBack(waiting, "closed")
	if said {
		s.goodbyes.add(c.presence())
	}
	if code == 0 {
		code = byClient
	}
	s.m.closedWith(code)
	s.wg.Done()
}
