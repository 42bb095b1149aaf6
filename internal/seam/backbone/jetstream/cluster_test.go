package jetstream_test

import (
	"testing"

	"github.com/oceanchat/oceanchat/internal/seam/backbone"
	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

// The whole suite on three servers with three replicas of each stream.
func TestCluster(t *testing.T) {
	c := backbonetest.StartCluster(t, 3)
	last := ""
	backbonetest.Test(t, func(t *testing.T, dir string) (backbone.Backbone, func()) {
		if dir != last {
			c.DeleteStreams(t)
		}
		last = dir
		return c.Open(t, 0)
	})
}
