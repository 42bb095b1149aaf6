package jetstream_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, backbonetest.ServerLeaks()...) }
