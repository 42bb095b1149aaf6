// Package convlogtest holds what tests of the log's users need: a partition's stream in memory, a log that runs over it
// and a database, and a writer that stores exactly as far as the test says. It imports no service.
package convlogtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Stream is a backbone.Log in memory. It never redelivers by itself: tests that want that drive the reader. It is safe
// for concurrent use.
type Stream struct {
	incarnation string

	mu      sync.Mutex // guards what follows
	msgs    []backbone.Message
	purged  uint64
	bytes   uint64
	max     uint64
	floors  map[string]uint64
	changed chan struct{} // closed and replaced by each Put
}

var _ backbone.Log = (*Stream)(nil)

// NewStream returns an empty stream. Different incarnations are different streams.
func NewStream(incarnation string) *Stream {
	return &Stream{incarnation: incarnation, floors: map[string]uint64{}, changed: make(chan struct{})}
}

// SetMaxBytes sets what Info says of the stream's space; nothing is refused.
func (s *Stream) SetMaxBytes(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.max = n
}

// SetFloor sets how far a reader has acknowledged.
func (s *Stream) SetFloor(reader string, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.floors[reader] = seq
}

// Put appends any bytes, as stored at a time, and returns their sequence.
func (s *Stream) Put(data []byte, at time.Time) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put(data, at)
}

func (s *Stream) put(data []byte, at time.Time) uint64 {
	seq := uint64(len(s.msgs)) + 1
	s.msgs = append(s.msgs, backbone.Message{Seq: seq, Time: at, Data: slices.Clone(data)})
	s.bytes += uint64(len(data))
	close(s.changed)
	s.changed = make(chan struct{})
	return seq
}

// Append implements backbone.Log.
func (s *Stream) Append(_ context.Context, data []byte, expect uint64) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uint64(len(s.msgs)) != expect {
		return 0, backbone.ErrConflict
	}
	return s.put(data, time.Now()), nil
}

// Info implements backbone.Log.
func (s *Stream) Info(ctx context.Context) (backbone.LogInfo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return backbone.LogInfo{
		Incarnation: s.incarnation, First: s.purged + 1, Last: uint64(len(s.msgs)), Bytes: s.bytes, MaxBytes: s.max,
	}, ctx.Err()
}

// Confirm implements backbone.Log.
func (s *Stream) Confirm(ctx context.Context) error { return ctx.Err() }

// Get implements backbone.Log.
func (s *Stream) Get(_ context.Context, seq uint64) (backbone.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seq <= s.purged || seq > uint64(len(s.msgs)) {
		return backbone.Message{}, backbone.ErrNotFound
	}
	return s.msgs[seq-1], nil
}

// Read implements backbone.Log.
func (s *Stream) Read(ctx context.Context, from, to uint64, fn func(backbone.Message) error) error {
	for _, m := range s.messages(max(from, 1)-1, to) {
		if err := fn(m); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// messages returns what is stored above after, up to to.
func (s *Stream) messages(after, to uint64) []backbone.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	after, to = max(after, s.purged), min(to, uint64(len(s.msgs)))
	if after >= to {
		return nil
	}
	return slices.Clone(s.msgs[after:to])
}

// SeqAt implements backbone.Log.
func (s *Stream) SeqAt(_ context.Context, t time.Time) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.msgs[s.purged:] {
		if !m.Time.Before(t) {
			return m.Seq, nil
		}
	}
	return uint64(len(s.msgs)) + 1, nil
}

// Floor implements backbone.Log.
func (s *Stream) Floor(_ context.Context, reader string) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.floors[reader], nil
}

// Purge implements backbone.Log.
func (s *Stream) Purge(_ context.Context, upTo uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uint64(len(s.msgs)) < upTo {
		s.msgs = append(s.msgs, backbone.Message{Seq: uint64(len(s.msgs)) + 1})
	}
	for ; s.purged < upTo; s.purged++ {
		s.bytes -= uint64(len(s.msgs[s.purged].Data))
		s.msgs[s.purged].Data = nil
	}
	return nil
}

// Follow implements backbone.Log: from the reader's Start on, each run until its Handle succeeds.
func (s *Stream) Follow(ctx context.Context, r backbone.Reader) error {
	at, err := r.Start(ctx)
	for try := 1; ctx.Err() == nil; try++ {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		run := s.messages(at, at+uint64(r.MaxBatch))
		switch {
		case err != nil:
			at, err = r.Start(ctx)
		case len(run) == 0:
			wait(ctx, changed, time.Hour)
			continue
		default:
			err = r.Handle(ctx, run)
			if err == nil {
				at, try = run[len(run)-1].Seq, 0
				s.SetFloor(r.Name, at)
			} else if ctx.Err() == nil {
				r.Failed(err, try)
				err = nil
				wait(ctx, nil, time.Millisecond)
			}
			continue
		}
		if err != nil && ctx.Err() == nil {
			r.Failed(err, try)
			wait(ctx, nil, time.Millisecond)
		}
	}
	return nil
}

func wait(ctx context.Context, changed <-chan struct{}, most time.Duration) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-timer.C:
	}
}
