package calls_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/gen/oceanchat/presence/v1"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

func TestNoSideEffects(t *testing.T) {
	t.Parallel()
	for method, want := range map[string]bool{
		presencev1.PresenceInternalService_Lookup_FullMethodName: true,
		presencev1.PresenceInternalService_Hello_FullMethodName:  false,
		"/oceanchat.presence.v1.PresenceInternalService/Guess":   false,
		"/oceanchat.presence.v1/Connection":                      false, // a message
		"":                                                       false,
	} {
		for range 2 { // the second time from the cache
			if got := calls.NoSideEffects(method); got != want {
				t.Errorf("NoSideEffects(%q) = %t; want %t", method, got, want)
			}
		}
	}
}
