package jetstream

import (
	"fmt"
	"maps"
	"slices"
	"time"

	js "github.com/nats-io/nats.go/jetstream"

	"github.com/oceanchat/oceanchat/internal/finding"
)

// lostAfter is when NATS takes a copy for lost, whatever it lags by.
const lostAfter = 10 * time.Second

// outOfStep returns the servers whose copy of a stream is not as its leader's, or that there is no leader.
func outOfStep(check string, i *js.StreamInfo) ([]*js.PeerInfo, []finding.Finding) {
	if i.Cluster == nil { // one server
		return nil, nil
	}
	if i.Cluster.Leader == "" {
		return nil, []finding.Finding{finding.Bad(check, "has no leader", "start the servers that hold it: more than half of them must run")}
	}
	return slices.DeleteFunc(slices.Clone(i.Cluster.Replicas), func(p *js.PeerInfo) bool { return p.Current && !p.Offline }), nil
}

// copies tells of each server whose copies are out of step once, for all streams: one that is away is in all of them.
func copies(all []looked) (found []finding.Finding) {
	lagging := map[string][]*js.PeerInfo{}
	for _, l := range all {
		for _, p := range l.lagging {
			lagging[p.Name] = append(lagging[p.Name], p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lagging)) {
		found = append(found, finding.Warn("nats copies "+name, state(lagging[name], len(all)),
			"start that server, or give it time; until then one failure more stops these streams"))
	}
	return found
}

// state is what the leaders of streams know of one server. Until it counts as off line they only notice that it is silent;
// its lag then says what was written since, not that it will catch up.
func state(lagging []*js.PeerInfo, streams int) string {
	var silent time.Duration
	var lag uint64
	for _, p := range lagging {
		if p.Offline {
			return fmt.Sprintf("it is off line: %d of %d streams have one copy less", len(lagging), streams)
		}
		silent, lag = max(silent, p.Active), max(lag, p.Lag)
	}
	if lag == 0 || silent >= lostAfter {
		return fmt.Sprintf("it was not heard of for %s: %d of %d streams may have one copy less", finding.Round(silent), len(lagging), streams)
	}
	return fmt.Sprintf("its copies of %d of %d streams are behind, by up to %d operations", len(lagging), streams, lag)
}
