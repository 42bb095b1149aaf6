package counted_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/store"
	"github.com/oceanchat/oceanchat/internal/seam/store/counted"
)

// one is a store of accounts with one outcome.
type one struct {
	store.Accounts
	err error
}

func (o one) ByID(_ context.Context, id chat.UserID) (store.Account, error) {
	return store.Account{UserID: id}, o.err
}

// none is a log of which nothing is stored.
type none struct{ store.Log }

func (none) Heads(context.Context, []chat.ConversationID) ([]store.Head, error) { return nil, nil }

// Calls pass unchanged, and are counted by what operators have to tell apart.
func TestMeter(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	m := counted.New(reg)
	for _, err := range []error{
		nil, nil, fmt.Errorf("look up: %w", store.ErrNotFound), store.ErrExists, store.ErrConflict, fault.InvalidField("cursor", "x"),
		fmt.Errorf("read: %w", context.Canceled), context.DeadlineExceeded, store.ErrFull, errors.New("the disk"),
	} {
		a, got := m.Accounts(one{err: err}).ByID(t.Context(), "ann")
		if a.UserID != "ann" || !errors.Is(got, err) {
			t.Errorf("ByID = %v, %v; want ann, %v", a, got, err)
		}
	}
	if _, err := m.Log(none{}).Heads(t.Context(), nil); err != nil { // which asks nothing
		t.Error(err)
	}
	if _, err := m.Log(none{}).Heads(t.Context(), []chat.ConversationID{"c"}); err != nil {
		t.Error(err)
	}
	want := `
# HELP oceanchat_store_calls_total Calls to the database by store, method and result: ok, refused (not there, there already, changed by another), left (the caller went away), failed.
# TYPE oceanchat_store_calls_total counter
oceanchat_store_calls_total{method="ByID",result="failed",store="accounts"} 3
oceanchat_store_calls_total{method="ByID",result="left",store="accounts"} 1
oceanchat_store_calls_total{method="ByID",result="ok",store="accounts"} 2
oceanchat_store_calls_total{method="ByID",result="refused",store="accounts"} 4
oceanchat_store_calls_total{method="Heads",result="ok",store="log"} 1
`
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "oceanchat_store_calls_total"); err != nil {
		t.Error(err)
	}
	if n := testutil.CollectAndCount(reg, "oceanchat_store_seconds"); n != 2 {
		t.Errorf("%d series of times; want 2", n)
	}
}
