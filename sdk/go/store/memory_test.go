package store_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/sdk/go/store"
	"github.com/oceanchat/oceanchat/sdk/go/storetest"
)

func TestMemory(t *testing.T) {
	t.Parallel()
	storetest.Test(t, func(*testing.T) store.Store { return store.NewMemory() }, false)
}
