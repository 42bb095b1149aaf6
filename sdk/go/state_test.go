package oceanchat_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

func TestOptions(t *testing.T) {
	t.Parallel()
	good := oceanchat.Options{URL: "https://chat.example.org", Username: "ann", Password: "secret pass", DeviceID: "d1"}
	tests := []struct {
		name   string
		change func(o *oceanchat.Options)
		want   string // in the error; empty: none
	}{
		{"good", func(*oceanchat.Options) {}, ""},
		{"no scheme", func(o *oceanchat.Options) { o.URL = "chat.example.org" }, "URL must"},
		{"a WebSocket's scheme", func(o *oceanchat.Options) { o.URL = "ws://chat.example.org/ws" }, "URL must"},
		{"no way to log in", func(o *oceanchat.Options) { o.Username, o.Password = "", "" }, "one of"},
		{"two ways to log in", func(o *oceanchat.Options) { o.Session = &oceanchat.Session{AccessToken: "x"} }, "one of"},
		{"no password", func(o *oceanchat.Options) { o.Password = "" }, "belong together"},
		{"an empty session", func(o *oceanchat.Options) { o.Username, o.Password, o.Session = "", "", &oceanchat.Session{} }, "no token"},
		{"no device", func(o *oceanchat.Options) { o.DeviceID = "" }, "DeviceID"},
		{"a wild device", func(o *oceanchat.Options) { o.DeviceID = "my laptop" }, "DeviceID"},
		{"TCP without a port", func(o *oceanchat.Options) { o.TCP = "tcp://chat.example.org" }, "TCP must"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := good
			tt.change(&o)
			_, err := oceanchat.New(o)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("New = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

func TestNotStarted(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.client(w.options("ann"))
		if _, err := c.Conversation(oceanchat.User("u2")).Send(t.Context(), oceanchat.Text("hi")); !errors.Is(err, oceanchat.ErrNotStarted) {
			t.Errorf("Send before Start = %v; want ErrNotStarted", err)
		}
		for _, err := range c.Entries(t.Context(), oceanchat.Live) {
			if !errors.Is(err, oceanchat.ErrNotStarted) {
				t.Errorf("Entries before Start = %v; want ErrNotStarted", err)
			}
		}
		c.Close()
		var closed *oceanchat.ClosedError
		if err := c.Start(t.Context()); !errors.As(err, &closed) || closed.Reason != oceanchat.Stopped {
			t.Errorf("Start after Close = %v; want a ClosedError for stopped", err)
		}
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ctx, cancel := context.WithCancel(t.Context())
		c := w.client(w.options("ann"))
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		if err := c.Ready(t.Context()); err != nil {
			t.Fatalf("Ready = %v; want nil", err)
		}
		if err := c.Run(ctx); err == nil {
			t.Error("a second Run = nil; want an error")
		}
		in := listen(t.Context(), c, oceanchat.Live)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v; want nil", err)
		}
		var closed *oceanchat.ClosedError
		if err := <-in.err; !errors.As(err, &closed) || closed.Reason != oceanchat.Stopped {
			t.Errorf("the loop over entries ended with %v; want a ClosedError for stopped", err)
		}
	})
}

// Start waits for a server that is not there yet, as long as its context allows.
func TestStartWaitsForTheServer(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtDial, Do: fakeserver.Cut, Times: 5})
		w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtDial, Do: fakeserver.Cut, Times: -1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := w.client(w.options("bob")).Start(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("Start without a server = %v; want the context's error and the last attempt's", err)
		}
	})
}

// The contract's table of close codes, each after the push disconnect and without it.
func TestCloseCodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		code    int
		times   int // it is closed so often
		want    oceanchat.Phase
		reason  oceanchat.Reason
		atLeast time.Duration // before it connects again
	}{
		{code: 4001, times: 1, want: oceanchat.Online},
		{code: 4002, times: 1, want: oceanchat.Closed, reason: oceanchat.SessionEnded},
		{code: 4003, times: 1, want: oceanchat.Closed, reason: oceanchat.Replaced},
		{code: 4004, times: 1, want: oceanchat.Closed, reason: oceanchat.ProtocolError},
		{code: 4005, times: 1, want: oceanchat.Online},
		{code: 4006, times: 1, want: oceanchat.Online},
		{code: 4007, times: 5, want: oceanchat.Online},
		{code: 4008, times: 1, want: oceanchat.Online, atLeast: 5 * time.Second},
		{code: 1001, times: 5, want: oceanchat.Online},
		{code: 4321, times: 2, want: oceanchat.Online},
	}
	for _, tt := range tests {
		for _, silent := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d/silent=%v", tt.code, silent), func(t *testing.T) {
				inWorld(t, func(t *testing.T, w *world) {
					c := w.start("ann")
					for range tt.times {
						synctest.Wait()
						before := time.Now()
						w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "ping", Do: fakeserver.Close, Code: tt.code, Silent: silent})
						synctest.Wait()
						time.Sleep(31 * time.Second) // until the client pings
						if got := phase(t, c, tt.want); got.Reason != tt.reason {
							t.Fatalf("state = %+v; want %s %s", got, tt.want, tt.reason)
						}
						if waited := time.Since(before); waited < 30*time.Second+tt.atLeast {
							t.Errorf("it was back after %v; want at least %v later", waited-30*time.Second, tt.atLeast)
						}
					}
				})
			})
		}
	}
}

// The disconnect push says whether to come back, and when.
func TestDisconnectPushWins(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		before := time.Now()
		w.srv.CloseAll(4006, 90*time.Second)
		phase(t, c, oceanchat.Waiting)
		phase(t, c, oceanchat.Online)
		if waited := time.Since(before); waited < 90*time.Second || waited > 91*time.Second {
			t.Errorf("it came back after %v; want retryAfterMs and up to 0.5 s more", waited)
		}
	})
}

func TestUnknownCodeThreeTimes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "connect", Do: fakeserver.Close, Code: 4321, Silent: true, Times: -1})
		w.srv.CutAll()
		if got := phase(t, c, oceanchat.Closed); got.Reason != oceanchat.Refused {
			t.Errorf("state = %+v; want closed, refused", got)
		}
		if got := w.srv.Requests("connect"); got != 4 {
			t.Errorf("connects = %d; want 1 and 3 tries", got)
		}
	})
}

// The back-off is random, grows up to 20 s and no further, and starts anew after 30 s online.
func TestBackoff(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtHandshake, Do: fakeserver.Fail, Times: 40})
		start := time.Now()
		w.srv.CutAll()
		phase(t, c, oceanchat.Waiting)
		phase(t, c, oceanchat.Online)
		if took := time.Since(start); took < time.Minute || took > 40*20*time.Second {
			t.Errorf("40 failures took %v; want a random time up to 20 s for each of the later ones", took)
		}
		time.Sleep(31 * time.Second)
		start = time.Now()
		w.srv.CutAll()
		phase(t, c, oceanchat.Waiting)
		phase(t, c, oceanchat.Online)
		if took := time.Since(start); took > 500*time.Millisecond {
			t.Errorf("after 30 s online it took %v to come back; want 0.5 s at most", took)
		}
	})
}

// A server that says nothing any more is found dead by a ping.
func TestHalfOpenConnection(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		w.srv.Script(fakeserver.Rule{At: fakeserver.AtReply, Method: "ping", Do: fakeserver.Drop})
		start := time.Now()
		st := phase(t, c, oceanchat.Waiting)
		if took := time.Since(start); took < 35*time.Second || took > 36*time.Second {
			t.Errorf("the client gave up after %v (%v); want 30 s of silence and 5 s for the ping", took, st.Err)
		}
		phase(t, c, oceanchat.Online)
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	drop := func(at fakeserver.Point, method string, times int) fakeserver.Rule {
		return fakeserver.Rule{At: at, Method: method, Do: fakeserver.Cut, Times: times}
	}
	tests := []struct {
		name    string
		before  func(w *world) // it is online, then the connection is cut
		want    oceanchat.Phase
		reason  oceanchat.Reason
		refresh int
		logins  int
	}{
		{"valid", func(*world) {}, oceanchat.Online, "", 0, 1},
		{"expired", func(w *world) { w.srv.ExpireTokens() }, oceanchat.Online, "", 1, 1},
		{"the answer to the refresh is lost", func(w *world) {
			w.srv.ExpireTokens()
			w.srv.Script(drop(fakeserver.AtReply, "auth.refresh", 3))
		}, oceanchat.Online, "", 4, 1},
		{"the session has ended", func(w *world) {
			w.srv.CutAll()
			w.srv.EndSessions("u1")
		}, oceanchat.Closed, oceanchat.SessionEnded, 0, 1},
		{"a revocation", func(w *world) { w.srv.EndSessions("u1") }, oceanchat.Closed, oceanchat.SessionEnded, 0, 1},
		{"sessions cannot be checked", func(w *world) {
			w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "connect", Do: fakeserver.Fail, ErrorCode: "UNAVAILABLE", Reason: "SESSION_STORE_DOWN", Times: 3})
		}, oceanchat.Online, "", 0, 1},
		{"never accepted", func(w *world) {
			w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "connect", Do: fakeserver.Fail, ErrorCode: "UNAUTHENTICATED", Reason: "TOKEN_INVALID", Times: -1})
		}, oceanchat.Closed, oceanchat.Unauthenticated, 1, 1},
		{"REST is limited", func(w *world) {
			w.srv.ExpireTokens()
			w.srv.Script(fakeserver.Rule{At: fakeserver.AtRequest, Method: "auth.refresh", Do: fakeserver.Fail, ErrorCode: "RESOURCE_EXHAUSTED", Reason: "RATE_LIMITED", RetryAfterMs: 9000})
		}, oceanchat.Online, "", 2, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				c := w.start("ann")
				synctest.Wait()
				tt.before(w)
				w.srv.CutAll()
				synctest.Wait()
				if got := phase(t, c, tt.want); got.Reason != tt.reason {
					t.Errorf("state = %+v; want %s %s", got, tt.want, tt.reason)
				}
				if got := w.srv.Requests("auth.refresh"); got != tt.refresh {
					t.Errorf("refreshes = %d; want %d", got, tt.refresh)
				}
				if got := w.srv.Requests("auth.login"); got != tt.logins {
					t.Errorf("log-ins = %d; want %d", got, tt.logins)
				}
			})
		})
	}
}

func TestBadPassword(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		o := w.options("ann")
		o.Password = "not hers"
		err := w.client(o).Start(t.Context())
		var closed *oceanchat.ClosedError
		if !errors.As(err, &closed) || closed.Reason != oceanchat.Unauthenticated || !oceanchat.IsReason(err, "BAD_CREDENTIALS") {
			t.Errorf("Start = %v; want closed, unauthenticated, for BAD_CREDENTIALS", err)
		}
	})
}

// A restart goes on with the stored session; one that is over is replaced by a log-in, once.
func TestStoredSession(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := store.NewMemory()
		for i, step := range []struct {
			before func()
			logins int
		}{
			{func() {}, 1},
			{func() {}, 1},
			{w.srv.ExpireTokens, 1},
			{func() { w.srv.EndSessions("u1") }, 2},
			{func() { w.srv.ExpireTokens(); w.srv.EndSessions("u1") }, 3},
		} {
			step.before()
			w.start("ann", with(s)).Close()
			if got := w.srv.Requests("auth.login"); got != step.logins {
				t.Errorf("log-ins after start %d = %d; want %d", i+1, got, step.logins)
			}
		}
		o := w.options("bob")
		o.Store = s
		o.Session = &oceanchat.Session{AccessToken: w.login("bob").AccessToken, RefreshToken: "s9.r0"}
		o.Username, o.Password = "", ""
		var closed *oceanchat.ClosedError
		if err := w.client(o).Start(t.Context()); !errors.As(err, &closed) || closed.Reason != oceanchat.WrongUser {
			t.Errorf("Start of bob with ann's store = %v; want closed, wrong user", err)
		}
	})
}

func (w *world) login(name string) oceanchat.Session {
	w.t.Helper()
	o := w.options(name)
	s, err := w.rest().Login(w.t.Context(), name, o.Password, o.DeviceID, 0)
	if err != nil {
		w.t.Fatalf("Login = %v; want nil", err)
	}
	return s
}

// A session of the application's own is refreshed by the client, and the newer one of the store is used next time.
func TestSessionOfTheApplication(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.login("ann")
		s := store.NewMemory()
		for range 3 {
			w.srv.ExpireTokens()
			o := w.options("ann")
			o.Username, o.Password, o.Session, o.Store = "", "", &first, s
			c := w.client(o)
			if err := c.Start(t.Context()); err != nil {
				t.Fatalf("Start = %v; want nil", err)
			}
			c.Close()
		}
		if got := w.srv.Requests("auth.refresh"); got != 3 {
			t.Errorf("refreshes = %d; want one per start", got)
		}
	})
}

// The same device elsewhere: the older client stays away, also one that has a password.
func TestReplaced(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		first := w.start("ann")
		w.start("ann")
		if got := phase(t, first, oceanchat.Closed); got.Reason != oceanchat.SessionEnded {
			t.Errorf("the older client = %+v; want closed, session ended", got)
		}
		if got := w.srv.Requests("auth.login"); got != 2 {
			t.Errorf("log-ins = %d; want 2: nobody fights", got)
		}
	})
}

// Many who need a token get it by one refresh.
func TestRefreshIsSingleFlight(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		c := w.start("ann")
		old, err := c.AccessToken(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 20)
		for range 20 {
			go func() {
				fresh, err := c.AccessToken(t.Context(), old)
				if err != nil {
					t.Errorf("AccessToken = %v; want nil", err)
				}
				got <- fresh
			}()
		}
		for range 20 {
			if fresh := <-got; fresh == old || fresh == "" {
				t.Errorf("AccessToken = %q; want another than %q", fresh, old)
			}
		}
		if n := w.srv.Requests("auth.refresh"); n != 1 {
			t.Errorf("refreshes = %d; want 1", n)
		}
	})
}

// A token that could not be stored is not used: the one that it replaced gives the same again.
func TestTokenIsStoredBeforeUse(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		s := &faulty{Store: store.NewMemory()}
		c := w.start("ann", with(s))
		w.srv.ExpireTokens()
		s.fail(1)
		w.srv.CutAll()
		phase(t, c, oceanchat.Waiting)
		phase(t, c, oceanchat.Online)
		if refreshes, connects := w.srv.Requests("auth.refresh"), w.srv.Requests("connect"); refreshes != 2 || connects != 3 {
			t.Errorf("refreshes = %d, connects = %d; want 2 and 3", refreshes, connects)
		}
		st, err := s.Load(t.Context())
		if err != nil || st.Meta.Tokens.Refresh != "s1.r1" {
			t.Errorf("stored refresh token = %q, %v; want s1.r1", st.Meta.Tokens.Refresh, err)
		}
	})
}

func TestRegister(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		u, err := w.rest().Register(t.Context(), "dan", "a good password", "Dan")
		if err != nil || u.GetUserId() != "u4" || u.GetNickname() != "Dan" {
			t.Fatalf("Register = %v, %v; want u4", u, err)
		}
		if _, err := w.rest().Register(t.Context(), "dan", "a good password", ""); !oceanchat.IsReason(err, "USERNAME_TAKEN") {
			t.Errorf("Register again = %v; want USERNAME_TAKEN", err)
		}
	})
}
