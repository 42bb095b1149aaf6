package embedded_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/oceanchat/oceanchat/internal/seam/backbone/backbonetest"
)

// childMode names what this binary does instead of testing when a test starts it as a child.
const childMode = "OCEANCHAT_TEST_CHILD"

func TestMain(m *testing.M) {
	if mode := os.Getenv(childMode); mode != "" {
		if err := children[mode](os.Getenv("OCEANCHAT_TEST_DIR")); err != nil {
			fmt.Println("child failed:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestConformance(t *testing.T) { backbonetest.Test(t, backbonetest.OpenDir) }
