package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/oceanchat/oceanchat/tools/cluster/local"
)

// keeper starts services anew that end by themselves, as every cluster has something that does: one that finds its log
// set back ends. A nil one keeps nothing.
type keeper struct {
	procs []*local.Process

	mu    sync.Mutex // guards below
	held  bool       // they are without power
	ended []string   // what ended by itself, and why it was not started if so
}

// keepEvery is between two looks.
const keepEvery = 100 * time.Millisecond

// work goes on until ctx ends.
func (k *keeper) work(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			k.look(ctx)
		}
	}
}

func (k *keeper) look(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.procs {
		if k.held || p.Running() {
			continue
		}
		code, _ := p.Wait(ctx) // it has ended
		said := fmt.Sprintf("%s, code %d", p.Name, code)
		if err := p.Start(); err != nil {
			said += fmt.Sprintf(", not started: %v", err)
		}
		k.ended = append(k.ended, said)
	}
}

// hold has it start nothing, or go on.
func (k *keeper) hold(held bool) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = held
}

// took returns what ended by itself since it was last asked.
func (k *keeper) took() []string {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.ended
	k.ended = nil
	return list
}
