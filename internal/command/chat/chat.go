// Package chat is the command "oceanchat chat": a terminal client, the shortest proof that a server lives. It is written
// on the Go SDK and knows nothing of the server besides.
//
// What others wrote is printed without the characters that command a terminal. Passwords are asked for without an echo
// or taken from the environment, never from a flag, and are kept nowhere. A line that was typed is sent once, however
// often the connection breaks; if it waits, it says so.
package chat

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	"github.com/oceanchat/oceanchat/internal/command"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/sqlitestore"
)

const (
	passwordVar  = "OCEANCHAT_PASSWORD"
	startTimeout = 15 * time.Second
)

const usage = `Talk from the terminal.

Usage:
  oceanchat chat --user NAME [--to NAME] [--addr http://127.0.0.1:8080] [--register] [--state FILE]

The password is asked for, or taken from OCEANCHAT_PASSWORD; a session in the --state file needs none. Lines are sent to the open conversation; /help lists what
else there is. Without a terminal, lines in are sent and lines out are what is said, and the end of the input is the end.

`

// options are the flags.
type options struct {
	addr, user, to, state string
	register              bool
	wait                  time.Duration
}

var errUsage = errors.New("wrong usage")

// Main runs the command.
func Main(ctx context.Context, call command.Call) int {
	var o options
	switch err := o.parse(call); {
	case errors.Is(err, flag.ErrHelp):
		return command.OK
	case err != nil:
		return command.Usage
	}
	if err := run(ctx, o, call); err != nil {
		_, _ = fmt.Fprintf(call.Err, "oceanchat: %s\n", plain(err.Error()))
		if errors.Is(err, errUsage) {
			return command.Usage
		}
		return command.Failed
	}
	return command.OK
}

func (o *options) parse(call command.Call) error {
	fs := flag.NewFlagSet("chat", flag.ContinueOnError)
	fs.SetOutput(call.Err)
	for _, a := range call.Args {
		if strings.TrimLeft(a, "-") == "help" || a == "-h" {
			fs.SetOutput(call.Out)
		}
	}
	fs.StringVar(&o.addr, "addr", "http://127.0.0.1:8080", "the server's `URL`")
	fs.StringVar(&o.user, "user", "", "your user `name`")
	fs.StringVar(&o.to, "to", "", "open the conversation with this `user` or group")
	fs.BoolVar(&o.register, "register", false, "make the account first")
	fs.StringVar(&o.state, "state", "", "keep session, messages and what is not sent yet in this `file`; without it they go with the process")
	fs.DurationVar(&o.wait, "wait", 30*time.Second, "how long the end waits for what is not sent yet")
	fs.Usage = func() {
		_, _ = io.WriteString(fs.Output(), usage)
		fs.PrintDefaults()
	}
	if err := fs.Parse(call.Args); err != nil {
		return err
	}
	if !strings.Contains(o.addr, "://") {
		o.addr = "http://" + o.addr
	}
	wrong := ""
	switch {
	case o.user == "":
		wrong = "--user is missing"
	case fs.NArg() > 0:
		wrong = fmt.Sprintf("unexpected word %q", fs.Arg(0))
	case !strings.HasPrefix(o.addr, "http://") && !strings.HasPrefix(o.addr, "https://"):
		wrong = "--addr must begin with http:// or https://"
	}
	if wrong == "" {
		return nil
	}
	_, _ = fmt.Fprintf(call.Err, "oceanchat chat: %s\n\n", plain(wrong))
	fs.Usage()
	return errUsage
}

// run logs in and talks until the input ends.
func run(ctx context.Context, o options, call command.Call) error {
	scr, err := newScreen(call.In, call.Out)
	if err != nil {
		return err
	}
	defer scr.close()
	password := given(call.Env)
	if password == "" && (o.register || o.state == "") {
		if password, err = ask(scr, o.register); err != nil {
			return err
		}
	}
	if o.register {
		u, err := oceanchat.REST{URL: o.addr}.Register(ctx, o.user, password, "")
		if err != nil {
			return explain(err, o)
		}
		scr.print("* registered " + plain(u.GetUsername()))
	}
	c, done, err := connect(ctx, o, password)
	if password == "" && noSession(err) {
		if !oceanchat.IsReason(err, "TOKEN_MISSING") { // else the file is new
			scr.print("* the session in " + plain(o.state) + " can not go on: " + plain(explain(err, o).Error()))
		}
		if password, err = ask(scr, false); err != nil {
			return err
		}
		c, done, err = connect(ctx, o, password)
	}
	if err != nil {
		return explain(err, o)
	}
	defer done()
	return newTalk(c, scr, o).run(ctx)
}

// connect returns a client that is online, or one that has a session and waits for the server. done ends it, and its
// session if nothing keeps that.
func connect(ctx context.Context, o options, password string) (c *oceanchat.Client, done func(), err error) {
	opts := oceanchat.Options{
		URL: o.addr, Username: o.user, Password: password, Platform: authv1.Platform_PLATFORM_DESKTOP, DeviceID: "chat-" + rand.Text(),
	}
	closeStore := func() {}
	if o.state != "" {
		st, err := sqlitestore.Open(o.state)
		if err != nil {
			return nil, nil, fmt.Errorf("--state: %w", err)
		}
		opts.Store, opts.DeviceID = st, deviceID(o.state)
		closeStore = func() { _ = st.Close() }
	}
	if c, err = oceanchat.New(opts); err != nil {
		closeStore()
		return nil, nil, err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Run(context.WithoutCancel(ctx)) // its end is the client's state
	}()
	done = func() {
		if o.state == "" {
			logout(ctx, c)
		}
		c.Close()
		<-ended
		closeStore()
	}
	if err := ready(ctx, c, o); err != nil {
		done()
		return nil, nil, err
	}
	return c, done, nil
}

// ready waits until the client is online. It does not wait for what time does not mend, nor where lines can be kept for a
// server that is away: in a file with a session.
func ready(ctx context.Context, c *oceanchat.Client, o options) error {
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var last error
	for st := range c.States(starting) {
		switch {
		case st.Phase == oceanchat.Online:
			return nil
		case st.Phase == oceanchat.Closed:
			return &oceanchat.ClosedError{Reason: st.Reason, Err: st.Err}
		case st.Err == nil:
			continue
		case hopeless(st.Err):
			return st.Err
		case o.state != "" && c.UserID() != "" && time.Until(st.RetryAt) > time.Millisecond: // else it tries another token
			return nil
		}
		last = st.Err
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case o.state != "" && c.UserID() != "":
		return nil
	case last == nil:
		last = errors.New("no answer")
	}
	return fmt.Errorf("no connection to %s within %v: %w", o.addr, startTimeout, last)
}

// hopeless reports whether another try would end the same way: a certificate or a name that is wrong, a refusal.
func hopeless(err error) bool {
	var certificate *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	var noName *net.DNSError
	var refused *oceanchat.Error
	switch {
	case errors.As(err, &certificate), errors.As(err, &noTLS), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return true
	case errors.As(err, &noName):
		return noName.IsNotFound
	case errors.As(err, &refused):
		return refused.Code == "RESOURCE_EXHAUSTED"
	}
	return false
}

// noSession reports whether a log-in would help.
func noSession(err error) bool {
	var end *oceanchat.ClosedError
	return errors.As(err, &end) && (end.Reason == oceanchat.Unauthenticated || end.Reason == oceanchat.SessionEnded)
}

// logout ends the session of a device that will not come again.
func logout(ctx context.Context, c *oceanchat.Client) {
	if c.State().Phase != oceanchat.Online {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_ = c.Call(ctx, "auth.logout", &authv1.LogoutRequest{}, &authv1.LogoutResponse{}) // it ends by itself one day
}

// deviceID is the same for each start with a file, and another one for another file or machine.
func deviceID(file string) string {
	host, _ := os.Hostname()
	if abs, err := filepath.Abs(file); err == nil {
		file = abs
	}
	sum := sha256.Sum256([]byte(host + "\x00" + file))
	return "chat-" + hex.EncodeToString(sum[:8])
}

// given returns the password of the environment, or "".
func given(env []string) string {
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, passwordVar+"="); ok && p != "" {
			return p
		}
	}
	return ""
}

// ask asks for the password, twice for a new account.
func ask(scr screen, register bool) (string, error) {
	p, err := scr.password("Password: ")
	if err != nil {
		return "", err
	}
	if register {
		again, err := scr.password("Once more: ")
		if err != nil {
			return "", err
		}
		if again != p {
			return "", errors.New("the two passwords differ")
		}
	}
	return p, nil
}

// explain says the common failures in words.
func explain(err error, o options) error {
	var certificate *tls.CertificateVerificationError
	var end *oceanchat.ClosedError
	var e *oceanchat.Error
	switch {
	case errors.As(err, &end) && end.Reason == oceanchat.WrongUser:
		return fmt.Errorf("the file %s is not for user %s: %w", o.state, o.user, end.Err)
	case errors.As(err, &certificate):
		return fmt.Errorf("the certificate of %s is not trusted: %w; SSL_CERT_FILE names the file of an authority of your own", o.addr, certificate.Err)
	case oceanchat.IsReason(err, "BAD_CREDENTIALS"):
		return fmt.Errorf("user %s or the password is wrong; --register makes a new account", o.user)
	case oceanchat.IsReason(err, "USERNAME_TAKEN"):
		return fmt.Errorf("there is a user %s already; without --register you log in as that one", o.user)
	case errors.As(err, &e) && e.RetryAfter > 0:
		return fmt.Errorf("%s refuses for now: %s; try again in %v", o.addr, e.Message, e.RetryAfter.Round(time.Second))
	case errors.As(err, &end) && end.Err != nil:
		return end.Err
	}
	return err
}
