package system

import (
	"io"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// chatter is a running "oceanchat chat" without a terminal.
type chatter struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *output
	done chan error
}

func (s *server) chat(t *testing.T, name string, args ...string) *chatter {
	t.Helper()
	c := &chatter{t: t, out: &output{}, done: make(chan error, 1)}
	c.cmd = exec.Command(binary, append([]string{"chat", "--addr", s.base, "--user", name}, args...)...)
	c.cmd.Env = append(c.cmd.Environ(), "OCEANCHAT_PASSWORD=password of "+name)
	c.cmd.Stdout, c.cmd.Stderr = c.out, c.out
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() { _ = c.cmd.Process.Kill() })
	return c
}

func (c *chatter) types(lines ...string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, strings.Join(lines, "\n")+"\n"); err != nil {
		c.t.Fatalf("type %q: %v\n%s", lines, err, c.out.String())
	}
}

func (c *chatter) sees(pattern string) {
	c.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	for deadline := time.Now().Add(30 * time.Second); !re.MatchString(c.out.String()); pause() {
		if time.Now().After(deadline) {
			c.t.Fatalf("no line matches %q in:\n%s", pattern, c.out.String())
		}
	}
}

// leaves ends the input and wants exit code 0.
func (c *chatter) leaves() {
	c.t.Helper()
	_ = c.in.Close()
	select {
	case err := <-c.done:
		if err != nil {
			c.t.Errorf("chat ended with %v; want exit code 0\n%s", err, c.out.String())
		}
	case <-time.After(time.Minute):
		c.t.Fatalf("chat did not end\n%s", c.out.String())
	}
}

// Two newcomers with nothing but the binary register, talk to each other, make a group and leave.
func TestChatBetweenTwo(t *testing.T) {
	s := start(t)
	s.chat(t, "bob", "--register").leaves()
	ann := s.chat(t, "ann", "--register", "--to", "bob")
	ann.sees(`^\* talking to bob$`)
	ann.types("hello bob", "are you there?")
	ann.sees(`^\d\d:\d\d ann: are you there\?$`)

	bob := s.chat(t, "bob")
	bob.sees(`^  1 ann \(2 unread\)$`)
	bob.types("/open ann")
	bob.sees(`^\d\d:\d\d ann: hello bob\n\d\d:\d\d ann: are you there\?$`)
	bob.types("yes, always")
	ann.sees(`^\d\d:\d\d bob: yes, always$`)

	ann.types("/group Team bob", "welcome")
	ann.sees(`^\d\d:\d\d \* ann made this group with bob$`)
	bob.sees(`^\* 1 unread in #Team$`)
	bob.types("/open #Team", "thanks", "/who")
	bob.sees(`^\d\d:\d\d ann: welcome$`)
	bob.sees(`^  ann, owner, online$`)
	ann.sees(`^\d\d:\d\d bob: thanks$`)
	ann.types("/history 1")
	ann.leaves()
	bob.types("/list", "/quit")
	bob.leaves()
	bob.sees(`^  2 ann$`) // nothing unread is left
	if got := strings.Count(ann.out.String(), "bob: thanks"); got != 2 {
		t.Errorf("ann was shown a message %d times; want once as it came and once as history:\n%s", got, ann.out.String())
	}
}
