package app

import (
	"context"

	"github.com/oceanchat/oceanchat/internal/lifecycle"
	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
	"github.com/oceanchat/oceanchat/internal/seam/faststate"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/counted"
)

// seams is what services are plugged into: one implementation of each seam. What comes with parts is there when these
// are ready.
type seams struct {
	backbone backbone.Backbone
	network  calls.Network // between services
	realtime calls.Network // on the way of long connections: from ws-gateway, and from router
	host     calls.Host
	presence faststate.Presence
	sessions faststate.Sessions
	limits   faststate.Limits
	cache    faststate.Cache
	stores   stores

	partitions int  // of the log
	sole       bool // nobody else appends to the log

	watch  func(*calls.Observer)                  // lets it see every call that is served here
	depths func(context.Context) []backbone.Depth // of the queues; nil: other processes show them
	free   func() (part float64, ok bool)         // of the data directory's disk; nil: there is none

	parts    []lifecycle.Part // have to run for the seams to work
	entrance *lifecycle.Part  // of calls from other processes: opens behind the services, and closes before them
	checks   []check          // that must pass for requests to succeed
}

// check is a part of readiness.
type check struct {
	name string
	run  func(ctx context.Context) error
}

// stores holds the interface of each owner.
type stores struct {
	accounts  store.Accounts
	sessions  store.Sessions
	outbox    store.Outbox
	keys      store.Keys
	profiles  store.Profiles
	relations store.Relations
	groups    store.Groups
	members   store.Members
	cursors   store.Cursors
	log       store.Log
	reader    store.Reader
	tokens    store.PushTokens
}

// counted returns stores that m counts; nil counts nothing.
func (s stores) counted(m *counted.Meter) stores {
	if m == nil {
		return s
	}
	return stores{
		accounts: m.Accounts(s.accounts), sessions: m.Sessions(s.sessions), outbox: m.Outbox(s.outbox), keys: m.Keys(s.keys),
		profiles: m.Profiles(s.profiles), relations: m.Relations(s.relations), groups: m.Groups(s.groups), members: m.Members(s.members),
		cursors: m.Cursors(s.cursors), log: m.Log(s.log), reader: m.Reader(s.reader), tokens: m.PushTokens(s.tokens),
	}
}
