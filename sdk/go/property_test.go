package oceanchat_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	messagev1 "github.com/oceanchat/oceanchat/gen/oceanchat/message/v1"
	queryv1 "github.com/oceanchat/oceanchat/gen/oceanchat/query/v1"
	wirev1 "github.com/oceanchat/oceanchat/gen/oceanchat/wire/v1"
	oceanchat "github.com/oceanchat/oceanchat/sdk/go"
	"github.com/oceanchat/oceanchat/sdk/go/fakeserver"
)

// anyEntry is an entry as conversations have them: texts of both, with and without mentions, notices, withheld ones, and
// a kind of a later version.
func anyEntry(rng *rand.Rand, i int) *messagev1.Entry {
	e := &messagev1.Entry{SenderId: []string{"u1", "u2", "u2", "u3"}[rng.IntN(4)], ClientMsgId: fmt.Sprint("m", i), Kind: messagev1.EntryKind_ENTRY_KIND_TEXT}
	text := &messagev1.Text{Text: fmt.Sprint("text ", i)}
	switch rng.IntN(8) {
	case 0:
		text.Mentions = []*messagev1.Mention{{UserId: "u1", Offset: 0, Length: 1}}
	case 1:
		e.Kind, e.Body = messagev1.EntryKind_ENTRY_KIND_NOTICE, &messagev1.Entry_Notice{Notice: &messagev1.Notice{ActorId: "u2"}}
		return e
	case 2:
		e.Kind = messagev1.EntryKind_ENTRY_KIND_HIDDEN
		return e
	case 3:
		e.Kind = 99
		return e
	}
	e.Body = &messagev1.Entry_Text{Text: text}
	return e
}

// edge is the first entry or the last.
func edge(id string) *messagev1.Entry {
	return &messagev1.Entry{
		SenderId: "u3", ClientMsgId: id, Kind: messagev1.EntryKind_ENTRY_KIND_TEXT, Body: &messagev1.Entry_Text{Text: &messagev1.Text{Text: id}},
	}
}

// arrivals is how entries may come: in any order within a distance, some never, some more than once.
func arrivals(rng *rand.Rand, entries []*messagev1.Entry) []*messagev1.Entry {
	var out []*messagev1.Entry
	for _, e := range entries {
		for range []int{0, 1, 1, 1, 1, 2}[rng.IntN(6)] {
			out = append(out, e)
		}
	}
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// view is everything that a client shows of a conversation.
type view struct {
	Info    *queryv1.Conversation
	Held    []*messagev1.Entry
	Entries []string
	Unread  uint64
}

// see plays a conversation of these entries to ann, in the order of arrive, and returns what she ends up with.
func see(t *testing.T, entries []*messagev1.Entry, arrive func([]*messagev1.Entry) []*messagev1.Entry) (got view, server uint64) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t, fakeserver.New()}
		defer w.srv.Close()
		for _, name := range []string{"ann", "bob", "cid"} {
			w.srv.AddUser(name, "password of "+name)
		}
		group := w.srv.AddGroup("g", "u1", "u2", "u3")
		w.srv.AppendEntry(group, edge("first"))
		c := w.start("ann")
		in := listen(t.Context(), c, oceanchat.Beginning)
		w.srv.Play("lose push entry times=-1") // they come by hand
		var log []*messagev1.Entry
		for _, e := range entries {
			log = append(log, w.srv.AppendEntry(group, e))
		}
		w.srv.Calm()
		for i, e := range arrive(log) {
			w.srv.Push("u1", "entry", &wirev1.EntryPush{N: uint64(i) + 1, Entry: e})
			if i%7 == 0 {
				synctest.Wait()
			}
		}
		w.srv.AppendEntry(group, edge("last")) // shows what was lost
		time.Sleep(10 * time.Minute)
		conv := c.Conversation(oceanchat.ID(group))
		held, err := conv.Held(t.Context(), 1000)
		if err != nil {
			t.Fatal(err)
		}
		got = view{conv.Info(), held, in.take(t, len(entries)+2), c.Unread()}
		server = w.srv.Unread(group, "u1")
		c.Close()
	})
	return got, server
}

// Any order of arrival, with losses and doubles, folds to the same state: that of a client that got everything in order.
func TestAnyArrivalFoldsToTheSame(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			entries := func() []*messagev1.Entry {
				rng := rand.New(rand.NewPCG(seed, 5))
				var out []*messagev1.Entry
				for i := range 1 + rng.IntN(200) {
					out = append(out, anyEntry(rng, i))
				}
				return out
			}
			want, _ := see(t, entries(), func(e []*messagev1.Entry) []*messagev1.Entry { return e })
			got, server := see(t, entries(), func(e []*messagev1.Entry) []*messagev1.Entry { return arrivals(rng, e) })
			times := protocmp.IgnoreFields(&messagev1.Entry{}, "sent_at")
			if d := cmp.Diff(want, got, protocmp.Transform(), times, protocmp.IgnoreFields(&queryv1.Head{}, "sent_at")); d != "" {
				t.Errorf("state (-in order +any order):\n%s", d)
			}
			if got.Unread != server {
				t.Errorf("Unread() = %d; the server has %d", got.Unread, server)
			}
		})
	}
}

// Fold alone: any order, any doubles.
func TestFoldIsPure(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 4))
		var log []*messagev1.Entry
		for i := range 60 {
			e := anyEntry(rng, i)
			e.ConversationId, e.Seq = []string{"g~a", "g~b"}[i%2], uint64(i/2)+1
			log = append(log, e)
		}
		mixed := append(append([]*messagev1.Entry{}, log...), arrivals(rng, log)...)
		rng.Shuffle(len(mixed), func(i, j int) { mixed[i], mixed[j] = mixed[j], mixed[i] })
		if d := cmp.Diff(oceanchat.Fold(log), oceanchat.Fold(mixed), protocmp.Transform()); d != "" {
			t.Fatalf("seed %d: Fold (-in order +any order):\n%s", seed, d)
		}
	}
}
