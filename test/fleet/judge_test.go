package fleet

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/test/client"
)

// Who is not in sync is told with what it has and what was expected.
func TestLacks(t *testing.T) {
	t.Parallel()
	c, err := oceanchat.New(oceanchat.Options{URL: "http://127.0.0.1:1", Username: "ann", Password: "none", DeviceID: "d1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := &Boat{Client: c, User: &client.User{ID: "a", Username: "ann"}, heads: map[string]uint64{"g~1": 5, "d~a~b": 2}}
	heads := map[string]uint64{"g~1": 7, "d~a~b": 2, "d~a~c": 1, "d~b~c": 9}
	want := []string{"d~a~c: 0 of 1", "g~1: 5 of 7"}
	if diff := cmp.Diff(want, b.lacks(heads)); diff != "" {
		t.Errorf("lacks (-want +got):\n%s", diff)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = (&Fleet{Boats: []*Boat{b}}).InSync(ctx, heads)
	if err == nil || !strings.Contains(err.Error(), "ann lacks "+strings.Join(want, ", ")) {
		t.Errorf("InSync = %v; want what ann lacks", err)
	}
}
