package local

import "testing"

// A shell reads back the words that it was made of.
func TestCommand(t *testing.T) {
	t.Parallel()
	p := &Process{path: "/opt/nats server", args: []string{"-c", "/tmp/a.conf", "", "it's", "$HOME"}}
	const want = `'/opt/nats server' -c /tmp/a.conf '' 'it'\''s' '$HOME'`
	if got := p.Command(); got != want {
		t.Errorf("Command = %s; want %s", got, want)
	}
}
