package freeport_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/oceanchat/oceanchat/internal/freeport"
)

// Ports that are taken at the same time, by this process and by others, are all different, and can be listened on.
func TestTake(t *testing.T) {
	t.Parallel()
	const each = 40
	var mu sync.Mutex
	var all []string
	add := func(addrs []string, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err != nil || len(addrs) != each {
			t.Errorf("Take(%d) = %d addresses, %v", each, len(addrs), err)
		}
		all = append(all, addrs...)
	}
	if os.Getenv("FREEPORT_TEST_CHILD") != "" {
		addrs, err := freeport.Take(each)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = os.Stdout.WriteString(strings.Join(addrs, " ") + "\n")
		_, _ = os.Stdin.Read(make([]byte, 1)) // hold them until the parent has seen all
		return
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { add(freeport.Take(each)) })
		wg.Go(func() { add(child(t)) })
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, a := range all {
		if seen[a] {
			t.Errorf("%s was given twice", a)
		}
		seen[a] = true
		l, err := net.Listen("tcp", a)
		if err != nil {
			t.Errorf("listen on %s: %v", a, err)
			continue
		}
		_ = l.Close()
	}
}

// child takes ports in a process that lives until the test ends.
func child(t *testing.T) ([]string, error) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTake$")
	cmd.Env = append(os.Environ(), "FREEPORT_TEST_CHILD=1")
	hold, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = hold.Close(); _ = cmd.Wait() })
	buf := make([]byte, 8<<10)
	n, err := out.Read(buf)
	line, _, _ := strings.Cut(string(buf[:n]), "\n")
	return strings.Fields(line), err
}
