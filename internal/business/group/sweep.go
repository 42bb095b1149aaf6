package group

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/oceanchat/oceanchat/internal/seam/store"
)

const (
	sweepPage = 200
	sweepers  = 8
)

// metrics are what operators watch of changes: those that stay pending hold up their groups.
type metrics struct {
	pending, oldest prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	return metrics{
		pending: gauge("oceanchat_group_changes_pending", "Changes of groups that the last sweep found begun and not stored."),
		oldest:  gauge("oceanchat_group_changes_oldest_seconds", "Age of the oldest of them; 0: there is none."),
	}
}

// sweep completes the changes that have been pending for a while, the oldest first. Younger ones have somebody at work
// on them. It goes through all of them, a page at a time, so that those which cannot be completed hold up no others.
func (s *Service) sweep(ctx context.Context) error {
	var failed error // the first one
	seen, after := 0, store.Begun{}
	for {
		page, err := s.groups.Unfinished(ctx, after, sweepPage)
		if err != nil {
			return fmt.Errorf("list unfinished changes: %w", err)
		}
		if seen == 0 {
			s.metrics.oldest.Set(s.oldest(page))
		}
		if err := s.settleAll(ctx, page); failed == nil {
			failed = err
		}
		seen += len(page)
		if len(page) < sweepPage || ctx.Err() != nil {
			break
		}
		after = page[len(page)-1]
	}
	s.metrics.pending.Set(float64(seen))
	return failed
}

// settleAll tries all of page but the young, and returns the first error.
func (s *Service) settleAll(ctx context.Context, page []store.Begun) error {
	var work errgroup.Group
	work.SetLimit(sweepers)
	for _, b := range page {
		if s.young(b) {
			continue
		}
		work.Go(func() error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_, err := s.settle(ctx, b.GroupID)
			return err
		})
	}
	return work.Wait()
}

// young reports whether b was begun just now, by the clocks of both instances.
func (s *Service) young(b store.Begun) bool {
	age := s.now().Sub(b.At)
	return age >= 0 && age < s.cfg.SweepEvery
}

// oldest returns the age in seconds of the first of page.
func (s *Service) oldest(page []store.Begun) float64 {
	if len(page) == 0 {
		return 0
	}
	return max(time.Duration(0), s.now().Sub(page[0].At)).Seconds()
}
