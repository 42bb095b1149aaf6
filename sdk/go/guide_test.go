package oceanchat_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The guide shows the bot of the example, which is compiled and run, letter by letter.
func TestGuideShowsTheExample(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../../docs/guide/sdk-go.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	bot := regexp.MustCompile(`(?ms)^func echo\(.*?^}$`).FindString(string(source))
	if bot == "" || !strings.Contains(string(guide), bot) {
		t.Errorf("docs/guide/sdk-go.md does not show this:\n%s", bot)
	}
	if lines := strings.Count(bot, "\n") + 1; lines > 25 {
		t.Errorf("the bot has %d lines; want at most 25", lines)
	}
}
