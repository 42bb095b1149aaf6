package system

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oceanchat/oceanchat/internal/delivery/pusheroffline/vendortest"
	"github.com/oceanchat/oceanchat/test/client"
)

// report is what 'oceanchat trace --json' prints.
type report struct {
	MessageID string `json:"messageId"`
	Steps     []step `json:"steps"`
	Processes []struct {
		Name  string    `json:"name"`
		Since time.Time `json:"since"`
	} `json:"processes"`
	Problem string `json:"problem"`
}

type step struct {
	At       time.Time `json:"at"`
	Stage    string    `json:"stage"`
	Process  string    `json:"process"`
	UserID   string    `json:"userId"`
	DeviceID string    `json:"deviceId"`
	Via      string    `json:"via"`
	Detail   string    `json:"detail"`
	Count    int       `json:"count"`
}

// trace runs 'oceanchat trace' and returns its exit code and what it printed.
func (s *server) trace(args ...string) (code int, out, errs string) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), binary, append([]string{"trace", "--ops", s.ops}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(stdout), stderr.String()
}

// journey returns what is known of a message.
func (s *server) journey(id string) (r report) {
	s.t.Helper()
	code, out, _ := s.trace("--json", id)
	if err := json.Unmarshal([]byte(out), &r); err != nil && code == 0 {
		s.t.Fatalf("trace --json %s = %d, %q: %v", id, code, out, err)
	}
	return r
}

// of returns the stages of a user, or of nobody, in the order of time.
func (r report) of(user string) (out []string) {
	for _, st := range r.Steps {
		if st.UserID == user {
			out = append(out, st.Stage)
		}
	}
	return out
}

func (r report) has(user string, stages ...string) bool {
	got := r.of(user)
	return !slices.ContainsFunc(stages, func(s string) bool { return !slices.Contains(got, s) })
}

// Where a message went is shown stage by stage: to a device that is on line, one that takes the message and says so, one
// that does not say so, and phones that are rung up; and the command says what nobody knows.
func TestTraceCommand(t *testing.T) {
	apple, google := vendortest.NewAPNs(t), vendortest.NewFCM(t)
	s := start(t, append(pushFlags(apple, google, apple.CAFile, google.CAFile), "--ws-gateway-ack-window", "1s")...)
	ann, bob, cat, dan, eve := s.user("ann"), s.user("bob"), s.user("cat"), s.user("dan"), s.user("eve")
	register(t, dan, client.Object{
		"provider": "apns", "token": strings.Repeat("0123456789abcdef", 4), "appId": apple.Topic, "environment": "production", "language": "en",
	})
	a, b, _ := connect(t, ann), connect(t, bob), connect(t, cat)
	var made struct{ Group struct{ GroupID string } }
	if err := a.Call(t.Context(), "group.create", client.Object{"name": "SECRETNAME", "memberIds": []string{bob.ID, cat.ID, dan.ID, eve.ID}}, &made); err != nil {
		t.Fatal(err)
	}
	var sent struct{ MessageID, ConversationID string }
	err := a.Call(t.Context(), "message.send", client.Object{
		"clientMsgId": "m1", "groupId": made.Group.GroupID, "text": client.Object{"text": "SECRETTEXT"},
	}, &sent)
	if err != nil {
		t.Fatal(err)
	}
	for {
		n, e, err := b.NextEntry(within(t, 20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Send(client.Object{"jsonrpc": "2.0", "method": "ack", "params": client.Object{"n": n}}); err != nil {
			t.Fatal(err)
		}
		if e.MessageID == sent.MessageID {
			break
		}
	}
	var r report
	eventually(t, "every stage is known", func() bool {
		r = s.journey(sent.MessageID)
		return r.has(ann.ID, "accepted", "committed") && r.has("", "stored", "handed") &&
			r.has(bob.ID, "routed", "pushed", "acknowledged") && r.has(cat.ID, "routed", "pushed", "handed back") &&
			r.has(dan.ID, "offline", "ringing", "answered") && r.has(eve.ID, "offline", "skipped")
	})
	checkJourney(t, r, dan)
	code, table, _ := s.trace(sent.MessageID)
	for _, want := range []string{sent.MessageID, sent.ConversationID, bob.ID + " / " + bob.Device, "acknowledged +", "answered apns (accepted) +", "skipped (no token) +"} {
		if code != 0 || !strings.Contains(table, want) {
			t.Errorf("trace = %d and lacks %q:\n%s", code, want, table)
		}
	}
	whole, _ := json.Marshal(r)
	for _, secret := range []string{"SECRET", "0123456789abcdef0123", "ann.", ann.Token} {
		if strings.Contains(table+string(whole), secret) {
			t.Errorf("the trace tells %q", secret)
		}
	}

	other := strings.Repeat("0", 13) + "5"
	if code, _, errs := s.trace(other); code != 1 || !strings.Contains(errs, "Nobody knows message "+other) {
		t.Errorf("trace of an unknown message = %d, %q; want 1 and a line", code, errs)
	}
	if code, _, errs := s.trace("no-id"); code != 2 || !strings.Contains(errs, "no message's id") {
		t.Errorf("trace no-id = %d, %q; want 2 and a line", code, errs)
	}
}

func checkJourney(t *testing.T, r report, dan *client.User) {
	t.Helper()
	if len(r.Processes) == 0 || r.Problem != "" {
		t.Errorf("processes = %+v, problem %q; want some, none", r.Processes, r.Problem)
	}
	if !slices.IsSortedFunc(r.Steps, func(a, b step) int { return a.At.Compare(b.At) }) {
		t.Error("the steps are not in the order of time")
	}
	for _, st := range r.Steps {
		switch {
		case st.Process == "":
			t.Errorf("%+v has no process", st)
		case st.Stage == "answered" && (st.UserID != dan.ID || st.DeviceID != dan.Device || st.Via != "apns" || st.Detail != "accepted"):
			t.Errorf("the vendor's answer is %+v; want accepted by apns for dan's device", st)
		}
	}
}

// A process that remembers nothing says so.
func TestTraceCommandOff(t *testing.T) {
	s := start(t, "--journey-events", "0")
	ann, bob := s.user("ann"), s.user("bob")
	var sent struct{ MessageID string }
	if err := connect(t, ann).Call(t.Context(), "message.send", client.Object{
		"clientMsgId": "m1", "toUserId": bob.ID, "text": client.Object{"text": "hi"},
	}, &sent); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := s.trace(sent.MessageID); code != 1 || !strings.Contains(errs, "journey.events is 0") {
		t.Errorf("trace = %d, %q; want 1 and the setting named", code, errs)
	}
}

// A message's spans are one trace below one root from the log to the vendor, over the queue of tasks: every stage knows
// the ids by the message's, and nothing has to be carried along.
func TestTraceToAPhone(t *testing.T) {
	apple, google := vendortest.NewAPNs(t), vendortest.NewFCM(t)
	traces := newCollector(t)
	s := start(t, append(pushFlags(apple, google, apple.CAFile, google.CAFile), "--traces-endpoint", traces.URL, "--traces-sample", "1")...)
	ann, dan := s.user("ann"), s.user("dan")
	phone := strings.Repeat("0123456789abcdef", 4)
	register(t, dan, client.Object{"provider": "apns", "token": phone, "appId": apple.Topic, "environment": "production", "language": "en"})
	a := connect(t, ann)
	var sent struct{ MessageID string }
	err := a.Call(t.Context(), "message.send", client.Object{"clientMsgId": "m1", "toUserId": dan.ID, "text": client.Object{"text": "hi"}}, &sent)
	if err != nil {
		t.Fatal(err)
	}
	const key = "oceanchat.message_id"
	eventually(t, "the vendor's span and the root are exported", func() bool {
		return len(traces.find("message offline push apns", key, sent.MessageID)) > 0 && len(traces.find("message append", key, sent.MessageID)) > 0
	})
	a.Close()
	if code := s.stop(); code != 0 {
		t.Errorf("exit code = %d; want 0", code)
	}
	root := traces.find("message append", key, sent.MessageID)[0]
	for _, stage := range []string{"orchestrated", "stored", "offline push apns"} {
		for _, span := range traces.find("message "+stage, key, sent.MessageID) {
			if !bytes.Equal(span.GetTraceId(), root.GetTraceId()) || !bytes.Equal(span.GetParentSpanId(), root.GetSpanId()) {
				t.Errorf("%s: %s is not below the message's append", span.service, span.GetName())
			}
		}
	}
	contains(t, "the message's way", traces.trace(root.GetTraceId()),
		"oceanchat-message: message append", "oceanchat-orchestrator: message orchestrated",
		"oceanchat-persistence: message stored", "oceanchat-pusher-offline: message offline push apns")
}
