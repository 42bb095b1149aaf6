package local

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
)

// natsConfig is one server's configuration. The space for files has no real limit: reservations of many tenants must not
// fail. The servers form a cluster if there are several.
var natsConfig = template.Must(template.New("nats").Parse(`# Made at each start of the local cluster.
server_name: {{.Name}}
listen: "{{.Client}}"
http: "{{.Monitor}}"
max_payload: 8MB
write_deadline: "10s"
jetstream {
  store_dir: {{printf "%q" .Store}}
  max_memory_store: 1GB
  max_file_store: 1024TB
  sync_interval: {{.Sync}}
}
{{if .Routes}}cluster {
  name: oceanchat
  listen: "{{.Route}}"
  routes: [{{range $i, $r := .Routes}}{{if $i}}, {{end}}"nats-route://{{$r}}"{{end}}]
  no_advertise: true
}
{{end}}{{if .Include}}include {{printf "%q" .Include}}
{{else}}system_account: SYS
accounts {
  SYS { users: [{user: {{.System.User}}, password: {{printf "%q" .System.Password}}}] }
{{range .Tenants}}  {{.Name}} { jetstream: enabled, users: [{user: {{.User}}, password: {{printf "%q" .Password}}}] }
{{end}}}
{{end}}`))

// server is what natsConfig tells of one server.
type server struct {
	Name, Client, Monitor, Route, Store, Sync, Include string

	Routes  []string
	System  secretUser
	Tenants []*tenant
}

// prepareNATS builds nats-server and writes a configuration for each of the servers.
func (p *Parts) prepareNATS(ctx context.Context) error {
	path, err := build(ctx, p.bin, "nats-server", natsPackage)
	if err != nil {
		return err
	}
	n := p.o.Servers
	addrs, err := p.ports.take(3 * n)
	if err != nil {
		return err
	}
	clients, monitors, routes := addrs[:n], addrs[n:2*n], addrs[2*n:]
	sync := map[string]string{"always": "always", "interval": `"2m"`}[p.o.Sync]
	for i := range n {
		name := fmt.Sprintf("nats-%d", i+1)
		s := server{
			Name: name, Client: clients[i], Monitor: monitors[i], Sync: sync, Include: p.o.NATSConfig,
			Store: p.store(name), System: p.system, Tenants: p.free,
		}
		if n > 1 {
			s.Route = routes[i]
			if s.Routes, err = p.routes(i, routes); err != nil {
				return err
			}
		}
		file := filepath.Join(p.o.Dir, name+".conf")
		if err := s.write(file); err != nil {
			return err
		}
		one := p.process(name, clients[i], path, "-c", file)
		one.Ops, one.check = monitors[i], healthy
		if p.o.NATSDisk != "" {
			p.giveDisk(one, s.Store)
		}
		p.NATS = append(p.NATS, one)
	}
	return nil
}

// routes are the addresses at which server i reaches the others.
func (p *Parts) routes(i int, addrs []string) ([]string, error) {
	if p.o.Route == nil {
		return addrs, nil
	}
	var list []string
	for j, addr := range addrs {
		if j == i {
			continue
		}
		via, err := p.o.Route(i, j, addr)
		if err != nil {
			return nil, err
		}
		list = append(list, via)
	}
	return list, nil
}

func (s server) write(file string) error {
	var text bytes.Buffer
	if err := natsConfig.Execute(&text, s); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o600)
}

// healthy asks a NATS server: it is when JetStream has a leader and all that this server holds is up to date.
func healthy(ctx context.Context, p *Process) error { return get(ctx, "http://"+p.Ops+"/healthz") }

// get wants 200 OK.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, resp.Status, bytes.TrimSpace(body))
	}
	return nil
}

// purge deletes all that JetStream keeps for a tenant, so that it can be used again.
func (p *Parts) purge(ctx context.Context, t *tenant) error {
	if err := p.order(ctx, p.system, "$JS.API.ACCOUNT.PURGE."+t.Name); err != nil {
		return fmt.Errorf("empty the NATS account %s: %w", t.Name, err)
	}
	return nil
}

// DeleteStream deletes a stream of JetStream with all that is in it, as an operator does by mistake.
func (s *Services) DeleteStream(ctx context.Context, name string) error {
	if err := s.parts.order(ctx, s.tenant.secretUser, "$JS.API.STREAM.DELETE."+name); err != nil {
		return fmt.Errorf("delete stream %s: %w", name, err)
	}
	return nil
}

// EmptyNATS kills the NATS servers and takes their files away; started again they know nothing.
func (p *Parts) EmptyNATS() error {
	killAll(p.NATS)
	var err error
	for _, n := range p.NATS {
		err = errors.Join(err, os.RemoveAll(p.store(n.Name)))
	}
	return err
}

// order has JetStream do something, by way of the first server that says it is done or begun.
func (p *Parts) order(ctx context.Context, u secretUser, subject string) error {
	var err error
	for _, n := range p.NATS {
		var answer []byte
		if answer, err = request(ctx, n.Addr, u, subject, ""); err != nil {
			continue // the next may live
		}
		var got struct{ Success, Initiated bool }
		if err = json.Unmarshal(answer, &got); err == nil && !got.Success && !got.Initiated {
			err = fmt.Errorf("refused: %s", answer)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// secret returns a password that nobody guesses, of letters and digits only.
func secret() string { return rand.Text() }
