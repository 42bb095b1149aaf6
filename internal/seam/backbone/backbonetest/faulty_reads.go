package backbonetest

import (
	"context"
	"time"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
)

// Info implements backbone.Log.
func (f *Faulty) Info(ctx context.Context) (backbone.LogInfo, error) {
	if err := f.read(); err != nil {
		return backbone.LogInfo{}, err
	}
	return f.Log.Info(ctx)
}

// Confirm implements backbone.Log.
func (f *Faulty) Confirm(ctx context.Context) error {
	if err := f.read(); err != nil {
		return err
	}
	return f.Log.Confirm(ctx)
}

// Get implements backbone.Log.
func (f *Faulty) Get(ctx context.Context, seq uint64) (backbone.Message, error) {
	if err := f.read(); err != nil {
		return backbone.Message{}, err
	}
	return f.Log.Get(ctx, seq)
}

// Read implements backbone.Log.
func (f *Faulty) Read(ctx context.Context, from, to uint64, fn func(backbone.Message) error) error {
	if err := f.read(); err != nil {
		return err
	}
	return f.Log.Read(ctx, from, to, fn)
}

// SeqAt implements backbone.Log.
func (f *Faulty) SeqAt(ctx context.Context, t time.Time) (uint64, error) {
	if err := f.read(); err != nil {
		return 0, err
	}
	return f.Log.SeqAt(ctx, t)
}

// Floor implements backbone.Log.
func (f *Faulty) Floor(ctx context.Context, reader string) (uint64, error) {
	if err := f.read(); err != nil {
		return 0, err
	}
	return f.Log.Floor(ctx, reader)
}
