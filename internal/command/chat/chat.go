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
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
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

The password is asked for, or taken from OCEANCHAT_PASSWORD. Lines are sent to the open conversation; /help lists what
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
	if o.user == "" || fs.NArg() > 0 {
		fs.Usage()
		return errUsage
	}
	if !strings.Contains(o.addr, "://") {
		o.addr = "http://" + o.addr
	}
	return nil
}

// run logs in and talks until the input ends.
func run(ctx context.Context, o options, call command.Call) error {
	scr, err := newScreen(call.In, call.Out)
	if err != nil {
		return err
	}
	defer scr.close()
	password, err := getPassword(scr, call.Env, o.register)
	if err != nil {
		return err
	}
	if o.register {
		u, err := oceanchat.REST{URL: o.addr}.Register(ctx, o.user, password, "")
		if err != nil {
			return explain(err, o)
		}
		scr.print("* registered " + plain(u.GetUsername()))
	}
	c, done, err := connect(ctx, o, password)
	if err != nil {
		return explain(err, o)
	}
	defer done()
	return newTalk(c, scr, o).run(ctx)
}

// connect returns a client that is online. done ends it, and its session if nothing keeps that.
func connect(ctx context.Context, o options, password string) (c *oceanchat.Client, done func(), err error) {
	opts := oceanchat.Options{
		URL: o.addr, Username: o.user, Password: password, Platform: authv1.Platform_PLATFORM_DESKTOP, DeviceID: "chat-" + rand.Text(),
	}
	closeStore := func() {}
	if o.state != "" {
		st, err := sqlitestore.Open(o.state)
		if err != nil {
			return nil, nil, err
		}
		opts.Store, opts.DeviceID = st, deviceID(o.state)
		closeStore = func() { _ = st.Close() }
	}
	if c, err = oceanchat.New(opts); err != nil {
		closeStore()
		return nil, nil, err
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := c.Start(starting); err != nil {
		closeStore()
		return nil, nil, err
	}
	return c, func() {
		if o.state == "" {
			logout(ctx, c)
		}
		c.Close()
		closeStore()
	}, nil
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

// getPassword asks for the password, twice for a new account.
func getPassword(scr screen, env []string, register bool) (string, error) {
	for _, v := range env {
		if p, ok := strings.CutPrefix(v, passwordVar+"="); ok && p != "" {
			return p, nil
		}
	}
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
	switch {
	case oceanchat.IsReason(err, "BAD_CREDENTIALS"):
		return fmt.Errorf("user %s or the password is wrong; --register makes a new account", o.user)
	case oceanchat.IsReason(err, "USERNAME_TAKEN"):
		return fmt.Errorf("there is a user %s already; without --register you log in as that one", o.user)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no connection to %s within %v: %w", o.addr, startTimeout, err)
	}
	return err
}
