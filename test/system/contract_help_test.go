package system

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/oceanchat/oceanchat/test/client"
)

// The contract tests are written from PROTOCOL.md alone, by somebody who has not read the server. They look at the bytes
// that come, so they use a thinner client than the other system tests.

// cheapHash makes registering fast: these tests need many users and no strong passwords.
var cheapHash = []string{"--auth-hash-memory", "64KiB", "--auth-hash-time", "1", "--group-create-per-minute", "0"}

func startContract(t *testing.T, flags ...string) *server {
	t.Helper()
	return start(t, append(append([]string{}, cheapHash...), flags...)...)
}

// answer is what REST answered, as it came.
type answer struct {
	status int
	header http.Header
	raw    []byte
}

// rest sends a request as u, who may be nil, and returns the answer. body as in client.REST.Do.
func (s *server) rest(t *testing.T, u *client.User, method, path string, body any) answer {
	t.Helper()
	return s.restHeader(t, u, method, path, body, nil)
}

func (s *server) restHeader(t *testing.T, u *client.User, method, path string, body any, header http.Header) answer {
	t.Helper()
	var payload []byte
	switch b := body.(type) {
	case nil:
	case string:
		payload = []byte(b)
	default:
		var err error
		if payload, err = json.Marshal(b); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(within(t, 20*time.Second), method, s.base+path, bytes.NewReader(payload))
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if u != nil {
		req.Header.Set("Authorization", "Bearer "+u.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, data}
}

// ok sends a request that must succeed and decodes its answer into out, which may be nil.
func (s *server) ok(t *testing.T, u *client.User, method, path string, body, out any) answer {
	t.Helper()
	a := s.rest(t, u, method, path, body)
	if a.status != http.StatusOK {
		t.Fatalf("%s %s %s = %d %s; want 200", method, path, show(body), a.status, a.raw)
	}
	if out != nil {
		if err := json.Unmarshal(a.raw, out); err != nil {
			t.Fatalf("%s %s = %s: %v", method, path, a.raw, err)
		}
	}
	return a
}

// fails sends a request that must be refused.
func (s *server) fails(t *testing.T, u *client.User, method, path string, body any, status int, reason string) {
	t.Helper()
	a := s.rest(t, u, method, path, body)
	var e client.Error
	if err := json.Unmarshal(a.raw, &e); err != nil || a.status != status || e.Reason != reason {
		t.Errorf("%s %s %s = %d %s; want %d %s", method, path, show(body), a.status, a.raw, status, reason)
	}
}

func show(body any) string {
	if body == nil {
		return ""
	}
	if s, ok := body.(string); ok {
		return s
	}
	data, err := json.Marshal(body)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// wants compares raw with a JSON template, at every depth: each field of the template must be there with its value. The
// strings "$id", "$text", "$time", "$num" and "$any" stand for what cannot be known. An object with "$only":true
// must have no other fields; elsewhere fields may be added.
func wants(t *testing.T, what string, raw []byte, template string) {
	t.Helper()
	var got, want any
	if err := decodeNumbers(raw, &got); err != nil {
		t.Errorf("%s = %s: %v", what, raw, err)
		return
	}
	if err := decodeNumbers([]byte(template), &want); err != nil {
		t.Fatalf("template %s: %v", template, err)
	}
	if d := differ("", got, want); len(d) > 0 {
		t.Errorf("%s:\n  %s\n got  %s\n want %s", what, strings.Join(d, "\n  "), raw, template)
	}
	compact(t, what, raw)
}

// compact holds "output is compact, without white space between tokens".
func compact(t *testing.T, what string, raw []byte) {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil || !bytes.Equal(b.Bytes(), bytes.TrimRight(raw, "\n")) {
		t.Errorf("%s is not compact JSON (%v): %s", what, err, raw)
	}
}

func decodeNumbers(data []byte, out any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(out)
}

func differ(path string, got, want any) []string {
	if path == "" {
		path = "$"
	}
	bad := func(format string, args ...any) []string { return []string{path + ": " + fmt.Sprintf(format, args...)} }
	switch w := want.(type) {
	case map[string]any:
		return differObject(path, got, w)
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return bad("%s; want %d elements", show(got), len(w))
		}
		var out []string
		for i := range w {
			out = append(out, differ(path+"["+strconv.Itoa(i)+"]", g[i], w[i])...)
		}
		return out
	case string:
		if strings.HasPrefix(w, "$") {
			if !wildcard(got, w) {
				return bad("%s; want a %s", show(got), w[1:])
			}
			return nil
		}
	}
	if !reflect.DeepEqual(got, want) {
		return bad("%s; want %s", show(got), show(want))
	}
	return nil
}

func differObject(path string, got any, want map[string]any) []string {
	g, ok := got.(map[string]any)
	if !ok {
		return []string{path + ": " + show(got) + "; want an object"}
	}
	var out []string
	for k, w := range want {
		if k == "$only" {
			continue
		}
		v, there := g[k]
		if !there {
			out = append(out, path+"."+k+" is missing")
			continue
		}
		out = append(out, differ(path+"."+k, v, w)...)
	}
	for k := range g {
		if _, known := want[k]; !known && want["$only"] == true {
			out = append(out, path+"."+k+" should not be there")
		}
	}
	return out
}

func wildcard(got any, kind string) bool {
	s, text := got.(string)
	switch kind {
	case "$any":
		return true
	case "$id":
		return text && s != "" && len(s) <= 64
	case "$text":
		return text && s != ""
	case "$time":
		_, err := time.Parse(time.RFC3339Nano, s)
		return text && err == nil && strings.HasSuffix(s, "Z")
	case "$num":
		_, ok := got.(json.Number)
		return ok
	}
	return false
}

// rawConn is a long connection that keeps every text frame as it came, in order.
type rawConn struct {
	t     *testing.T
	conn  io.ReadWriteCloser
	ended chan struct{}

	mu     sync.Mutex
	frames []string
	code   int
	next   int
	pings  int // of the server
}

// dial opens a WebSocket without connecting.
func dial(t *testing.T, s *server) *rawConn {
	t.Helper()
	conn, br, _, err := ws.Dialer{Protocols: []string{"oceanchat.json"}}.Dial(within(t, 10*time.Second), "ws"+strings.TrimPrefix(s.base, "http")+"/ws")
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	w := &rawConn{t: t, conn: conn, ended: make(chan struct{}), next: 1000}
	var r io.Reader = conn
	if br != nil {
		r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	go w.read(r)
	t.Cleanup(func() { _ = conn.Close(); <-w.ended })
	return w
}

// Write sends bytes, from the reader's answers to pings and from tests, one after the other.
func (w *rawConn) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(p) > 0 && p[0] == 0x80|byte(ws.OpPong) {
		w.pings++
	}
	return w.conn.Write(p)
}

func (w *rawConn) read(r io.Reader) {
	defer close(w.ended)
	for {
		data, op, err := wsutil.ReadServerData(struct {
			io.Reader
			io.Writer
		}{r, w})
		w.mu.Lock()
		if closed, ok := err.(wsutil.ClosedError); ok { //nolint:errorlint // returned as it is
			w.code = int(closed.Code)
		}
		if err == nil && op == ws.OpText {
			w.frames = append(w.frames, string(data))
		}
		w.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// send writes one text frame.
func (w *rawConn) send(frame string) {
	w.t.Helper()
	if err := wsutil.WriteClientMessage(w, ws.OpText, []byte(frame)); err != nil {
		w.t.Fatalf("send %s: %v", frame, err)
	}
}

// all returns the frames so far.
func (w *rawConn) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.frames...)
}

// await returns the first frame that holds all parts.
func (w *rawConn) await(t *testing.T, parts ...string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; pause() {
		for _, f := range w.all() {
			if holds(f, parts) {
				return f
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("no frame with %q within 10 s; came:\n%s", parts, strings.Join(w.all(), "\n"))
		}
	}
}

func holds(frame string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(frame, p) {
			return false
		}
	}
	return true
}

// count returns how many frames hold all parts.
func (w *rawConn) count(parts ...string) int {
	n := 0
	for _, f := range w.all() {
		if holds(f, parts) {
			n++
		}
	}
	return n
}

// pinged returns how often the server pinged.
func (w *rawConn) pinged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pings
}

// call sends a request with a fresh id and returns the frame that answers it.
func (w *rawConn) call(t *testing.T, method string, params any) string {
	t.Helper()
	w.next++
	id := strconv.Itoa(w.next)
	w.send(`{"jsonrpc":"2.0","id":` + id + `,"method":"` + method + `","params":` + show(params) + `}`)
	return w.await(t, `{"jsonrpc":"2.0","id":`+id+`,`)
}

// settled waits until everything that the server began before now has come, as far as a client can tell: two pings.
func (w *rawConn) settled(t *testing.T) {
	t.Helper()
	for range 2 {
		w.call(t, "ping", client.Object{})
	}
}

// closed waits for the end and returns the close code.
func (w *rawConn) closed(t *testing.T) int {
	t.Helper()
	select {
	case <-w.ended:
	case <-time.After(15 * time.Second):
		t.Fatalf("the connection was not closed within 15 s; came:\n%s", strings.Join(w.all(), "\n"))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.code
}

// line opens a connection of u and returns it with the answer to connect.
func (s *server) line(t *testing.T, u *client.User, syncToken string) (*rawConn, string) {
	t.Helper()
	w := dial(t, s)
	f := w.call(t, "connect", client.Object{"token": u.Token, "deviceId": u.Device, "platform": u.Platform, "syncToken": syncToken, "acks": true})
	if !strings.Contains(f, `"result"`) {
		t.Fatalf("%s connects: %s", u.Username, f)
	}
	return w, f
}

// result returns the part of a frame under "result".
func result(t *testing.T, frame string) []byte {
	t.Helper()
	var f struct{ Result json.RawMessage }
	if err := json.Unmarshal([]byte(frame), &f); err != nil || f.Result == nil {
		t.Fatalf("%s holds no result (%v)", frame, err)
	}
	return f.Result
}

// refused checks that a frame is an error with this reason.
func refused(t *testing.T, frame, reason string) {
	t.Helper()
	var f struct {
		Error struct{ Data client.Error }
	}
	if err := json.Unmarshal([]byte(frame), &f); err != nil || f.Error.Data.Reason != reason {
		t.Errorf("answer = %s; want reason %s", frame, reason)
	}
}

// device logs the user in from another device.
func (s *server) device(t *testing.T, u *client.User, device, platform string) *client.User {
	t.Helper()
	d := *u
	d.Device, d.Platform = device, platform
	if err := d.Login(t.Context()); err != nil {
		t.Fatalf("%s logs in from %s: %v", u.Username, device, err)
	}
	return &d
}

// sent is the answer to a send.
type sent struct {
	MessageID, ConversationID, SentAt string
	Seq, Ordinal                      uint64
}

var messageIDs = struct {
	sync.Mutex
	n int
}{}

// say sends a text with a fresh clientMsgId; target is "toUserId", "groupId" or "conversationId".
func (s *server) say(t *testing.T, u *client.User, target, id, text string) sent {
	t.Helper()
	messageIDs.Lock()
	messageIDs.n++
	n := messageIDs.n
	messageIDs.Unlock()
	var got sent
	s.ok(t, u, "POST", "/messages", client.Object{"clientMsgId": "c" + strconv.Itoa(n), target: id, "text": client.Object{"text": text}}, &got)
	return got
}

// conversation returns a conversation as u sees it.
func (s *server) conversation(t *testing.T, u *client.User, id string) []byte {
	t.Helper()
	var got struct{ Conversation json.RawMessage }
	s.ok(t, u, "GET", "/conversations/"+id, nil, &got)
	return got.Conversation
}

// page is an answer of query.history and query.entries.
type page struct {
	Entries        []client.Entry
	FromSeq, ToSeq uint64
	HasMore        bool
}

func (p page) String() string {
	var b strings.Builder
	for _, e := range p.Entries {
		fmt.Fprintf(&b, "%d ", e.Seq)
	}
	fmt.Fprintf(&b, "[%d,%d] more=%v", p.FromSeq, p.ToSeq, p.HasMore)
	return b.String()
}

// group creates a group of the owner and the others.
func (s *server) group(t *testing.T, owner *client.User, others ...*client.User) string {
	t.Helper()
	ids := []string{}
	for _, u := range others {
		ids = append(ids, u.ID)
	}
	var got struct{ Group struct{ GroupID string } }
	s.ok(t, owner, "POST", "/groups", client.Object{"name": "G", "memberIds": ids}, &got)
	return got.Group.GroupID
}
