package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// floors are the targets by layer, in the order in which they stop: who serves clients first, what all need last.
var floors = [][]string{
	{apiGateway, wsGateway, "router"},
	{"orchestrator", "pusher-realtime", "pusher-offline"},
	{"auth", "user", "group", "message"},
	{"presence", "query", "persistence"},
}

// The targets that clients reach.
const (
	apiGateway = "api-gateway"
	wsGateway  = "ws-gateway"
)

// Targets lists all targets of the binary.
func Targets() []string { return slices.Concat(floors...) }

// Services are the running targets of one tenant. Its methods are safe for concurrent use.
type Services struct {
	URL string // of REST and WebSocket, http://host:port
	TCP string // of TCP connections, host:port; empty if no ws-gateway runs
	Dir string // data and logs
	// Settings reach the parts from any process, OCEANCHAT_NAME=value, passwords too: for one more instance, or a command.
	Settings []string

	list   []*Process
	front  *front // nil: Direct
	parts  *Parts
	tenant *tenant
	addrs  []string // taken from parts
}

// Start starts services and returns when all are ready. ctx bounds the start only.
func (p *Parts) Start(ctx context.Context, o ServiceOptions) (*Services, error) {
	if err := checkGroups(o.Groups); err != nil {
		return nil, err
	}
	t, n, err := p.lease()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	s := &Services{Dir: filepath.Join(p.o.Dir, fmt.Sprintf("services-%d", n)), parts: p, tenant: t}
	s.Settings = p.settings(t, o)
	err = s.plan(o)
	if err == nil {
		err = s.start(ctx, o)
	}
	if err != nil {
		s.Kill()
		return nil, fmt.Errorf("start the services of the cluster: %w", err)
	}
	return s, nil
}

// checkGroups finds names that are no target, which a process would refuse one by one.
func checkGroups(groups [][]string) error {
	for _, group := range groups {
		if len(group) == 0 {
			return errors.New("local cluster: a group without targets")
		}
		for _, target := range group {
			if !slices.Contains(Targets(), target) {
				return fmt.Errorf("local cluster: no target %q", target)
			}
		}
	}
	return nil
}

// plan describes every process, with its addresses.
func (s *Services) plan(o ServiceOptions) error {
	groups := o.Groups
	if groups == nil {
		for _, target := range Targets() {
			groups = append(groups, []string{target})
		}
	}
	for _, group := range groups {
		n, said := o.Instances[group[0]]
		if !said {
			n = 2
		}
		for i := range n {
			p := &Process{Name: fmt.Sprintf("%s-%d", groupName(group), i+1), Targets: group, path: s.parts.o.Binary, check: answers}
			p.Log = filepath.Join(s.Dir, "logs", p.Name+".log")
			if err := s.address(p); err != nil {
				return err
			}
			s.list = append(s.list, p)
		}
	}
	s.Settings = append(s.Settings, "OCEANCHAT_GRPC_ADDRS="+strings.Join(s.grpc(), ","), "OCEANCHAT_DOCTOR_NATS_MONITOR="+strings.Join(s.parts.monitors(), ","))
	for _, p := range s.list {
		p.args = append(slices.Clone(o.Args), p.Targets...)
		p.env = slices.Concat(environment(), s.Settings, s.own(p), o.Env, o.EnvOf[p.Targets[0]], o.EnvOf[p.Name])
	}
	return nil
}

// groupName is the target's, or where there are several, the first one's with a plus.
func groupName(group []string) string {
	if len(group) == 1 {
		return group[0]
	}
	return group[0] + "+"
}

func (p *Process) serves(target string) bool { return slices.Contains(p.Targets, target) }

// address gives a process the ports that its targets need.
func (s *Services) address(p *Process) error {
	fields := []*string{&p.Ops, &p.GRPC}
	if p.serves(apiGateway) {
		fields = append(fields, &p.HTTP)
	}
	if p.serves(wsGateway) {
		fields = append(fields, &p.TCP)
		if !p.serves(apiGateway) {
			fields = append(fields, &p.WS)
		}
	}
	addrs, err := s.parts.ports.take(len(fields))
	if err != nil {
		return err
	}
	s.addrs = append(s.addrs, addrs...)
	for i, field := range fields {
		*field = addrs[i]
	}
	if p.serves(wsGateway) && p.serves(apiGateway) {
		p.WS = p.HTTP
	}
	return nil
}

// start runs what was planned, and the front before it.
func (s *Services) start(ctx context.Context, o ServiceOptions) error {
	_, _ = fmt.Fprintf(s.parts.o.Log, "starting %d services\n", len(s.list))
	started := time.Now()
	if err := startAll(ctx, s.list); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(s.parts.o.Log, "%d services are ready after %s\n", len(s.list), time.Since(started).Round(time.Millisecond))
	if o.Direct {
		s.direct()
		return nil
	}
	front, err := s.openFront(ctx, o)
	if err != nil {
		return err
	}
	s.front, s.URL = front, "http://"+front.http.Addr().String()
	if front.tcp != nil {
		s.TCP = front.tcp.Addr().String()
	}
	return nil
}

func (s *Services) direct() {
	for _, p := range s.list {
		if s.URL == "" && p.HTTP != "" {
			s.URL = "http://" + p.HTTP
		}
		s.TCP = orElse(s.TCP, p.TCP)
	}
}

// answers asks a service's operations port whether it is ready.
func answers(ctx context.Context, p *Process) error { return get(ctx, "http://"+p.Ops+"/readyz") }

// Processes lists the services' processes.
func (s *Services) Processes() []*Process { return slices.Clone(s.list) }

// Process returns the one of that name, as "auth-2", nil if there is none.
func (s *Services) Process(name string) *Process { return find(s.list, name) }

// Of lists the processes that run a target.
func (s *Services) Of(target string) []*Process {
	var list []*Process
	for _, p := range s.list {
		if p.serves(target) {
			list = append(list, p)
		}
	}
	return list
}

// Set gives every process one more setting, OCEANCHAT_NAME=value, from its next start on; it wins over those it had.
func (s *Services) Set(setting string) {
	s.Settings = append(s.Settings, setting)
	for _, p := range s.list {
		p.mu.Lock()
		p.env = append(p.env, setting)
		p.mu.Unlock()
	}
}

// Run runs a command of the binary with the settings of the services, and returns its exit code and what it printed.
func (s *Services) Run(ctx context.Context, args ...string) (code int, out string, err error) {
	cmd := exec.CommandContext(ctx, s.parts.o.Binary, args...)
	cmd.Env = append(environment(), s.Settings...)
	text, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		return 0, "", fmt.Errorf("run %v: %w", args, err)
	}
	return cmd.ProcessState.ExitCode(), string(text), ctx.Err()
}

// Stop stops the services with SIGTERM, layer by layer from the outside to the inside, kills what does not end within a
// minute, and forgets their data. It is an error if a process had to be killed, ended with another code than 0, or had
// ended by itself before.
func (s *Services) Stop() error {
	var errs []error
	stopped := map[*Process]bool{}
	for _, floor := range floors {
		var now []*Process
		for _, p := range s.list {
			if !stopped[p] && slices.ContainsFunc(floor, p.serves) {
				now, stopped[p] = append(now, p), true
			}
		}
		errs = append(errs, endAll(now))
	}
	s.leave()
	return errors.Join(errs...)
}

// Kill ends all processes at once, and forgets their data.
func (s *Services) Kill() {
	killAll(s.list)
	s.leave()
}

// WriteSettings writes a file of settings for each process, DIR/<name>.env, readable by the owner only: with it one that
// has ended is started again by hand, in its place.
func (s *Services) WriteSettings(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, p := range s.list {
		p.mu.Lock()
		env := slices.Clone(p.env)
		p.mu.Unlock()
		lines := slices.DeleteFunc(env, func(v string) bool { return !strings.HasPrefix(v, "OCEANCHAT_") })
		if err := os.WriteFile(filepath.Join(dir, p.Name+".env"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// environment is what all processes inherit: this process's, without settings of OceanChat.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "OCEANCHAT_") })
}
