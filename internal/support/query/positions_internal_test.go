package query

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
)

// Those who come while a question is under way share the next one, so that nobody gets an answer from before it came.
func TestPositionsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var epoch uint64 = 1
		asked := 0
		p := &positions{ask: func(context.Context) (*messagev1.GetPositionsResponse, error) {
			asked++
			r := &messagev1.GetPositionsResponse{Epoch: epoch}
			time.Sleep(time.Second)
			return r, nil
		}}
		answers := make(chan uint64, 100)
		get := func() {
			r, err := p.get(t.Context())
			if err != nil {
				t.Errorf("get = %v; want nil", err)
			}
			answers <- r.GetEpoch()
		}
		go get()
		synctest.Wait()
		epoch = 2 // the question under way does not know
		for range 20 {
			go get()
		}
		synctest.Wait()
		if got := <-answers; got != 1 {
			t.Errorf("the first answer is of epoch %d; want 1", got)
		}
		for range 20 {
			if got := <-answers; got != 2 {
				t.Errorf("an answer to who came later is of epoch %d; want 2", got)
			}
		}
		if asked != 2 {
			t.Errorf("21 callers asked %d times; want 2", asked)
		}
		go get()
		if <-answers != 2 || asked != 3 {
			t.Errorf("with a later caller it was asked %d times; want 3", asked)
		}
	})
}

// Who does not wait any longer spoils nobody's answer.
func TestPositionsOutliveTheirAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &positions{ask: func(ctx context.Context) (*messagev1.GetPositionsResponse, error) {
			select {
			case <-time.After(time.Second):
				return &messagev1.GetPositionsResponse{Epoch: 1}, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}}
		done := make(chan error, 3)
		get := func(ctx context.Context) { _, err := p.get(ctx); done <- err }
		go get(t.Context())
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go get(ctx) // it begins the next question
		synctest.Wait()
		cancel()
		go get(t.Context())
		gone, stop := context.WithCancel(t.Context())
		go get(gone)
		synctest.Wait()
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("who stopped waiting got %v; want canceled", err)
		}
		for range 3 {
			if err := <-done; err != nil {
				t.Errorf("get = %v; want nil", err)
			}
		}
	})
}
