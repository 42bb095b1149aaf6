// Package client is the small client that tests speak the public contract with: REST and the JSON subprotocol, written
// from PROTOCOL's words alone. It keeps nothing and repairs nothing, so that tests see what the server does.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// Object is a JSON object.
type Object = map[string]any

// Error is the contract's error object with the HTTP status or JSON-RPC number it came with.
type Error struct {
	Status int `json:"-"`
	Code   string
	Reason string
	// Message is for developers.
	Message string
	Fields  []struct{ Field, Rule string }
	// RetryAfterMs is 0 for no advice.
	RetryAfterMs int64
	RequestID    string `json:"requestId"`
}

// Error returns everything in one line.
func (e *Error) Error() string {
	return fmt.Sprintf("%d %s/%s: %s %v", e.Status, e.Code, e.Reason, e.Message, e.Fields)
}

// ReasonOf returns the reason of an error of this package, "" for nil and "?" for others.
func ReasonOf(err error) string {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Reason
	}
	return "?"
}

// REST speaks to one server, as one user once Token is set.
type REST struct {
	Base  string // http://host:port
	Token string
	HTTP  *http.Client // nil: a default one with a time-out
}

var defaultHTTP = &http.Client{Timeout: 20 * time.Second}

// Do sends a request and decodes the answer into out, which may be nil. body may be nil, a string or bytes (sent as
// they are), or anything else (sent as JSON).
func (r REST) Do(ctx context.Context, method, path string, body, out any) error {
	var payload io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		payload = strings.NewReader(b)
	case []byte:
		payload = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.Base+path, payload)
	if err != nil {
		return err
	}
	if r.Token != "" {
		req.Header.Set("Authorization", "Bearer "+r.Token)
	}
	h := r.HTTP
	if h == nil {
		h = defaultHTTP
	}
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		e := &Error{Status: resp.StatusCode}
		if err := json.Unmarshal(data, e); err != nil || e.Code == "" {
			return fmt.Errorf("status %d without the error object: %s", resp.StatusCode, data)
		}
		return e
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(data, out)
}

// User is a logged-in user.
type User struct {
	REST
	ID, Username, Password, Device, Platform, Refresh string
}

// Register makes a user and logs it in from a device of its own.
func Register(ctx context.Context, base, username string) (*User, error) {
	u := &User{REST: REST{Base: base}, Username: username, Password: "correct horse " + username, Device: "dev-" + username, Platform: "web"}
	var made struct{ User struct{ UserID string } }
	err := u.Do(ctx, "POST", "/auth/register", Object{"username": username, "password": u.Password, "nickname": strings.ToUpper(username)}, &made)
	if err != nil {
		return nil, err
	}
	u.ID = made.User.UserID
	return u, u.Login(ctx)
}

// Login opens a new session for the user's device.
func (u *User) Login(ctx context.Context) error {
	var got struct{ AccessToken, RefreshToken string }
	err := u.Do(ctx, "POST", "/auth/login", Object{
		"username": u.Username, "password": u.Password, "deviceId": u.Device, "platform": u.Platform,
	}, &got)
	u.Token, u.Refresh = got.AccessToken, got.RefreshToken
	return err
}

// Entry is an entry of the contract, as far as tests look at it.
type Entry struct {
	ConversationID, MessageID, ClientMsgID, Kind, SenderID string
	Seq, Ordinal                                           uint64
	Text                                                   struct{ Text string }
	Notice                                                 struct {
		Type, ActorID string
		UserIDs       []string
	}
}

// Push is a notification.
type Push struct {
	Method string
	Params json.RawMessage
}

// Conn is a long connection in JSON. Reading runs by itself; Close ends it.
type Conn struct {
	Connected Object // the answer to connect

	conn   io.ReadWriteCloser
	pushes chan Push
	ended  chan struct{}
	code   int // close code; valid once ended is closed

	mu      sync.Mutex // guards below and writing
	next    int
	waiting map[int]chan json.RawMessage
}

// Dial opens a WebSocket without connecting.
func Dial(ctx context.Context, base string) (*Conn, error) {
	conn, br, _, err := ws.Dialer{Protocols: []string{"oceanchat.json"}}.Dial(ctx, "ws"+strings.TrimPrefix(base, "http")+"/ws")
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: conn, pushes: make(chan Push, 65536), ended: make(chan struct{}), waiting: map[int]chan json.RawMessage{}}
	var r io.Reader = conn
	if br != nil {
		r = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	go c.read(struct {
		io.Reader
		io.Writer
	}{r, locked{c}})
	return c, nil
}

// locked lets the reader answer pings without tearing a frame that is being written.
type locked struct{ c *Conn }

func (l locked) Write(p []byte) (int, error) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	return l.c.conn.Write(p)
}

// Connect opens a WebSocket and connects as u.
func (u *User) Connect(ctx context.Context, syncToken string, acks bool) (*Conn, error) {
	c, err := Dial(ctx, u.Base)
	if err != nil {
		return nil, err
	}
	err = c.Call(ctx, "connect", Object{
		"token": u.Token, "deviceId": u.Device, "platform": u.Platform, "syncToken": syncToken, "acks": acks,
	}, &c.Connected)
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) read(rw io.ReadWriter) {
	defer close(c.ended)
	for {
		data, op, err := wsutil.ReadServerData(rw)
		if err != nil {
			var closed wsutil.ClosedError
			if errors.As(err, &closed) {
				c.code = int(closed.Code)
			}
			return
		}
		if op != ws.OpText {
			continue
		}
		var frame struct {
			ID     json.RawMessage
			Method string
			Params json.RawMessage
		}
		if json.Unmarshal(data, &frame) != nil {
			continue
		}
		if frame.Method != "" {
			c.pushes <- Push{frame.Method, frame.Params}
			continue
		}
		id, err := strconv.Atoi(string(frame.ID))
		if err != nil {
			c.pushes <- Push{"", data} // an answer to a frame that Raw wrote
			continue
		}
		c.mu.Lock()
		ch := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		if ch != nil {
			ch <- data
		}
	}
}

// ErrClosed says that the connection ended before the answer came.
var ErrClosed = errors.New("connection closed")

// Call sends a request and decodes its result into out, which may be nil.
func (c *Conn) Call(ctx context.Context, method string, params, out any) error {
	ch := make(chan json.RawMessage, 1)
	c.mu.Lock()
	c.next++
	id := c.next
	c.waiting[id] = ch
	c.mu.Unlock()
	if err := c.Send(Object{"jsonrpc": "2.0", "id": id, "method": method, "params": params}); err != nil {
		return err
	}
	var data json.RawMessage
	select {
	case data = <-ch:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		select {
		case data = <-ch:
		default:
			return ErrClosed
		}
	}
	var answer struct {
		Result json.RawMessage
		Error  *struct {
			Code int
			Data *Error
		}
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return err
	}
	if answer.Error != nil {
		if answer.Error.Data == nil {
			return fmt.Errorf("error %d without data", answer.Error.Code)
		}
		answer.Error.Data.Status = answer.Error.Code
		return answer.Error.Data
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer.Result, out)
}

// Send writes v as one text frame.
func (c *Conn) Send(v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.Raw(ws.OpText, data)
}

// Raw writes one frame.
func (c *Conn) Raw(op ws.OpCode, data []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return wsutil.WriteClientMessage(c.conn, op, data)
}

// Pushes returns what the server tells; at most 65,536 wait.
func (c *Conn) Pushes() <-chan Push { return c.pushes }

// NextEntry waits for the next entry push and returns it with its number.
func (c *Conn) NextEntry(ctx context.Context) (n uint64, e Entry, err error) {
	p, err := c.Next(ctx, "entry")
	if err != nil {
		return 0, e, err
	}
	var params struct {
		N     uint64
		Entry Entry
	}
	err = json.Unmarshal(p, &params)
	return params.N, params.Entry, err
}

// Next waits for the next push of a method and returns its params; others are dropped.
func (c *Conn) Next(ctx context.Context, method string) (json.RawMessage, error) {
	for {
		select {
		case p := <-c.pushes:
			if p.Method == method {
				return p.Params, nil
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("no %s came: %w", method, ctx.Err())
		case <-c.ended:
			select {
			case p := <-c.pushes:
				if p.Method == method {
					return p.Params, nil
				}
			default:
				return nil, ErrClosed
			}
		}
	}
}

// Closed waits for the end and returns the server's close code, 0 if there was none.
func (c *Conn) Closed(ctx context.Context) (int, error) {
	select {
	case <-c.ended:
		return c.code, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Ended is closed when the connection has ended.
func (c *Conn) Ended() <-chan struct{} { return c.ended }

// Close ends the connection without a word, as a lost network does.
func (c *Conn) Close() { _ = c.conn.Close() }
