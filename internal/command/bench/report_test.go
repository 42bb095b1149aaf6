package bench

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

func full() *report {
	r := &report{
		Taken: "today", Start: &startRow{}, Idle: &idleRow{}, Storm: &stormRow{}, History: &historyRow{First: percentiles{Count: 1}}, Seeding: &seeding{},
		Messages: []messageRow{
			{Scenario: "pairs", Rate: 1000, Sync: "always", Server: &serverCost{}},
			{Scenario: "pairs", Rate: 2000, Sync: "always", Error: "lost"},
			{Scenario: "group", Rate: 5, Members: 1000},
		},
	}
	r.Search = []searchRow{{Held: 10, Tries: r.Messages[:1], Best: &r.Messages[0]}}
	r.fail("2000/s", errFrame)
	r.fail("100/s", nil)
	return r
}

// Every row of a table has as many cells as its head, whatever was measured.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := full().markdown(&out); err != nil {
		t.Fatal(err)
	}
	columns, rows := 0, 0
	for line := range strings.Lines(out.String()) {
		n := strings.Count(line, "|")
		switch {
		case n == 0:
			columns = 0
		case columns == 0:
			columns = n
		case n != columns:
			t.Errorf("%d cells under a head of %d: %s", n-1, columns-1, line)
		default:
			rows++
		}
	}
	if rows == 0 {
		t.Error("no table")
	}
	if got := strings.Count(out.String(), "**FAILED**"); got != 1 {
		t.Errorf("%d rows are told as failed; want 1", got)
	}
}

// The members of --json are an interface: they are added and never renamed. OCEANCHAT_TEST_UPDATE=1 writes the list anew.
func TestJSONMembers(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := full().json(&out); err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(out.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	var paths []string
	walk("", tree, func(path string) { paths = append(paths, path) })
	slices.Sort(paths)
	got := strings.Join(slices.Compact(paths), "\n") + "\n"
	const golden = "testdata/members.txt"
	if os.Getenv("OCEANCHAT_TEST_UPDATE") != "" {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("the members of --json are not those of %s (%v):\n%s", golden, err, got)
	}
}

func walk(path string, v any, found func(string)) {
	switch v := v.(type) {
	case map[string]any:
		for name, of := range v {
			walk(path+"."+name, of, found)
		}
	case []any:
		for _, of := range v {
			walk(path+"[]", of, found)
		}
	case string:
		found(path + " string")
	case bool:
		found(path + " bool")
	case float64:
		found(path + " number")
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 100: "100", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q; want %q", n, got, want)
		}
	}
}
