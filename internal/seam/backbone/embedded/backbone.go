package embedded

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/jetstream"
)

// InProcessConn implements nats.InProcessConnProvider.
func (d door) InProcessConn() (net.Conn, error) {
	d.s.mu.Lock()
	srv := d.s.life.srv
	d.s.mu.Unlock()
	return srv.InProcessConn()
}

func (s *Server) running() (*jetstream.Backbone, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.js == nil {
		return nil, errNotRunning
	}
	return s.js, nil
}

// Log implements backbone.Backbone.
func (s *Server) Log(ctx context.Context, partition int) (backbone.Log, error) {
	js, err := s.running()
	if err != nil {
		return nil, err
	}
	l, err := js.Log(ctx, partition)
	if err != nil {
		return nil, err
	}
	if err := s.settle(backbone.LogStream(partition)); err != nil {
		return nil, err
	}
	return &guardedLog{Log: l, s: s}, nil
}

// Queue implements backbone.Backbone. The queue for connected devices is a hand-over in memory.
func (s *Server) Queue(ctx context.Context, name backbone.QueueName) (backbone.Queue, error) {
	js, err := s.running()
	if err != nil {
		return nil, err
	}
	if name == backbone.PushOnline {
		if err := js.OpenDead(ctx); err != nil {
			return nil, err
		}
		if err := s.settle(backbone.DeadStream); err != nil {
			return nil, err
		}
		return s.online, nil
	}
	q, err := js.Queue(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := s.settle(name.Stream()); err != nil {
		return nil, err
	}
	return &guardedQueue{Queue: q, s: s}, nil
}

// Logs implements backbone.Keeper.
func (s *Server) Logs(ctx context.Context) (map[int]int, error) {
	js, err := s.running()
	if err != nil {
		return nil, err
	}
	return js.Logs(ctx)
}

// Declare implements backbone.Keeper.
func (s *Server) Declare(ctx context.Context, partition, of int) error {
	js, err := s.running()
	if err != nil {
		return err
	}
	return js.Declare(ctx, partition, of)
}

// Drop implements backbone.Keeper.
func (s *Server) Drop(ctx context.Context, partition int) error {
	js, err := s.running()
	if err != nil {
		return err
	}
	return js.Drop(ctx, partition)
}

// Publish implements backbone.Backbone.
func (s *Server) Publish(subject string, data []byte) error {
	js, err := s.running()
	if err != nil {
		return err
	}
	return js.Publish(subject, data)
}

// Subscribe implements backbone.Backbone.
func (s *Server) Subscribe(subject, group string, fn func(string, []byte)) (func(), error) {
	js, err := s.running()
	if err != nil {
		return nil, err
	}
	return js.Subscribe(subject, group, fn)
}

// OnReconnect implements backbone.Backbone: the connection is within this process and never lost for long enough that a
// signal would be.
func (s *Server) OnReconnect(func()) (stop func()) { return func() {} }

// Writable implements backbone.Backbone.
func (s *Server) Writable(ctx context.Context) error {
	if _, err := s.enter(0); err != nil {
		return err
	}
	js, err := s.running()
	if err != nil {
		return err
	}
	return js.Writable(ctx)
}

func (s *Server) bury(ctx context.Context, t backbone.Task, cause error) error {
	js, err := s.running()
	if err != nil {
		return err
	}
	return js.Bury(ctx, backbone.PushOnline, t, nil, cause)
}

// guardedLog is a log that is asked to write only while the disk can take it.
type guardedLog struct {
	backbone.Log
	s *Server
}

// resolveTimeout bounds the wait for a server that starts again.
const resolveTimeout = 5 * time.Second

// Append refuses while the gate is closed. When the server is given up while a message is on its
// way, JetStream has no answer for it; then the restarted server knows: nothing else can have been
// written meanwhile, as the gate is closed.
func (l *guardedLog) Append(ctx context.Context, data []byte, expect uint64) (uint64, error) {
	life, err := l.s.enter(len(data))
	if err != nil {
		return 0, fmt.Errorf("append after %d: %w", expect, err)
	}
	actx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life.ctx, cancel)()
	seq, err := l.Log.Append(actx, data, expect)
	if err == nil || backbone.Definite(err) || life.ctx.Err() == nil {
		return seq, err
	}
	rctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	select {
	case <-life.over:
	case <-rctx.Done():
		return 0, err
	}
	if l.decided(rctx, expect) {
		return 0, fmt.Errorf("append after %d: not stored, the storage failed: %w", expect, backbone.ErrFull)
	}
	return 0, err
}

// decided tells whether the message after expect is certainly not stored.
func (l *guardedLog) decided(ctx context.Context, expect uint64) bool {
	for ctx.Err() == nil {
		// A question may still go out on the connection that ends, and would get no answer.
		try, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		i, err := l.Info(try)
		cancel()
		if err == nil {
			return i.Last == expect
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	return false
}

// guardedQueue is a queue that is asked to write only while the disk can take it.
type guardedQueue struct {
	backbone.Queue
	s *Server
}

// Publish refuses while the gate is closed, and stops waiting when the server is given up.
func (q *guardedQueue) Publish(ctx context.Context, topic, id string, data []byte) error {
	life, err := q.s.enter(len(data))
	if err != nil {
		return fmt.Errorf("publish %s: %w", topic, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(life.ctx, cancel)()
	return q.Queue.Publish(ctx, topic, id, data)
}
