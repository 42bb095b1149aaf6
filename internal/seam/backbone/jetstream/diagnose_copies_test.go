package jetstream

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	js "github.com/nats-io/nats.go/jetstream"
)

// A server that is away is told once, not by stream, and not as one that has caught up.
func TestCopies(t *testing.T) {
	t.Parallel()
	stream := func(replicas ...*js.PeerInfo) looked {
		info := &js.StreamInfo{Cluster: &js.ClusterInfo{Leader: "n1", Replicas: replicas}}
		lagging, found := outOfStep("s", info)
		if len(found) > 0 {
			t.Errorf("outOfStep of a stream with a leader = %v", found)
		}
		return looked{info: info, lagging: lagging, found: found}
	}
	good := func(name string) *js.PeerInfo { return &js.PeerInfo{Name: name, Current: true} }
	for _, tt := range []struct {
		name string
		all  []looked
		want []string
	}{
		{"in step", []looked{stream(good("n2"), good("n3")), {}}, nil},
		{"one server", []looked{{info: &js.StreamInfo{}}}, nil},
		{
			"off line, as some know already",
			[]looked{stream(&js.PeerInfo{Name: "n2", Active: time.Minute}, good("n3")), stream(&js.PeerInfo{Name: "n2", Offline: true}), stream(good("n2"))},
			[]string{"nats copies n2: it is off line: 2 of 3 streams have one copy less"},
		},
		{
			"silent",
			[]looked{stream(&js.PeerInfo{Name: "n2", Active: 11 * time.Second, Lag: 2}, good("n3")), stream(good("n2"))},
			[]string{"nats copies n2: it was not heard of for 11s: 1 of 2 streams may have one copy less"},
		},
		{
			"both behind",
			[]looked{stream(&js.PeerInfo{Name: "n3", Lag: 7}, &js.PeerInfo{Name: "n2", Lag: 2}), stream(&js.PeerInfo{Name: "n3", Lag: 9})},
			[]string{
				"nats copies n2: its copies of 1 of 2 streams are behind, by up to 2 operations",
				"nats copies n3: its copies of 2 of 2 streams are behind, by up to 9 operations",
			},
		},
	} {
		var got []string
		for _, f := range copies(tt.all) {
			got = append(got, f.Check+": "+f.Found)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: copies (-want +got):\n%s", tt.name, diff)
		}
	}
	if _, found := outOfStep("s", &js.StreamInfo{Cluster: &js.ClusterInfo{}}); len(found) != 1 {
		t.Errorf("outOfStep of a stream without a leader = %v; want one finding", found)
	}
}
