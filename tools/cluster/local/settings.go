package local

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settings are those that all processes of a tenant share.
func (p *Parts) settings(t *tenant, o ServiceOptions) []string {
	return []string{
		"OCEANCHAT_NATS_URLS=" + strings.Join(p.NATSURLs(), ","),
		"OCEANCHAT_NATS_USER=" + t.User,
		"OCEANCHAT_NATS_PASSWORD=" + t.Password,
		"OCEANCHAT_NATS_REPLICAS=" + strconv.Itoa(orElse(o.Replicas, len(p.NATS))),
		"OCEANCHAT_REDIS_ADDRS=" + p.Redis.Addr,
		"OCEANCHAT_REDIS_PASSWORD=" + p.redis,
		"OCEANCHAT_REDIS_PREFIX=" + t.Name,
		"OCEANCHAT_MONGO_URI=" + p.mongoURI(t.Name),
		"OCEANCHAT_LOG_SYNC=" + p.o.Sync,
		"OCEANCHAT_TRUSTED_PROXIES=127.0.0.1/32", // the front's
	}
}

// own are the settings of one process. Its directory is in the tenant's: nothing of it is shared.
func (s *Services) own(p *Process) []string {
	env := []string{
		"OCEANCHAT_DATA_DIR=" + filepath.Join(s.Dir, p.Name),
		"OCEANCHAT_OPS_ADDR=" + p.Ops,
		"OCEANCHAT_GRPC_ADDR=" + p.GRPC,
	}
	if p.HTTP != "" {
		env = append(env, "OCEANCHAT_HTTP_ADDR="+p.HTTP)
	}
	if p.WS != p.HTTP {
		env = append(env, "OCEANCHAT_WS_GATEWAY_ADDR="+p.WS)
	}
	if p.TCP != "" {
		env = append(env, "OCEANCHAT_TCP_ADDR="+p.TCP)
	}
	return env
}

// grpc lists where each target serves gRPC.
func (s *Services) grpc() []string {
	var list []string
	for _, p := range s.list {
		for _, target := range p.Targets {
			list = append(list, fmt.Sprintf("%s=%s", target, p.GRPC))
		}
	}
	return list
}

// forgetWithin bounds the deletion of a tenant's data.
const forgetWithin = 10 * time.Second

// leave closes the front and gives back what was taken, the tenant with no data left. One whose data cannot be deleted
// is not given again.
func (s *Services) leave() {
	if s.front != nil {
		s.front.close()
		s.front = nil
	}
	t := s.tenant
	if t == nil {
		return // it has left
	}
	s.tenant = nil
	s.parts.ports.give(s.addrs)
	if s.parts.o.Keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), forgetWithin)
	defer cancel()
	if err := s.parts.forget(ctx, t); err != nil {
		_, _ = fmt.Fprintln(s.parts.o.Log, err)
		return
	}
	s.parts.mu.Lock()
	defer s.parts.mu.Unlock()
	s.parts.free = append(s.parts.free, t)
}
