package oceanchat

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/sdk/go/internal/link"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

const (
	defaultCache = 1000
	restTimeout  = 30 * time.Second
)

// Options are what New needs. URL, DeviceID and one of the three ways to log in are required.
type Options struct {
	// URL is the server, for example "https://chat.example.org". The connection is a WebSocket at the path /ws below it.
	URL string
	// TCP makes the connection a raw TCP one instead: "tcp://host:8090", or "tls://host:8090".
	TCP string

	// Username and Password log in when there is no session that can go on. A session that was revoked while the client
	// ran ends it nevertheless: whoever logged in from the same device elsewhere must not be fought. Without Password the
	// client goes on with the session that Store holds, and is closed as Unauthenticated when there is none. A Store that
	// holds another user's session is refused, as WrongUser, before anything is sent.
	Username, Password string
	// Session is a log-in that the application made. The client refreshes it from then on and keeps what it gets in
	// Store; hand in the same Session at the next start, and the newer one of Store is used.
	Session *Session
	// Tokens leaves all of that to the application.
	Tokens TokenSource

	// DeviceID names this installation: the same at every start, another one for each process that runs at the same
	// time. 1 to 64 of A-Z a-z 0-9 _ -. Two clients of one user with the same one disconnect each other. A session is of
	// one device: with another DeviceID on the same Store the client logs in anew, which takes Password.
	DeviceID string
	// Platform is the log-in's; the default is a bot.
	Platform authv1.Platform

	// Store keeps outbox, sync token and entries; the default forgets them with the process. A Store serves one user on
	// one device and one client at a time. The client does not close it.
	Store store.Store
	// CacheEntries is how many entries of each conversation Store keeps at least; the default is 1,000.
	CacheEntries int

	Logger *slog.Logger // nil: silence. It is never told tokens, passwords or texts.

	// HTTP makes the REST calls; the default follows DialContext and TLS.
	HTTP *http.Client
	// DialContext opens sockets; nil is a net.Dialer.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	TLS         *tls.Config
}

// TokenSource gives access tokens. It is asked by one goroutine at a time.
type TokenSource interface {
	// Token returns a token that is valid now. refused is the one that the server did not take, or "": then the answer
	// must be another one. An *Error with the code UNAUTHENTICATED closes the client; after others it asks again.
	Token(ctx context.Context, refused string) (string, error)
}

// Client is one device of one user. Use New. It is safe for concurrent use.
type Client struct {
	opts  Options
	at    *url.URL
	rest  REST
	store store.Store
	log   *slog.Logger
	pulls chan struct{} // a place for each pull at work
	keys  chan struct{} // held by who gets a token
	hurry chan struct{} // has a token when waiting is to end
	clock func() time.Time

	mu      sync.Mutex // guards all below; no network call is made under it
	state   State
	changed chan struct{} // closed at the next change of state
	stop    context.CancelFunc
	done    chan struct{} // closed when Run has ended; nil before it began
	session *session      // the connection that is syncing or online, or nil

	loaded    bool // the store was read
	stale     bool // and must be read again: an Apply failed
	meta      store.Meta
	convs     map[string]*conv
	resyncing bool // entries wait for the sync that tells what the server lost
	outbox    outbox
	readers   map[*reader]struct{}
	cursors   map[string]map[string]uint64 // by reader's name and conversation
	begun     map[string]uint64            // where conversations ended when the client was first online; nil before
	beginning map[string]uint64            // the same, while that connection is syncing
	pushed    map[string]uint64            // the first seq that was pushed meanwhile
	ears      map[*ear]struct{}
	loggedIn  bool // the password was used since the start
	probed    time.Time
}

var validID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// New returns a client that does nothing before Start or Run. It fails if the options cannot be right.
func New(opts Options) (*Client, error) {
	at, err := opts.check()
	if err != nil {
		return nil, fmt.Errorf("oceanchat: %w", err)
	}
	if opts.Platform == authv1.Platform_PLATFORM_UNSPECIFIED {
		opts.Platform = authv1.Platform_PLATFORM_BOT
	}
	if opts.Store == nil {
		opts.Store = store.NewMemory()
	}
	if opts.CacheEntries <= 0 {
		opts.CacheEntries = defaultCache
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.HTTP == nil {
		opts.HTTP = &http.Client{Timeout: restTimeout, Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: opts.DialContext, TLSClientConfig: opts.TLS.Clone(),
			DisableKeepAlives: true, // calls are rare, and nothing is left behind
		}}
	}
	return &Client{
		opts: opts, at: at, rest: REST{opts.URL, opts.HTTP}, store: opts.Store, log: opts.Logger,
		pulls: make(chan struct{}, maxPulls), keys: make(chan struct{}, 1), hurry: make(chan struct{}, 1), clock: time.Now,
		state: State{Phase: Idle}, changed: make(chan struct{}), convs: map[string]*conv{}, outbox: newOutbox(),
		readers: map[*reader]struct{}{}, cursors: map[string]map[string]uint64{}, ears: map[*ear]struct{}{},
	}, nil
}

// check returns where to connect, or all that is wrong.
func (o *Options) check() (*url.URL, error) {
	var broken []error
	wrong := func(bad bool, rule string) {
		if bad {
			broken = append(broken, errors.New(rule))
		}
	}
	base, err := url.Parse(o.URL)
	wrong(err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "", "URL must begin with http:// or https:// and a host")
	at := base
	if o.TCP != "" {
		at, err = url.Parse(o.TCP)
		wrong(err != nil || at.Scheme != "tcp" && at.Scheme != "tls" || at.Port() == "", "TCP must be tcp:// or tls:// with host and port")
	}
	ways := 0
	for _, way := range []bool{o.Username != "", o.Session != nil, o.Tokens != nil} {
		if way {
			ways++
		}
	}
	wrong(ways != 1, "give one of Username with Password, Session, Tokens")
	wrong(o.Username == "" && o.Password != "" || o.Username != "" && o.Password == "" && o.Store == nil,
		"Username and Password belong together; Username alone goes on with the session of a Store")
	wrong(o.Session != nil && o.Session.AccessToken == "" && o.Session.RefreshToken == "", "Session has no token")
	wrong(!validID.MatchString(o.DeviceID), "DeviceID must be 1 to 64 of A-Z a-z 0-9 _ -")
	return at, errors.Join(broken...)
}

// Start connects in the background and returns when the client is online for the first time, or cannot become so: then
// it is closed. While the server cannot be reached it tries on; ctx bounds that wait and nothing else. Call Close.
func (c *Client) Start(ctx context.Context) error {
	run, err := c.begin(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	go func() { _ = run() }() // its end is the client's state
	if err := c.Ready(ctx); err != nil {
		c.Close()
		return err
	}
	return nil
}

// Run connects and stays connected until ctx ends or Close is called, when it returns nil, or until a *ClosedError says
// why there is no use in trying on. A client runs once. Use Ready to wait until it is online.
func (c *Client) Run(ctx context.Context) error {
	run, err := c.begin(ctx)
	if err != nil {
		return err
	}
	return run()
}

// begin makes sure that a client runs once.
func (c *Client) begin(ctx context.Context) (run func() error, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.done != nil:
		return nil, errors.New("oceanchat: the client runs already, or did")
	case c.state.Phase == Closed:
		return nil, &ClosedError{c.state.Reason, c.state.Err}
	}
	ctx, cancel := context.WithCancel(ctx)
	c.stop, c.done = cancel, make(chan struct{})
	c.setStateLocked(State{Phase: Connecting})
	return func() error {
		defer close(c.done)
		defer cancel()
		end := c.loop(ctx)
		c.setState(State{Phase: Closed, Reason: end.Reason, Err: end.Err})
		c.settleAll(end)
		if end.Reason == Stopped {
			return nil
		}
		c.log.Warn("client closed", "reason", string(end.Reason), "err", end.Err)
		return end
	}, nil
}

// Close ends the client and waits for what it was doing. What is in the outbox stays in Store. It may be called more
// than once.
func (c *Client) Close() {
	c.mu.Lock()
	stop, done := c.stop, c.done
	if done == nil {
		c.setStateLocked(State{Phase: Closed, Reason: Stopped})
	}
	c.mu.Unlock()
	if done != nil {
		stop()
		<-done
	}
}

// UserID returns the user's id, or "" before the first connection.
func (c *Client) UserID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.meta.UserID
}

func (c *Client) dialer() link.Dialer {
	return link.Dialer{Net: c.opts.DialContext, TLS: c.opts.TLS}
}
