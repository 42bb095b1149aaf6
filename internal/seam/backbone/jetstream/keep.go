package jetstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

var _ backbone.Keeper = (*Backbone)(nil)

// Hear is Subscribe for who must know that nothing passed it: it fails where the server does not let this user hear the subject, which
// Subscribe only logs.
func (b *Backbone) Hear(subject string, fn func(subject string, data []byte)) (stop func(), err error) {
	if stop, err = b.Subscribe(subject, "", fn); err != nil {
		return nil, err
	}
	err = b.conn.FlushTimeout(callTimeout)
	// The refusal comes before the answer to the flush.
	if last := b.conn.LastError(); err == nil && last != nil && strings.Contains(last.Error(), strconv.Quote(subject)) {
		err = last
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("listen on %s: %w", subject, err)
	}
	return stop, nil
}

// Logs implements backbone.Keeper.
func (b *Backbone) Logs(ctx context.Context) (map[int]int, error) {
	out := map[int]int{}
	list := b.js.ListStreams(ctx)
	for i := range list.Info() {
		word, ok := strings.CutPrefix(i.Config.Name, logPrefix)
		p, err := strconv.Atoi(word)
		if !ok || err != nil {
			continue
		}
		out[p], _ = strconv.Atoi(i.Config.Metadata[partitionsKey]) // 0 where it does not say
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list streams: %w", err)
	}
	return out, nil
}

// logPrefix begins the names of the log's streams.
var logPrefix = strings.TrimSuffix(backbone.LogStream(0), "0")

// Declare implements backbone.Keeper.
func (b *Backbone) Declare(ctx context.Context, partition, of int) error {
	c := b.logConfig(partition)
	c.Metadata = map[string]string{partitionsKey: strconv.Itoa(of)}
	s, err := b.find(ctx, c)
	if err != nil {
		return fmt.Errorf("stream %s: %w", c.Name, err)
	}
	have := s.CachedInfo().Config
	if have.Metadata[partitionsKey] == strconv.Itoa(of) {
		return nil
	}
	have.Metadata = maps.Clone(have.Metadata)
	have.Metadata[partitionsKey] = strconv.Itoa(of)
	if _, err := b.js.UpdateStream(ctx, have); err != nil {
		return fmt.Errorf("mark stream %s: %w", c.Name, err)
	}
	return nil
}

// Drop implements backbone.Keeper.
func (b *Backbone) Drop(ctx context.Context, partition int) error {
	b.mu.Lock()
	delete(b.logs, partition)
	b.mu.Unlock()
	if err := b.js.DeleteStream(ctx, backbone.LogStream(partition)); err != nil && !errors.Is(err, js.ErrStreamNotFound) {
		return fmt.Errorf("delete stream %s: %w", backbone.LogStream(partition), err)
	}
	return nil
}
