package mongo_test

import (
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oceanchat/oceanchat/internal/finding"
	"github.com/oceanchat/oceanchat/internal/finding/findingtest"
	"github.com/oceanchat/oceanchat/internal/seam/store/mongo"
)

func TestDiagnose(t *testing.T) {
	t.Parallel()
	uri := fresh(t)
	found := mongo.Diagnose(t.Context(), mongo.Config{URI: uri})
	findingtest.Want(t, found, finding.OK, "mongodb indexes", "is there yet")
	findingtest.Want(t, found, finding.OK, "mongodb majority", "confirms in")
	findingtest.Want(t, found, finding.OK, "clock of MongoDB", "this machine's")
	if os.Getenv(env) == "" { // the stand-in
		findingtest.Want(t, found, finding.Warning, "mongodb 127.0.0.1", "not a real MongoDB")
		findingtest.Want(t, found, finding.Warning, "mongodb members", "by itself")
	}

	if err := mongo.Misindex(t.Context(), uri); err != nil {
		t.Fatal(err)
	}
	found = mongo.Diagnose(t.Context(), mongo.Config{URI: uri})
	findingtest.Want(t, found, finding.Problem, "mongodb indexes", "accounts.username is not the one")
	findingtest.Want(t, found, finding.Warning, "mongodb indexes", "missing, such as accounts.waiting")

	uri = fresh(t)
	openDB(t, uri) // it makes the indexes
	found = mongo.Diagnose(t.Context(), mongo.Config{URI: uri})
	findingtest.Want(t, found, finding.OK, "mongodb indexes", "are there")
	if i := slices.IndexFunc(found, func(f finding.Finding) bool { return f.Level == finding.Problem }); i >= 0 {
		t.Errorf("unwanted: %s", findingtest.Lines(found[i:i+1]))
	}
}

func TestDiagnoseNobodyThere(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, uri, check, text string }{
		{"refused", "mongodb://app:hunter2@127.0.0.1:1/oceanchat", "mongodb 127.0.0.1:1", "no primary is found"},
		{"not valid", "mongodb://app:hunter2@/oceanchat", "mongodb", "not valid"},
		{"no scheme", "app:hunter2@127.0.0.1", "mongodb", "not valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			found := mongo.Diagnose(t.Context(), mongo.Config{URI: tt.uri})
			findingtest.Want(t, found, finding.Problem, tt.check, tt.text)
			if s := findingtest.Lines(found); strings.Contains(s, "hunter2") {
				t.Errorf("a secret is told:\n%s", s)
			}
		})
	}
}

func TestDiagnoseWrongPassword(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(fresh(t))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("nobody", "hunter2")
	found := mongo.Diagnose(t.Context(), mongo.Config{URI: u.String()})
	findingtest.Want(t, found, finding.Problem, "mongodb 127.0.0.1", "")
	if s := findingtest.Lines(found); strings.Contains(s, "hunter2") {
		t.Errorf("a secret is told:\n%s", s)
	}
}
