package oceanchat_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/store"
)

var update = flag.Bool("update", false, "write what the scripts print into testdata")

// TestScripts plays testdata/*.txt: steps, each with what it prints behind "----". Words of a step:
//
//	start NAME, stop NAME              a client; it has the same store each time
//	rules                              the lines below are fakeserver.Parse's
//	send NAME TARGET TEXT              waits for the acknowledgement; enqueue does not
//	append CONVERSATION USER TEXT      as if from a device that is no client
//	wait DURATION, cut, close CODE [RETRYAFTER], expire, revoke USER, lose-log CONVERSATION SEQ
//	state NAME, entries NAME, outbox NAME, unread NAME, log CONVERSATION, requests METHOD
//
// A target is @USER or #GROUP.
func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				text, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				s := &stage{w: w, t: t, clients: map[string]*oceanchat.Client{}, inboxes: map[string]*inbox{}, stores: map[string]store.Store{}}
				w.srv.AddGroup("all", "u1", "u2", "u3")
				got := s.play(string(text))
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
						t.Fatal(err)
					}
					return
				}
				if d := cmp.Diff(strings.Split(string(text), "\n"), strings.Split(got, "\n")); d != "" {
					t.Errorf("%s, renewed by 'go test -run TestScripts -update' (-want +got):\n%s", file, d)
				}
			})
		})
	}
}

// stage is where a script plays.
type stage struct {
	w       *world
	t       *testing.T
	clients map[string]*oceanchat.Client
	inboxes map[string]*inbox
	stores  map[string]store.Store
}

// play returns the script with what its steps print now.
func (s *stage) play(script string) string {
	var out strings.Builder
	var step []string
	printed := false // what an earlier run printed is left out
	for line := range strings.SplitSeq(strings.TrimSuffix(script, "\n"), "\n") {
		switch {
		case line == "----":
			fmt.Fprintf(&out, "%s\n----\n%s", strings.Join(step, "\n"), s.step(step))
			step, printed = nil, true
		case line == "" || strings.HasPrefix(line, "#") && len(step) == 0:
			printed = false
			out.WriteString(line + "\n")
		case !printed:
			step = append(step, line)
		}
	}
	return out.String()
}

// step does one step and returns what it prints.
func (s *stage) step(lines []string) string {
	w := append(strings.SplitN(lines[0], " ", 4), "", "", "")
	switch w[0] {
	case "rules":
		s.w.srv.Play(strings.Join(lines[1:], "\n"))
	case "append":
		s.w.srv.Append(w[1], w[2], w[3])
	case "wait":
		d, err := time.ParseDuration(w[1])
		if err != nil {
			s.t.Fatalf("wait: %v", err)
		}
		time.Sleep(d)
	case "cut":
		s.w.srv.CutAll()
	case "close":
		code, _ := strconv.Atoi(w[1])
		after, _ := time.ParseDuration(w[2])
		s.w.srv.CloseAll(code, after)
	case "expire":
		s.w.srv.ExpireTokens()
	case "revoke":
		s.w.srv.EndSessions(w[1])
	case "lose-log":
		above, _ := strconv.ParseUint(w[2], 10, 64)
		s.w.srv.LoseLog(w[1], above, true)
	case "log":
		return s.log(w[1])
	case "requests":
		return fmt.Sprintln(s.w.srv.Requests(w[1]))
	default:
		return s.client(w)
	}
	synctest.Wait()
	return ""
}

// client does a step of one client.
func (s *stage) client(w []string) string {
	name := w[1]
	if w[0] == "start" {
		return s.start(name)
	}
	c := s.clients[name]
	if c == nil {
		s.t.Fatalf("%s: no client %q", w[0], name)
	}
	switch w[0] {
	case "stop":
		c.Close()
		return ""
	case "send", "enqueue":
		return s.send(c, w[0] == "send", w[2], w[3])
	case "state":
		return strings.TrimSpace(fmt.Sprint(c.State().Phase, " ", c.State().Reason)) + "\n"
	case "entries":
		return s.entries(name)
	case "outbox":
		return outboxLines(c)
	case "unread":
		return unreadLines(c)
	}
	s.t.Fatalf("unknown step %q", w[0])
	return ""
}

func (s *stage) start(name string) string {
	if s.stores[name] == nil {
		s.stores[name] = store.NewMemory()
	}
	o := s.w.options(name)
	o.Store = s.stores[name]
	c := s.w.client(o)
	s.clients[name] = c
	if err := c.Start(s.t.Context()); err != nil {
		return err.Error() + "\n"
	}
	s.inboxes[name] = listen(s.t.Context(), c, oceanchat.Resume("script"))
	return fmt.Sprintln(c.State().Phase)
}

func (s *stage) send(c *oceanchat.Client, wait bool, target, text string) string {
	to := oceanchat.User("u" + strings.TrimLeft(target, "@u"))
	if group, ok := strings.CutPrefix(target, "#"); ok {
		to = oceanchat.Group(group)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Hour)
	defer cancel()
	if !wait {
		if _, err := c.Conversation(to).Enqueue(ctx, oceanchat.Text(text)); err != nil {
			return err.Error() + "\n"
		}
		return ""
	}
	r, err := c.Conversation(to).Send(ctx, oceanchat.Text(text))
	if err != nil {
		return err.Error() + "\n"
	}
	return fmt.Sprintf("%s/%d\n", r.ConversationID, r.Seq)
}

func (s *stage) log(conversation string) string {
	var out strings.Builder
	for _, e := range s.w.srv.Log(conversation) {
		fmt.Fprintf(&out, "%d %s %s\n", e.GetSeq(), e.GetSenderId(), e.GetText().GetText())
	}
	return out.String()
}

// entries prints what a loop has got since it was last asked.
func (s *stage) entries(name string) string {
	synctest.Wait()
	lines := map[string]*strings.Builder{}
	for in := s.inboxes[name]; len(in.entries) > 0; {
		e := <-in.entries
		id := e.GetConversationId()
		if lines[id] == nil {
			lines[id] = &strings.Builder{}
		}
		fmt.Fprintf(lines[id], "%s/%d %s\n", id, e.GetSeq(), e.GetText().GetText())
	}
	var out strings.Builder
	for _, id := range slices.Sorted(maps.Keys(lines)) {
		out.WriteString(lines[id].String())
	}
	return out.String()
}

func outboxLines(c *oceanchat.Client) string {
	var out strings.Builder
	for _, q := range c.Outbox() {
		reason := "queued"
		if q.Err != nil {
			reason = q.Err.Reason
		}
		fmt.Fprintln(&out, q.Request.GetText().GetText(), reason)
	}
	return out.String()
}

func unreadLines(c *oceanchat.Client) string {
	var lines []string
	for _, info := range c.Conversations() {
		lines = append(lines, fmt.Sprintf("%s %d\n", info.GetConversationId(), info.GetUnread()))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}
