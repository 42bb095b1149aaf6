package dev

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

// world keeps what the services were asked to make.
type world struct {
	mu      sync.Mutex
	data    Data
	names   []string
	asked   map[string]bool // "a b": a waits for b
	friends map[string]int  // by user
	groups  [][]string
	settled bool
	failAt  int // the account that cannot be made; 0: none
}

func newWorld() *world { return &world{asked: map[string]bool{}, friends: map[string]int{}} }

func (w *world) open(ctx context.Context, d Data, _ *slog.Logger, use func(context.Context, Services) error) error {
	w.data = d
	return use(ctx, Services{
		Network: w, Where: "dir", Accounts: w.accounts,
		Settle: func(context.Context) error { w.settled = true; return nil },
	})
}

func (w *world) accounts(_ context.Context, _ string, users []User) ([]*authv1.TokenResponse, error) {
	var out []*authv1.TokenResponse
	for _, u := range users {
		if w.names = append(w.names, u.Username); len(w.names) == w.failAt {
			return nil, errors.New("no more")
		}
		out = append(out, &authv1.TokenResponse{AccessToken: "a-" + u.Username, RefreshToken: "r-" + u.Username, User: &userv1.User{UserId: "id-" + u.Username, Username: u.Username}})
	}
	return out, nil
}

// Gateway implements calls.Network.
func (w *world) Gateway(chat.GatewayID) grpc.ClientConnInterface { return nil }

// NewStream implements calls.Network.
func (w *world) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, errors.New("not used")
}

// Invoke implements calls.Network.
func (w *world) Invoke(ctx context.Context, _ string, in, _ any, _ ...grpc.CallOption) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	me := string(calls.IdentityOf(ctx).UserID)
	switch r := in.(type) {
	case *userv1.RequestFriendRequest:
		w.asked[me+" "+r.GetUserId()] = true
	case *userv1.AcceptFriendRequest:
		if !w.asked[r.GetUserId()+" "+me] {
			return fmt.Errorf("%s did not ask %s", r.GetUserId(), me)
		}
		w.friends[me]++
		w.friends[r.GetUserId()]++
	case *groupv1.CreateRequest:
		w.groups = append(w.groups, append([]string{me}, r.GetMemberIds()...))
	default:
		return fmt.Errorf("not expected: %T", in)
	}
	return nil
}

func call(w *world, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = Command(w.open)(context.Background(), command.Call{Args: args, Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestSeed(t *testing.T) {
	t.Parallel()
	w, file := newWorld(), filepath.Join(t.TempDir(), "out")
	code, out, errs := call(w, "seed", "--users", "20", "--friends", "4", "--groups", "3", "--group-size", "8", "--out", file,
		"--data-dir", "here", "--platform", "web", "--", "--auth-access-ttl=1h")
	if code != command.OK || !w.settled {
		t.Fatalf("seed = %d, settled %t: %s", code, w.settled, errs)
	}
	if !strings.Contains(out, "Made 20 users, 40 friendships and 3 groups in dir") || !strings.Contains(out, "password") {
		t.Errorf("seed says %q", out)
	}
	if got := strings.Join(w.data.Settings, " "); w.data.Cluster || !strings.HasSuffix(got, "--data-dir=here --auth-access-ttl=1h") {
		t.Errorf("settings = %s; want those of the command line last", got)
	}
	for i := range 20 {
		if id := fmt.Sprintf("id-seed%06d", i); w.friends[id] != 4 {
			t.Errorf("%s has %d friends; want 4", id, w.friends[id])
		}
	}
	for _, g := range w.groups {
		seen := map[string]bool{}
		for _, m := range g {
			seen[m] = true
		}
		if len(seen) != 8 {
			t.Errorf("a group has %d members; want 8", len(seen))
		}
	}
	lines := readLines(t, file)
	want := session{"id-seed000003", "seed000003", "a-seed000003", "r-seed000003", "seeded", "web"}
	if len(lines) != 20 || lines[3] != want {
		t.Errorf("%d lines, the fourth is %+v; want 20 and %+v", len(lines), lines[3], want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v, %v; want 0600: it holds sessions", info.Mode(), err)
	}
	if code, _, errs := call(newWorld(), "seed", "--users", "1", "--out", file); code != command.Failed || !strings.Contains(errs, "exists") {
		t.Errorf("seed over a file that exists = %d, %q; want a refusal", code, errs)
	}
}

// With --cluster the settings name the cluster, and there is no directory.
func TestSeedCluster(t *testing.T) {
	t.Parallel()
	w, file := newWorld(), filepath.Join(t.TempDir(), "out")
	code, out, errs := call(w, "seed", "--cluster", "--users", "2", "--out", file, "--", "--nats-urls=nats://a:1")
	if code != command.OK || !w.settled || !w.data.Cluster {
		t.Fatalf("seed --cluster = %d, settled %t, cluster %t: %s", code, w.settled, w.data.Cluster, errs)
	}
	if got := w.data.Settings; got[len(got)-1] != "--nats-urls=nats://a:1" || !strings.Contains(out, "Made 2 users") {
		t.Errorf("settings = %q, and it says %q", got, out)
	}
}

func readLines(t *testing.T, file string) []session {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []session
	for line := range strings.Lines(string(data)) {
		var s session
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

// A seeding that fails half-way leaves the sessions that were made in the file, or no file if there are none.
func TestSeedFailsHalfWay(t *testing.T) {
	t.Parallel()
	for failAt, want := range map[int]int{1: -1, accountBatch + 5: accountBatch} {
		w, file := newWorld(), filepath.Join(t.TempDir(), "out")
		w.failAt = failAt
		code, _, errs := call(w, "seed", "--users", fmt.Sprint(accountBatch+10), "--out", file)
		if code != command.Failed || !strings.Contains(errs, "no more") {
			t.Errorf("seed that fails at %d = %d, %q", failAt, code, errs)
		}
		got := -1
		if _, err := os.Stat(file); err == nil {
			got = len(readLines(t, file))
		}
		if got != want {
			t.Errorf("seed that fails at %d leaves %d lines; want %d (-1: no file)", failAt, got, want)
		}
	}
}

func TestSeedRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, args, want string }{
		{"no users", "seed --out f", "--users 0: want 1 to"},
		{"too many users", "seed --out f --users 2000000", "--users 2000000"},
		{"no file", "seed --users 1", "--out"},
		{"an odd number of friends", "seed --out f --users 9 --friends 3", "even number"},
		{"more friends than users", "seed --out f --users 4 --friends 4", "only 4 users"},
		{"too many friendships", "seed --out f --users 1000000 --friends 100", "friendships in all"},
		{"a group larger than everybody", "seed --out f --users 9 --groups 1 --group-size 10", "only 9 users"},
		{"too many memberships", "seed --out f --users 10000 --groups 10000 --group-size 10000", "memberships in all"},
		{"a bad prefix", "seed --out f --users 1 --prefix Ann!", "--prefix"},
		{"a short password", "seed --out f --users 1 --password 1234", "--password"},
		{"an unknown platform", "seed --out f --users 1 --platform vax", `"vax"`},
		{"a directory of a cluster", "seed --out f --users 1 --cluster --data-dir d", "--data-dir"},
		{"an unknown flag", "seed --speed", "not defined: -speed"},
		{"an unknown verb", "grow", `unknown verb "grow"`},
		{"nothing", "", "dev seed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if code, _, errs := call(newWorld(), strings.Fields(tt.args)...); code != command.Usage || !strings.Contains(errs, tt.want) {
				t.Errorf("%q = %d, %q; want %d and %q", tt.args, code, errs, command.Usage, tt.want)
			}
		})
	}
	if code, out, _ := call(newWorld(), "seed", "--help"); code != command.OK || !strings.Contains(out, "-group-size") {
		t.Errorf("seed --help = %d, %q; want the flags", code, out)
	}
}
