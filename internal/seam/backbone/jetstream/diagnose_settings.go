package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// maxVarz bounds the answer of a server about itself, which has some 10 KiB.
const maxVarz = 1 << 20

// varz is what a server tells operators of itself: at /varz of its monitoring port, and to the system account at
// $SYS.REQ.SERVER.PING.VARZ.
type varz struct {
	Name      string    `json:"server_name"`
	Now       time.Time `json:"now"`
	JetStream struct {
		Config *struct {
			MaxMemory    int64         `json:"max_memory"`
			MaxStore     int64         `json:"max_storage"`
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
		Meta *struct {
			Leader string `json:"leader"`
			Size   int    `json:"cluster_size"`
		} `json:"meta"`
	} `json:"jetstream"`

	sent, got time.Time
}

// settings is what servers told of how they are configured.
type settings struct {
	servers []varz
	size    int // of the cluster; 0: nobody said
	found   []finding.Finding
}

// settings asks monitoring ports, or by the system account.
func (d Diagnosis) settings(ctx context.Context, opts []nats.Option) (s settings) {
	switch {
	case len(d.Monitors) > 0:
		s = monitors(ctx, d.Monitors)
	case d.SystemUser != "":
		s = d.ping(ctx, opts)
	}
	for _, v := range s.servers {
		if v.JetStream.Meta != nil {
			s.size = max(s.size, v.JetStream.Meta.Size)
		}
	}
	return s
}

func monitors(ctx context.Context, urls []string) (s settings) {
	var mu sync.Mutex // guards s
	var wg sync.WaitGroup
	for _, u := range urls {
		wg.Go(func() {
			v, err := monitor(ctx, strings.TrimSpace(u))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				where, _ := hostOf(strings.TrimSpace(u))
				s.found = append(s.found, finding.Bad("nats monitor "+where, "cannot be read: "+finding.Text(err), "correct doctor.nats_monitor; http_port in nats.conf opens the port"))
				return
			}
			s.servers = append(s.servers, v)
		})
	}
	wg.Wait()
	return s
}

func monitor(ctx context.Context, address string) (v varz, err error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+"/varz", nil)
	if err != nil { // its text may hold a password
		return v, errors.New("not an address like http://host:8222")
	}
	v.sent = time.Now()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // without the address, which may hold a password
		}
		return v, err
	}
	defer res.Body.Close()
	v.got = time.Now()
	if res.StatusCode != http.StatusOK {
		return v, fmt.Errorf("it answers %s", res.Status)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxVarz)).Decode(&v); err != nil {
		return v, fmt.Errorf("it answers with something else: %w", err)
	}
	if v.Name == "" {
		return v, errors.New("it is no NATS server")
	}
	return v, nil
}

// quiet is how long the next answer of a server may take after the last.
const quiet = 500 * time.Millisecond

// ping asks all servers by the system account, from the first server that lets us in.
func (d Diagnosis) ping(ctx context.Context, opts []nats.Option) (s settings) {
	const check, do = "nats system account", "correct doctor.nats_system_user and its password; it must belong to the system account of nats.conf"
	opts = append(opts, nats.UserInfo(d.SystemUser, string(d.SystemPassword)), nats.CustomInboxPrefix("_OC_INBOX."+d.SystemUser))
	var err error
	for _, u := range d.Servers.URLs {
		var conn *nats.Conn
		if conn, err = nats.Connect(strings.TrimSpace(u), opts...); err != nil {
			continue
		}
		defer conn.Close()
		s.servers, err = answers(ctx, conn)
		if err == nil && len(s.servers) == 0 {
			err = errors.New("no server answers to this user")
		}
		if err == nil {
			return s
		}
	}
	s.found = append(s.found, finding.Bad(check, "cannot be asked: "+finding.Text(err), do))
	return s
}

func answers(ctx context.Context, conn *nats.Conn) (all []varz, err error) {
	inbox := conn.NewInbox()
	sub, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // the connection ends soon
	sent := time.Now()
	if err := conn.PublishRequest("$SYS.REQ.SERVER.PING.VARZ", inbox, nil); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		wait, cancel := context.WithTimeout(ctx, quiet)
		m, err := sub.NextMsgWithContext(wait)
		cancel()
		if err != nil { // none comes any more
			break
		}
		var a struct {
			Data varz `json:"data"`
		}
		if json.Unmarshal(m.Data, &a) == nil && a.Data.Name != "" {
			a.Data.sent, a.Data.got = sent, time.Now()
			all = append(all, a.Data)
		}
	}
	if err := conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return nil, err
	}
	return all, nil
}

// judge says whether the servers keep what the log promises.
func (d Diagnosis) judge(s settings) []finding.Finding {
	const check = "nats sync"
	if len(d.Monitors) == 0 && d.SystemUser == "" {
		return []finding.Finding{finding.Warn(check, "is not known: servers tell only operators whether messages are on the disk before they are acknowledged",
			"name the monitoring ports in doctor.nats_monitor (http://host:8222,…), or a user of the system account in doctor.nats_system_user")}
	}
	found := s.found
	for _, v := range s.servers {
		found = append(found, d.judgeServer(v)...)
	}
	if len(s.servers) > 0 && len(s.servers) < s.size {
		found = append(found, finding.Warn(check, fmt.Sprintf("is known of %d of %d servers", len(s.servers), s.size), "start the others, or name the monitoring ports of all in doctor.nats_monitor"))
	}
	return found
}

func (d Diagnosis) judgeServer(v varz) []finding.Finding {
	check := "nats sync " + v.Name
	c := v.JetStream.Config
	if c == nil {
		return []finding.Finding{finding.Bad("nats "+v.Name, "has JetStream off", "write a jetstream section into nats.conf")}
	}
	var found []finding.Finding
	switch {
	case c.SyncAlways:
		found = append(found, finding.Good(check, "always: what is acknowledged survives a power cut"))
	case d.SyncAlways:
		found = append(found, finding.Bad(check, fmt.Sprintf("every %s, and log.sync is always: a power cut loses acknowledged messages", c.SyncInterval),
			"set sync_interval: always in the jetstream section of nats.conf, or log.sync: interval if that may be lost"))
	default:
		found = append(found, finding.Good(check, "every %s, as log.sync: interval says; a power cut of most servers at once loses up to so much", c.SyncInterval))
	}
	if v.JetStream.Meta != nil && v.JetStream.Meta.Leader == "" {
		found = append(found, finding.Bad("nats "+v.Name, "knows no leader of JetStream", "start more than half of the servers"))
	}
	half := v.got.Sub(v.sent) / 2
	if !v.Now.IsZero() {
		if clock := finding.Clock("clock of NATS "+v.Name, v.Now.Sub(v.sent.Add(half)), half); clock.Level != finding.OK {
			found = append(found, clock)
		}
	}
	return append(found, d.judgeRoom(v)...)
}

// judgeRoom says whether a server may store its share of what the streams can grow to. The server reserves that when a
// stream is made, and refuses to make more.
func (d Diagnosis) judgeRoom(v varz) []finding.Finding {
	b := &Backbone{cfg: d.Config}
	logs := b.logConfig(0).MaxBytes
	disk := int64(d.Config.Partitions)*logs + 3*b.queueBytes(1<<30)
	memory := b.queueBytes(256 << 20)
	if v.JetStream.Meta != nil && v.JetStream.Meta.Size > d.Config.Replicas {
		share := int64(v.JetStream.Meta.Size)
		disk, memory = disk*int64(d.Config.Replicas)/share, memory*int64(d.Config.Replicas)/share
	}
	check := "nats room " + v.Name
	c := v.JetStream.Config
	switch {
	case c.MaxStore < disk:
		return []finding.Finding{finding.Bad(check, fmt.Sprintf("may store %s, the streams reserve %s", finding.Bytes(c.MaxStore), finding.Bytes(disk)),
			"raise max_file_store in nats.conf, or lower log.max_bytes (of each of log.partitions)")}
	case c.MaxMemory < memory:
		return []finding.Finding{finding.Bad(check, fmt.Sprintf("may keep %s in memory, the streams reserve %s", finding.Bytes(c.MaxMemory), finding.Bytes(memory)), "raise max_memory_store in nats.conf")}
	}
	return []finding.Finding{finding.Good(check, "may store %s, the streams reserve %s", finding.Bytes(c.MaxStore), finding.Bytes(disk))}
}
