// Package fakeserver is an OceanChat server in the test's own process, for programs that use the SDK and for the SDK
// itself: REST log-in, the WebSocket with its binary subprotocol, conversations, sync, refresh tokens that work once.
// It needs no socket: clients get Server.Dial as their DialContext, so tests may run in a testing/synctest bubble. It is an
// http.Handler too, for tests that want a socket.
//
// By rules, written as Go, as JSON or as text (see Parse), it loses, delays, doubles and reorders answers and pushes, refuses requests, and closes connections at any
// point with any code; see Rule. It keeps everything in memory and is not fast; it checks what a client may get wrong
// and not what a user may: nobody is muted, blocked or limited, everyone finds everyone, and every member of a group may
// add others.
package fakeserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
)

// URL is where clients find the server; only Server.Dial leads there.
const URL = "http://ocean.invalid"

// Server is the whole of it. Use New and Close. It is safe for concurrent use.
type Server struct {
	// PageSize is how many conversations a page of a sync has. Set it before the first client connects.
	PageSize int
	// Heartbeat is what clients are told, in seconds.
	Heartbeat int

	handler http.Handler
	web     *http.Server
	lines   *lines
	wg      sync.WaitGroup // the loops of connections

	mu       sync.Mutex // guards all below
	rules    []*Rule
	users    map[string]*user // by username
	sessions map[string]*session
	convs    map[string]*conversation
	conns    map[*conn]struct{}
	joined   chan struct{}  // closed and replaced when a connection gets past connect
	count    map[string]int // requests by method
	resends  []bool         // what each message.send said
	epoch    uint64
	changes  uint64 // counts what syncs tell
	issued   uint64 // access tokens
	expired  uint64 // those up to this number have expired
}

type user struct{ id, name, nickname, password string }

type conversation struct {
	id      string
	title   string
	members map[string]*messagev1.Cursor // by user id, with how far each has read
	entries []*messagev1.Entry
	changed uint64
	known   int // entries before this are found by their clientMsgId only if a request says resend
}

// New returns a server that runs. The first user's id is "u1", and so on in the order of AddUser.
func New() *Server {
	s := &Server{
		PageSize: 100, Heartbeat: 30, lines: newLines(), users: map[string]*user{}, sessions: map[string]*session{},
		convs: map[string]*conversation{}, conns: map[*conn]struct{}{}, joined: make(chan struct{}), count: map[string]int{}, epoch: 1,
	}
	s.handler = s.routes()
	s.web = &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute}
	s.wg.Go(func() { _ = s.web.Serve(s.lines) }) // ends with Close
	return s
}

// Close cuts every connection and waits until nothing of the server runs.
func (s *Server) Close() {
	_ = s.web.Close()
	s.CutAll()
	s.wg.Wait()
}

// ServeHTTP makes the server an http.Handler, for example for httptest.NewServer.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Dial connects to the server, whatever the address; it is a DialContext.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	if r := s.match(AtDial, ""); r != nil {
		if !wait(ctx, r.delay()) {
			return nil, ctx.Err()
		}
		if r.Do != Delay {
			return nil, errors.New("connection refused")
		}
	}
	return s.lines.dial(ctx)
}

// AddUser creates an account and returns the user's id.
func (s *Server) AddUser(username, password string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := &user{fmt.Sprintf("u%d", len(s.users)+1), username, username, password}
	s.users[username] = u
	return u.id
}

// AddGroup makes a group with these users in it and returns its conversation's id. Its log is empty.
func (s *Server) AddGroup(groupID string, userIDs ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conversation("g~"+groupID, userIDs...).id
}

// Direct returns the id of the conversation of two users.
func Direct(a, b string) string { return "d~" + min(a, b) + "~" + max(a, b) }

func (s *Server) conversation(id string, members ...string) *conversation {
	c := s.convs[id]
	if c == nil {
		c = &conversation{id: id, members: map[string]*messagev1.Cursor{}}
		s.convs[id] = c
	}
	for _, m := range members {
		if c.members[m] == nil {
			c.members[m] = &messagev1.Cursor{}
		}
	}
	return c
}

// Append lets a user say something in a conversation, as if from a device that is no client of the test. A direct
// conversation need not exist before; a group must.
func (s *Server) Append(conversationID, senderID, text string) *messagev1.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[conversationID]
	if c == nil {
		c = s.conversation(conversationID, ends(conversationID)...)
	}
	return s.append(c, senderID, &messagev1.SendRequest{ClientMsgId: rand.Text(), Text: &messagev1.Text{Text: text}})
}

// AppendEntry adds an entry of any kind to a conversation that is there, also of a kind that there is not. Its number,
// id and time are filled in; only texts raise the ordinal.
func (s *Server) AppendEntry(conversationID string, e *messagev1.Entry) *messagev1.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.convs[conversationID]
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_TEXT {
		c.read(e.GetSenderId())
	}
	return s.add(c, e)
}

// read moves the cursor of whoever is about to send.
func (c *conversation) read(sender string) {
	c.members[sender] = &messagev1.Cursor{Seq: uint64(len(c.entries)) + 1, Ordinal: c.ordinal() + 1}
}

// append adds a text. s.mu is held.
func (s *Server) append(c *conversation, sender string, req *messagev1.SendRequest) *messagev1.Entry {
	e := &messagev1.Entry{
		ClientMsgId: req.GetClientMsgId(), Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, SenderId: sender,
		Body: &messagev1.Entry_Text{Text: req.GetText()}, ReplyTo: req.ReplyTo,
	}
	c.read(sender)
	return s.add(c, e)
}

// add numbers an entry and pushes it to all connections of all members. s.mu is held.
func (s *Server) add(c *conversation, e *messagev1.Entry) *messagev1.Entry {
	e.ConversationId, e.Seq, e.Ordinal = c.id, uint64(len(c.entries))+1, c.ordinal()
	if e.GetKind() == messagev1.EntryKind_ENTRY_KIND_TEXT {
		e.Ordinal++
	}
	e.MessageId, e.SentAt = fmt.Sprintf("e%dx%d", s.epoch, s.changes), timestamppb.Now()
	c.entries = append(c.entries, e)
	s.changed(c)
	for cn := range s.conns {
		if c.members[cn.user] != nil && cn.live {
			cn.pushEntry(e)
		}
	}
	return e
}

// ordinal is that of the last entry.
func (c *conversation) ordinal() uint64 {
	if n := len(c.entries); n > 0 {
		return c.entries[n-1].GetOrdinal()
	}
	return 0
}

func (s *Server) changed(c *conversation) {
	s.changes++
	c.changed = s.changes
}

// Log returns the entries of a conversation. They must not be changed.
func (s *Server) Log(conversationID string) []*messagev1.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.convs[conversationID]; c != nil {
		return slices.Clone(c.entries)
	}
	return nil
}

// Unread returns how many messages of a conversation a user has not read.
func (s *Server) Unread(conversationID, userID string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.convs[conversationID]; c != nil {
		return s.view(c, userID).GetUnread()
	}
	return 0
}

// Requests returns how many requests of a method came, "auth.login" and "auth.refresh" included.
func (s *Server) Requests(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[method]
}

// Resends returns what every message.send that came said of being a repetition, in their order.
func (s *Server) Resends() []bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.resends)
}

// ForgetIDs makes the server forget the clientMsgIds that it has in mind, as a real one does after a while: from now on
// it looks for those in the log only when a request says resend.
func (s *Server) ForgetIDs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.convs {
		c.known = len(c.entries)
	}
}

// Connected returns how many connections are past connect.
func (s *Server) Connected() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for c := range s.conns {
		if c.live {
			n++
		}
	}
	return n
}

// Await waits until n connections are past connect.
func (s *Server) Await(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		joined := s.joined
		s.mu.Unlock()
		if s.Connected() >= n {
			return nil
		}
		select {
		case <-joined:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Unacknowledged returns how many entries were pushed on living connections and not acknowledged yet.
func (s *Server) Unacknowledged() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var n uint64
	for c := range s.conns {
		n += c.n - c.acked
	}
	return n
}

// CutAll breaks every connection without a word.
func (s *Server) CutAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.cut()
	}
}

// CloseAll closes every connection with a code, after the push disconnect as the contract has it for that code.
func (s *Server) CloseAll(code int, retryAfter time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.close(code, retryAfter, false)
	}
}

// Push sends a push to all connections of a user, for example "typing" with a *wirev1.TypingPush.
func (s *Server) Push(userID, method string, m proto.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.user == userID && c.live {
			c.push(method, m)
		}
	}
}

// LoseLog makes the log one that has lost every entry of a conversation above a seq, with a new epoch. Clients that are
// connected are told, if tell.
func (s *Server) LoseLog(conversationID string, above uint64, tell bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch++
	if c := s.convs[conversationID]; c != nil {
		c.entries = slices.Clip(c.entries[:min(int(above), len(c.entries))])
		for u, read := range c.members {
			if read.GetSeq() > above {
				c.members[u] = &messagev1.Cursor{Seq: above, Ordinal: c.ordinal()}
			}
		}
		s.changed(c)
	}
	if tell {
		for c := range s.conns {
			c.push("resync", &wirev1.ResyncPush{Epoch: s.epoch})
		}
	}
}

// view is the conversation as a member sees it. s.mu is held.
func (s *Server) view(c *conversation, userID string) *queryv1.Conversation {
	v := &queryv1.Conversation{
		ConversationId: c.id, Kind: queryv1.ConversationKind_CONVERSATION_KIND_DIRECT, MinSeq: 1, Title: c.title,
		Head: &queryv1.Head{}, Read: proto.CloneOf(c.members[userID]),
	}
	if c.id[0] == 'g' {
		v.Kind = queryv1.ConversationKind_CONVERSATION_KIND_GROUP
	}
	for _, id := range ends(c.id) {
		if u := s.byID(id); u != nil && id != userID {
			v.Peer = u.public()
		}
	}
	if n := len(c.entries); n > 0 {
		last := c.entries[n-1]
		v.LastEntry = last
		v.Head = &queryv1.Head{Seq: last.GetSeq(), Ordinal: last.GetOrdinal(), SentAt: last.GetSentAt()}
	}
	v.Unread = v.GetHead().GetOrdinal() - v.GetRead().GetOrdinal()
	return v
}
