// Package doctor is the command "oceanchat doctor": it tries what the chosen targets depend on and says what is wrong
// and what to do, one line a finding.
//
// It changes nothing but a key of Redis that lives for a second and a file in the data directory that it removes. It
// opens nothing that services open, so it works before they ever ran and beside them. Every check is bounded in time, and
// no secret of the settings is shown, whatever a server answers.
package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/config"
	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
	"github.com/oceanchat/oceanchat/internal/seam/faststate/redis"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

// Config is the section "doctor" of the configuration: what only this command needs.
type Config struct {
	NATSMonitor        []string      `yaml:"nats_monitor" doc:"Monitoring ports of all NATS servers, such as http://nats-1:8222: only there they tell how they sync."`
	NATSSystemUser     string        `yaml:"nats_system_user" doc:"Instead: a user of the system account of the NATS servers."`
	NATSSystemPassword config.Secret `yaml:"nats_system_password" doc:"That user's password."`
}

// Plan is what to look at. What is nil or empty is left out.
type Plan struct {
	Targets  []string // the chosen ones, for the title
	Warnings []string // what loading the settings warned of

	NATS  *jetstream.Diagnosis // Monitors and those below it may be left to Config
	Redis *redis.Config
	Mongo *mongo.Config

	Embedded *Embedded // what one process with embedded parts keeps on its disk
	Peers    []Peer    // targets in other processes that the chosen ones call
	Files    []Files   // of certificates; those of NATS and Redis are looked at anyway

	// MaxConnections is ws_gateway.max_connections, if that target is chosen.
	MaxConnections int
}

// Open loads the settings in args (flags and targets, as the server takes them) and env, and says what the targets need. An error is
// one of usage.
type Open func(args, env []string) (Plan, error)

const usage = `Usage:
  oceanchat doctor [TARGET...] [--json] [--no-peers] [settings]

Tries everything that the targets depend on, with the settings they would run with, and says what is wrong and what to
do. Without a target: all thirteen of a cluster. 'oceanchat doctor all': one process with everything in it.

  --json      one object for machines instead of lines
  --no-peers  do not try the other services, which may not run yet

It ends with 0 if there is no problem (there may be warnings), 1 if there is one, 2 if it was called wrongly.
'oceanchat --help' names the settings.
`

// Command returns the command, over a way to read settings.
func Command(open Open) func(context.Context, command.Call) int {
	return func(ctx context.Context, call command.Call) int {
		args, flags := split(call.Args)
		if flags["help"] {
			_, _ = fmt.Fprint(call.Out, usage)
			return command.OK
		}
		plan, err := open(args, call.Env)
		if err != nil {
			_, _ = fmt.Fprintf(call.Err, "oceanchat doctor: %v\nRun 'oceanchat doctor --help' for usage.\n", err)
			return command.Usage
		}
		for _, w := range plan.Warnings {
			_, _ = fmt.Fprintf(call.Err, "oceanchat doctor: warning: %s\n", w)
		}
		if flags["no-peers"] {
			plan.Peers = nil
		}
		began := time.Now()
		r := report{Targets: plan.Targets, Findings: run(ctx, plan.checks())}
		r.finish(plan.secrets(), time.Since(began))
		if flags["json"] {
			err = r.json(call.Out)
		} else {
			err = r.text(call.Out)
		}
		if err != nil || r.Problems > 0 {
			return command.Failed
		}
		return command.OK
	}
}

// split takes the flags of this command out of what the settings' loader will read.
func split(args []string) (rest []string, flags map[string]bool) {
	flags = map[string]bool{}
	for _, a := range args {
		switch a {
		case "--json", "--no-peers", "--help":
			flags[a[2:]] = true
		case "-h", "help":
			flags["help"] = true
		default:
			rest = append(rest, a)
		}
	}
	return rest, flags
}

// check is one look at one thing.
type check struct {
	name  string
	limit time.Duration // when it counts as hanging; it should end before
	run   func(context.Context) []finding.Finding
}

// Limits of checks. Those that reach for servers bound themselves to five seconds, that of NATS in each of two steps.
const (
	limit     = 6 * time.Second
	natsLimit = 11 * time.Second
)

// checks are those of a plan, in the order in which they are told.
func (p Plan) checks() (all []check) {
	add := func(name string, limit time.Duration, run func(context.Context) []finding.Finding) {
		all = append(all, check{name, limit, run})
	}
	if e := p.Embedded; e != nil {
		add("data_dir", limit, e.diagnose)
	}
	files := p.Files
	if n := p.NATS; n != nil {
		add("nats", natsLimit, func(ctx context.Context) []finding.Finding { return jetstream.Diagnose(ctx, *n) })
		files = append(files, Files{"nats.tls", n.Servers.TLS.Cert, n.Servers.TLS.Key, n.Servers.TLS.CA})
	}
	if r := p.Redis; r != nil {
		add("redis", limit, func(ctx context.Context) []finding.Finding { return redis.Diagnose(ctx, *r) })
		files = append(files, Files{"redis.tls", r.TLS.Cert, r.TLS.Key, r.TLS.CA})
	}
	if m := p.Mongo; m != nil {
		add("mongodb", limit, func(ctx context.Context) []finding.Finding { return mongo.Diagnose(ctx, *m) })
	}
	for _, peer := range p.Peers {
		add("peer "+peer.Target, limit, peer.diagnose)
	}
	add("certificates", limit, func(context.Context) []finding.Finding { return certificates(files, time.Now()) })
	add("limits", limit, func(context.Context) []finding.Finding { return limits(p.MaxConnections) })
	return all
}

// run makes all checks at once. One that hangs is left behind and told of; the process ends soon.
func run(ctx context.Context, checks []check) []finding.Finding {
	found := make([][]finding.Finding, len(checks))
	var wg sync.WaitGroup
	for i, c := range checks {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.limit)
			defer cancel()
			done := make(chan []finding.Finding, 1)
			go func() { done <- c.run(ctx) }()
			select {
			case found[i] = <-done:
			case <-ctx.Done():
				found[i] = []finding.Finding{finding.Bad(c.name, "the check did not end within "+c.limit.String(), "look whether the server hangs, and at the network between")}
			}
		})
	}
	wg.Wait()
	return slices.Concat(found...)
}

// shortest is how long a secret must be to be looked for in lines; shorter ones would spoil them.
const shortest = 4

// secrets are those of the settings. No check tells one; that no server or driver does is made sure here.
func (p Plan) secrets() (all []string) {
	add := func(s string) {
		if len(s) >= shortest {
			all = append(all, s)
		}
	}
	inside := func(address string) {
		if !strings.Contains(address, "://") {
			address = "nats://" + address
		}
		if u, err := url.Parse(address); err == nil && u.User != nil {
			if password, ok := u.User.Password(); ok {
				add(password)
			} else if strings.HasPrefix(u.Scheme, "nats") { // a token
				add(u.User.Username())
			}
		}
	}
	if n := p.NATS; n != nil {
		add(n.Servers.Password.Reveal())
		add(n.SystemPassword.Reveal())
		for _, u := range slices.Concat(n.Servers.URLs, n.Monitors) {
			inside(u)
		}
	}
	if p.Redis != nil {
		add(p.Redis.Password.Reveal())
	}
	if p.Mongo != nil {
		inside(p.Mongo.URI)
	}
	return all
}

// report is what is told in the end.
type report struct {
	Targets  []string          `json:"targets"`
	Problems int               `json:"problems"`
	Warnings int               `json:"warnings"`
	Seconds  float64           `json:"seconds"`
	Findings []finding.Finding `json:"findings"`
}

// finish counts, and makes every text fit for a screen.
func (r *report) finish(secrets []string, took time.Duration) {
	r.Seconds = took.Round(time.Millisecond).Seconds()
	clean := func(s string) string {
		for _, secret := range secrets {
			s = strings.ReplaceAll(s, secret, "***")
		}
		return strings.Map(func(c rune) rune { // servers choose their names
			if unicode.IsPrint(c) {
				return c
			}
			return ' '
		}, s)
	}
	for i, f := range r.Findings {
		switch f.Level {
		case finding.Problem:
			r.Problems++
		case finding.Warning:
			r.Warnings++
		case finding.OK:
		}
		f.Check, f.Found, f.Do = clean(f.Check), clean(f.Found), clean(f.Do)
		r.Findings[i] = f
	}
}

func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

func (r *report) text(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		_, _ = fmt.Fprintf(&b, "%-8s %s: %s", f.Level, f.Check, f.Found)
		if f.Do != "" {
			_, _ = fmt.Fprintf(&b, " -> %s", f.Do)
		}
		b.WriteByte('\n')
	}
	_, _ = fmt.Fprintf(&b, "\n%s, %s; %d ok. Looked at %s in %.1f s.\n", count(r.Problems, "problem"), count(r.Warnings, "warning"),
		len(r.Findings)-r.Problems-r.Warnings, strings.Join(r.Targets, ", "), r.Seconds)
	_, err := io.WriteString(w, b.String())
	return err
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}
