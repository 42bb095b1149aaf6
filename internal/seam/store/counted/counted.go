// Package counted counts and times what services ask of the database, whatever keeps it: it wraps each part of package
// store. An operator sees by it which work reaches the database, how long that answers, and what it costs when everybody
// comes back at once. It changes no call and no outcome.
//
// It counts calls of the seam, since both sides of it have these in common. A call is one query or write of the database;
// a few calls are several, for instance when they name more than 1,000 keys or are tried again as somebody else was faster.
package counted

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
)

// Meter counts for one process. It is safe for concurrent use.
type Meter struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

// New returns a Meter that counts in reg.
func New(reg prometheus.Registerer) *Meter {
	m := &Meter{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "oceanchat_store_calls_total",
			Help: "Calls to the database by store, method and result: ok, refused (not there, there already, changed by another), left (the caller went away), failed.",
		}, []string{"store", "method", "result"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "oceanchat_store_seconds", Help: "How long the database took to answer a call.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"store", "method"}),
	}
	reg.MustRegister(m.calls, m.seconds)
	return m
}

// meter counts for one store.
type meter struct {
	calls   *prometheus.CounterVec
	seconds prometheus.ObserverVec
}

func (m *Meter) of(name string) meter {
	is := prometheus.Labels{"store": name}
	return meter{m.calls.MustCurryWith(is), m.seconds.MustCurryWith(is)}
}

// done is deferred with the moment when a call began and where its error will be.
func (m meter) done(method string, begun time.Time, err *error) {
	m.seconds.WithLabelValues(method).Observe(time.Since(begun).Seconds())
	m.calls.WithLabelValues(method, result(*err)).Inc()
}

// listed is done for a call that names n things. One that names none asks the database nothing.
func (m meter) listed(method string, n int, begun time.Time, err *error) {
	if n > 0 {
		m.done(method, begun, err)
	}
}

// result tells what operators have to look at, failed, from what is everyday.
func result(err error) string {
	var no *fault.Error
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrConflict), errors.As(err, &no):
		return "refused"
	case errors.Is(err, context.Canceled):
		return "left"
	}
	return "failed"
}
