package system

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/sqlitestore"
)

// whereabouts is where the server is now: it comes back on other ports.
type whereabouts struct{ http, tcp atomic.Value }

func (p *whereabouts) moved(s *server) {
	p.http.Store(strings.TrimPrefix(s.base, "http://"))
	p.tcp.Store(s.tcp)
}

func (p *whereabouts) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	at := &p.http
	if strings.HasPrefix(addr, "tcp.invalid:") {
		at = &p.tcp
	}
	return (&net.Dialer{}).DialContext(ctx, network, at.Load().(string))
}

// sdkClient is a client with a loop over its entries.
type sdkClient struct {
	*oceanchat.Client
	name    string
	entries chan *messagev1.Entry
	ended   chan struct{}
}

func (p *whereabouts) sdk(t *testing.T, name, tcp, file string) *sdkClient {
	t.Helper()
	st, err := sqlitestore.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := oceanchat.New(oceanchat.Options{
		URL: "http://ocean.invalid", TCP: tcp, DialContext: p.dial, Username: name, Password: "password of " + name, DeviceID: "sdk-" + name, Store: st,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(within(t, 30*time.Second)); err != nil {
		t.Fatalf("%s starts: %v", name, err)
	}
	k := &sdkClient{c, name, make(chan *messagev1.Entry, 10_000), make(chan struct{})}
	go func() {
		defer close(k.ended)
		for e, err := range c.Entries(context.Background(), oceanchat.Resume("test")) {
			if err != nil {
				return
			}
			k.entries <- e
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-k.ended
		_ = st.Close()
	})
	return k
}

// The SDK against the real binary, one client by WebSocket and one by TCP: the server is killed while both send. Each
// message is in the log once and in its sender's order, and both get the whole log in its order, each entry once.
func TestSDKThroughKills(t *testing.T) {
	s := start(t)
	p := &whereabouts{}
	p.moved(s)
	rest := oceanchat.REST{URL: s.base}
	ids := map[string]string{}
	for _, name := range []string{"ann", "bob"} {
		u, err := rest.Register(t.Context(), name, "password of "+name, "")
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = u.GetUserId()
	}
	ann := p.sdk(t, "ann", "", filepath.Join(t.TempDir(), "ann.db"))
	bob := p.sdk(t, "bob", "tcp://tcp.invalid:1", filepath.Join(t.TempDir(), "bob.db"))
	made := &groupv1.GroupResponse{}
	if err := ann.Call(within(t, 30*time.Second), "group.create", &groupv1.CreateRequest{Name: "G", MemberIds: []string{ids["bob"]}}, made); err != nil {
		t.Fatal(err)
	}
	group := made.GetGroup().GetGroupId()

	const rounds, each = 3, 60
	for round := range rounds {
		var last []*oceanchat.Outgoing
		for i := range each {
			for _, k := range []*sdkClient{ann, bob} {
				out, err := k.Conversation(oceanchat.Group(group)).Enqueue(t.Context(), oceanchat.Text(fmt.Sprintf("%s %d", k.name, round*each+i)))
				if err != nil {
					t.Fatal(err)
				}
				last = append(last, out)
			}
		}
		if _, err := last[(round+1)*each/4].Wait(within(t, 30*time.Second)); err != nil { // in the middle of it
			t.Fatal(err)
		}
		s.kill()
		s.up()
		p.moved(s)
		for _, out := range last {
			if _, err := out.Wait(within(t, time.Minute)); err != nil {
				t.Fatalf("round %d: %s was not acknowledged: %v", round, out.ID(), err)
			}
		}
	}
	var logs [2][]string
	for i, k := range []*sdkClient{ann, bob} {
		logs[i] = k.log(t, "g~"+group, 1+2*rounds*each)
	}
	if !slices.Equal(logs[0], logs[1]) {
		t.Errorf("ann and bob received different logs:\n%q\n%q", logs[0], logs[1])
	}
	next := map[string]int{}
	for _, text := range logs[0][1:] { // behind the notice of the group's creation
		name, _, _ := strings.Cut(text, " ")
		if want := fmt.Sprintf("%s %d", name, next[name]); text != want {
			t.Fatalf("the log has %q; want %q next", text, want)
		}
		next[name]++
	}
	for _, k := range []*sdkClient{ann, bob} {
		if got := k.Outbox(); len(got) != 0 {
			t.Errorf("outbox of %s = %d; want 0", k.name, len(got))
		}
	}
}

// log collects n entries of a conversation, which must come in the order of their seqs.
func (k *sdkClient) log(t *testing.T, conversation string, n int) []string {
	t.Helper()
	var texts []string
	for ctx := within(t, time.Minute); len(texts) < n; {
		select {
		case e := <-k.entries:
			if e.GetConversationId() != conversation {
				continue
			}
			if want := uint64(len(texts)) + 1; e.GetSeq() != want {
				t.Fatalf("%s received seq %d; want %d", k.name, e.GetSeq(), want)
			}
			texts = append(texts, e.GetText().GetText())
		case <-k.ended:
			t.Fatalf("the loop of %s ended: %+v", k.name, k.State())
		case <-ctx.Done():
			t.Fatalf("%s received %d entries; want %d; state %+v", k.name, len(texts), n, k.State())
		}
	}
	select {
	case e := <-k.entries:
		t.Errorf("%s received one entry too many: %s/%d", k.name, e.GetConversationId(), e.GetSeq())
	default:
	}
	return texts
}

// A message with an id that the application named is there once, also when a process with an empty Store sends it again
// after the server has forgotten the id (MSG-2).
func TestSDKNamedMessageAfterItsIDIsForgotten(t *testing.T) {
	s := start(t, "--log-ids", "1000", "--log-sync", "interval")
	rest := oceanchat.REST{URL: s.base}
	ids := map[string]string{}
	for _, name := range []string{"ann", "bob"} {
		u, err := rest.Register(t.Context(), name, "password of "+name, "")
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = u.GetUserId()
	}
	var seqs []uint64
	for range 2 {
		ann, err := oceanchat.New(oceanchat.Options{URL: s.base, Username: "ann", Password: "password of ann", DeviceID: "bot"})
		if err != nil {
			t.Fatal(err)
		}
		if err := ann.Start(within(t, 30*time.Second)); err != nil {
			t.Fatal(err)
		}
		to := ann.Conversation(oceanchat.User(ids["bob"]))
		r, err := to.Send(within(t, 30*time.Second), oceanchat.Message{Text: "due", ID: "invoice-1"})
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, r.Seq)
		for range 1500 {
			if _, err := to.Enqueue(t.Context(), oceanchat.Text("another")); err != nil {
				t.Fatal(err)
			}
		}
		if err := ann.Flush(within(t, time.Minute)); err != nil {
			t.Fatal(err)
		}
		ann.Close()
	}
	if seqs[0] != 1 || seqs[1] != 1 {
		t.Errorf("the message stands at %d and then at %d; want 1 both times", seqs[0], seqs[1])
	}
}
