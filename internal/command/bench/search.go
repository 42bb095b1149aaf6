package bench

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The search doubles the rate until it is not held and then halves the distance, so it ends after about a dozen tries.
const (
	searchFrom  = 500
	searchFine  = 0.08 // of the rate: when to stop halving
	searchTries = 24
	searchTime  = 5 * time.Second // of a try, at most; the last one takes the whole time
)

// searchRow says how many messages a second a server holds.
type searchRow struct {
	Sync  string        `json:"logSync,omitempty"`
	Bound time.Duration `json:"p99BoundNs"`
	Held  int           `json:"heldPerSecond"`    // 0: none
	Least int           `json:"notHeldPerSecond"` // the lowest that was not held; 0: none was tried
	Tries []messageRow  `json:"tries"`
	Best  *messageRow   `json:"best,omitempty"` // the try at Held
	Error string        `json:"error,omitempty"`
}

// search looks for the highest rate of one-to-one messages that is held. A rate that is too high is no failure; one at
// which something is lost, doubled or reordered is, as at any rate.
func (b *bench) search(ctx context.Context) {
	for _, sync := range b.syncsHere() {
		row := searchRow{Sync: sync, Bound: b.p99}
		err := b.searchOne(ctx, &row)
		if err == nil && b.mustHold && row.Held == 0 {
			err = fmt.Errorf("no rate from %d on was held", searchFrom)
		}
		row.Error = b.report.fail("search"+comma(sync), err)
		b.report.Search = append(b.report.Search, row)
		if ctx.Err() != nil {
			return
		}
	}
}

func (b *bench) searchOne(ctx context.Context, row *searchRow) error {
	for rate := searchFrom; rate > 0 && len(row.Tries) < searchTries; rate = next(row.Held, row.Least, b.highest) {
		if err := b.try(ctx, row, rate, min(b.duration, searchTime)); err != nil {
			return err
		}
	}
	// The short tries may have been lucky: the result is what holds for the whole time.
	for row.Held > 0 && b.duration > searchTime && len(row.Tries) < searchTries+4 {
		rate := row.Held
		if err := b.try(ctx, row, rate, b.duration); err != nil {
			return err
		}
		if row.Tries[len(row.Tries)-1].Held {
			break
		}
		row.Held = rate - max(1, int(float64(rate)*searchFine))
	}
	for i := range row.Tries {
		if t := &row.Tries[i]; t.Held && t.Rate == row.Held {
			row.Best = t
		}
	}
	if row.Best == nil {
		row.Held = 0
	}
	return nil
}

// next returns the next rate to try between the highest that was held and the lowest that was not; 0: it is known.
func next(held, least, highest int) int {
	switch {
	case held >= highest:
		return 0
	case least == 0:
		return min(2*held, highest)
	case held == 0 && least <= searchFrom/8:
		return 0
	case held == 0:
		return least / 2
	}
	rate := (held + least) / 2
	if float64(least-held) <= searchFine*float64(least) || rate == held {
		return 0
	}
	return rate
}

// try measures one rate. Its error says that something is wrong, not that the rate is too high.
func (b *bench) try(ctx context.Context, row *searchRow, rate int, duration time.Duration) error {
	b.progress.say("search: %d messages a second%s (held: %d)", rate, comma(row.Sync), row.Held)
	one := messageRow{Scenario: "search", Rate: rate, Sync: row.Sync}
	err := b.measureMessages(ctx, &one, 2*b.pairCount, min(b.warmup, time.Second), duration, b.pairRooms)
	if err != nil {
		one.Error = err.Error()
	}
	row.Tries = append(row.Tries, one)
	again := len(row.Tries) > 1 && row.Tries[len(row.Tries)-2].Rate == rate
	if !one.Held && !again && ctx.Err() == nil && one.Balance.wrong() == nil && one.Balance.Sent > 0 {
		return b.try(ctx, row, rate, duration) // machines have moods: a rate is too high when it fails twice
	}
	if one.Held {
		row.Held = max(row.Held, rate)
	} else if row.Least == 0 || rate < row.Least {
		row.Least = rate
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case one.Balance.wrong() != nil:
		return fmt.Errorf("at %d/s: %w", rate, one.Balance.wrong())
	case one.Balance.Sent == 0 && err != nil:
		return errors.Join(fmt.Errorf("at %d/s nothing was measured", rate), err)
	}
	return nil
}
