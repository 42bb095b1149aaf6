package oceanchat_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
)

func TestSendAndReceive(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		ann, bob := w.start("ann"), w.start("bob")
		in := listen(t.Context(), bob, oceanchat.Live)
		r := w.send(ann, oceanchat.User("u2"), "hi")
		if r.ConversationID != direct || r.Seq != 1 {
			t.Errorf("Send = %+v; want seq 1 of %s", r, direct)
		}
		w.send(ann, oceanchat.ID(direct), "again")
		if d := cmp.Diff([]string{direct + "/1 hi", direct + "/2 again"}, in.take(t, 2)); d != "" {
			t.Errorf("bob's entries (-want +got):\n%s", d)
		}
		in.nothing(t)
	})
}
