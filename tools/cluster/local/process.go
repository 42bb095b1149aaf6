package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// How long a process that was told to end may take before it is killed, and how long the rest of its group may.
const (
	endWithin  = 60 * time.Second
	lastOfKind = 2 * time.Second
)

// Process is one process of a cluster. It can be ended and started again, always with the same addresses, settings and
// files, and with another binary if Use says so. Its methods are safe for concurrent use; its exported fields do not change.
type Process struct {
	Name    string   // "nats-2", "auth-1"
	Targets []string // of a service; nil for a part
	Log     string   // path of the file with all that it prints

	Addr string // where a part serves its clients
	Ops  string // ops.addr of a service, host:port; the monitoring port of NATS
	GRPC string // grpc.addr of a service
	HTTP string // http.addr of an api-gateway
	WS   string // where a ws-gateway serves /ws
	TCP  string // tcp.addr of a ws-gateway

	args  []string
	check func(ctx context.Context, p *Process) error // tells why it is not ready

	mu   sync.Mutex // guards below
	path string
	env  []string
	now  *run
}

// run is one life of a process.
type run struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended; code is set then
	code int

	asked atomic.Bool // it was told to end
}

// Start starts the process and returns at once; Ready waits for it. It is an error if it runs already.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now != nil && p.now.running() {
		return fmt.Errorf("start %s: it runs already", p.Name)
	}
	if err := os.MkdirAll(filepath.Dir(p.Log), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own
	cmd := exec.Command(p.path, p.args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, log, log
	tie(cmd)
	r := &run{cmd: cmd, done: make(chan struct{})}
	if err := r.start(); err != nil {
		return fmt.Errorf("start %s: %w", p.Name, err)
	}
	p.now = r
	return nil
}

// Use lets the process run another binary from its next start on: to test versions side by side.
func (p *Process) Use(binary string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.path = binary
}

// start runs the process from a thread that waits for it: Linux ends a child that is tied to its parent when the thread
// that made it ends, and Go may end threads at any time but this one.
func (r *run) start() error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := r.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = r.cmd.Wait() // its code tells
		r.code = r.cmd.ProcessState.ExitCode()
		close(r.done)
	}()
	return <-started
}

func (r *run) running() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// current returns the present or last life, nil before the first.
func (p *Process) current() *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// Running tells whether the process lives; a paused one does.
func (p *Process) Running() bool {
	r := p.current()
	return r != nil && r.running()
}

// PID returns the id of the process, or that of its last life; 0 before the first.
func (p *Process) PID() int {
	if r := p.current(); r != nil {
		return r.cmd.Process.Pid
	}
	return 0
}

// Kill ends the process as the kernel does when memory is short, and waits until it is gone.
func (p *Process) Kill() {
	r := p.current()
	if r == nil {
		return
	}
	r.asked.Store(true)
	if r.running() {
		_ = signal(r.cmd, syscall.SIGKILL)
		<-r.done
	}
	reap(r.cmd)
}

// Terminate asks the process to end with SIGTERM, waits, and returns its exit code. One that does not end within a minute
// is killed, which is an error, and so is one that ended before without Kill or Terminate.
func (p *Process) Terminate() (int, error) {
	r := p.current()
	if r == nil {
		return 0, nil
	}
	defer reap(r.cmd)
	asked := r.asked.Swap(true)
	if !r.running() {
		if !asked {
			return r.code, fmt.Errorf("%s ended by itself with code %d; the end of its log:\n%s", p.Name, r.code, p.Tail(3000))
		}
		return r.code, nil
	}
	_ = signal(r.cmd, syscall.SIGTERM)
	_ = resume(r.cmd) // a paused one would not notice
	select {
	case <-r.done:
		return r.code, nil
	case <-time.After(endWithin):
	}
	_ = signal(r.cmd, syscall.SIGKILL)
	<-r.done
	return r.code, fmt.Errorf("%s did not end within %s of SIGTERM and was killed", p.Name, endWithin)
}

// Pause stops the process from running without ending it, as a machine does that hangs.
func (p *Process) Pause() error { return p.send(pause) }

// Continue ends a Pause.
func (p *Process) Continue() error { return p.send(resume) }

func (p *Process) send(how func(*exec.Cmd) error) error {
	r := p.current()
	if r == nil || !r.running() {
		return fmt.Errorf("%s does not run", p.Name)
	}
	return how(r.cmd)
}

// Wait waits until the process has ended by itself or by a signal, and returns its exit code; -1 after a signal.
func (p *Process) Wait(ctx context.Context) (int, error) {
	r := p.current()
	if r == nil {
		return 0, fmt.Errorf("%s was never started", p.Name)
	}
	select {
	case <-r.done:
		return r.code, nil
	case <-ctx.Done():
		return 0, fmt.Errorf("%s has not ended: %w", p.Name, context.Cause(ctx))
	}
}

// Restart ends the process as Terminate does if it runs, starts it and waits until it is ready.
func (p *Process) Restart(ctx context.Context) error {
	if p.Running() {
		if _, err := p.Terminate(); err != nil {
			return err
		}
	}
	if err := p.Start(); err != nil {
		return err
	}
	return p.Ready(ctx)
}

// Ready waits until the process is ready. Its error tells why it is not, with the end of its log.
func (p *Process) Ready(ctx context.Context) error {
	r := p.current()
	if r == nil {
		return fmt.Errorf("%s was never started", p.Name)
	}
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := p.check(once, p)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-r.done:
			return fmt.Errorf("%s ended with code %d before it was ready; the end of %s:\n%s", p.Name, r.code, p.Log, p.Tail(3000))
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w (%w); the end of %s:\n%s", p.Name, err, context.Cause(ctx), p.Log, p.Tail(3000))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Tail returns the last n bytes of the log.
func (p *Process) Tail(n int64) string {
	f, err := os.Open(p.Log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err.Error()
	}
	buf := make([]byte, min(n, info.Size()))
	read, _ := f.ReadAt(buf, info.Size()-int64(len(buf)))
	return string(buf[:read])
}

// errOther ends the wait for processes when another one has ended.
var errOther = errors.New("another process ended")

// startAll starts processes and waits until all are ready, or one has ended. Those that it started run on if there is an
// error.
func startAll(ctx context.Context, list []*Process) error {
	for _, p := range list {
		if err := p.Start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		wg.Go(func() {
			errs[i] = p.Ready(ctx)
			if errs[i] != nil && !p.Running() {
				cancel(errOther)
			}
		})
	}
	wg.Wait()
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, errOther) })...)
}

// endAll ends processes side by side. It is an error if a service that ran ends with another code
// than 0; not every part handles SIGTERM.
func endAll(list []*Process) error {
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		wg.Go(func() {
			ran := p.Running()
			code, err := p.Terminate()
			if err == nil && ran && code != 0 && p.Targets != nil {
				err = fmt.Errorf("%s ended with code %d", p.Name, code)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// killAll ends processes at once.
func killAll(list []*Process) {
	var wg sync.WaitGroup
	for _, p := range list {
		wg.Go(p.Kill)
	}
	wg.Wait()
}
