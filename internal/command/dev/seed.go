package dev

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
	groupv1 "github.com/oceanchat/oceanchat/gen/oceanchat/group/v1"
	userv1 "github.com/oceanchat/oceanchat/gen/oceanchat/user/v1"
	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/command"
	"github.com/oceanchat/oceanchat/internal/seam/calls"
)

const (
	accountBatch = 2000 // users of one bulk call
	parallel     = 64   // friendships at a time, as they wait for the disk
	groupsAtOnce = 4
)

// session is a line of the file.
type session struct {
	UserID       string `json:"userId"`
	Username     string `json:"username"`
	AccessToken  string `json:"accessToken"`
	RefreshToken string `json:"refreshToken"`
	DeviceID     string `json:"deviceId"`
	Platform     string `json:"platform"`
}

// seeding is one run of the verb.
type seeding struct {
	options
	Services

	told     io.Writer
	sessions []session
}

func seed(ctx context.Context, call command.Call, open Open) int {
	o, err := parse(call.Args, call.Out)
	var wrong usageError
	switch {
	case errors.Is(err, flag.ErrHelp):
		return command.OK
	case errors.As(err, &wrong):
		_, _ = fmt.Fprintf(call.Err, "oceanchat dev seed: %v\nRun 'oceanchat dev seed --help' for usage.\n", err)
		return command.Usage
	}
	random := o.password == ""
	if random {
		o.password = rand.Text()
	}
	level := slog.LevelError
	if o.cluster {
		level = slog.LevelWarn // which tells what is waited for
	}
	log := slog.New(slog.NewTextHandler(call.Err, &slog.HandlerOptions{Level: level}))
	begun := time.Now()
	where, err := run(ctx, o, call, open, log)
	if err != nil {
		_, _ = fmt.Fprintf(call.Err, "oceanchat dev seed: %v\n", err)
		return command.Failed
	}
	_, _ = fmt.Fprintf(call.Out, "Made %d users, %d friendships and %d groups in %s; their sessions are in %s (%.1f s).\n",
		o.users, o.users*o.friends/2, o.groups, where, o.out, time.Since(begun).Seconds())
	if random {
		_, _ = fmt.Fprintf(call.Out, "All have the password %s\n", o.password)
	}
	return command.OK
}

// run makes everything. The file is opened first, so that nothing is made whose sessions cannot be written.
func run(ctx context.Context, o options, call command.Call, open Open, log *slog.Logger) (where string, err error) {
	out, err := os.OpenFile(o.out, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", err
	}
	if _, missing := os.Stat(o.dataDir); o.dataDir != "" && errors.Is(missing, fs.ErrNotExist) {
		_, _ = fmt.Fprintf(call.Err, "There is no directory %s yet: making it, with new data.\n", o.dataDir)
	}
	s := &seeding{options: o, told: call.Err}
	// Notices wait for the disk one after the other; a seeding that a power cut interrupts is begun anew. What it stores
	// is on the disk when it ends, as a server that stops has stored everything. In a cluster the disk is not its own.
	settings := append([]string{"--log-sync=interval", "--group-create-per-minute=0"}, o.settings...)
	d := Data{Cluster: o.cluster, Settings: settings, Env: call.Env}
	err = open(ctx, d, log, func(ctx context.Context, services Services) error {
		s.Services, where = services, services.Where
		return s.make(ctx)
	})
	if len(s.sessions) == 0 { // none was made
		return where, errors.Join(err, out.Close(), os.Remove(o.out))
	}
	if writeErr := s.write(out); err == nil {
		err = writeErr
	}
	return where, errors.Join(err, out.Close())
}

// make makes users, then friends, then groups, and waits until it is all stored.
func (s *seeding) make(ctx context.Context) error {
	steps := []struct {
		what string
		do   func(context.Context) error
	}{{"users", s.makeUsers}, {"friendships", s.makeFriends}, {"groups", s.makeGroups}, {"waiting until all is stored", s.Settle}}
	for _, step := range steps {
		begun := time.Now()
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		_, _ = fmt.Fprintf(s.told, "%s: %.1f s\n", step.what, time.Since(begun).Seconds())
	}
	return nil
}

func (s *seeding) makeUsers(ctx context.Context) error {
	users := s.plan()
	for len(users) > 0 {
		batch := users[:min(accountBatch, len(users))]
		users = users[len(batch):]
		made, err := s.Accounts(ctx, s.password, batch)
		if err != nil {
			return fmt.Errorf("%w (%d were made before; --prefix gives other names)", err, len(s.sessions))
		}
		for i, m := range made {
			s.sessions = append(s.sessions, session{
				UserID: m.GetUser().GetUserId(), Username: m.GetUser().GetUsername(), AccessToken: m.GetAccessToken(),
				RefreshToken: m.GetRefreshToken(), DeviceID: batch[i].DeviceID, Platform: platformName(batch[i].Platform),
			})
		}
	}
	return nil
}

// platformName is a platform as JSON has it.
func platformName(p authv1.Platform) string {
	return strings.ToLower(strings.TrimPrefix(p.String(), "PLATFORM_"))
}

// makeFriends makes friends as clients do: one asks, the other accepts.
func (s *seeding) makeFriends(ctx context.Context) error {
	users := userv1.NewUserServiceClient(s.Network)
	return inParallel(ctx, parallel, s.friendships, func(ctx context.Context, asks, accepts int) error {
		_, err := users.RequestFriend(s.as(ctx, asks), &userv1.RequestFriendRequest{UserId: s.sessions[accepts].UserID})
		if err != nil {
			return fmt.Errorf("%s asks %s: %w", s.sessions[asks].Username, s.sessions[accepts].Username, err)
		}
		_, err = users.AcceptFriend(s.as(ctx, accepts), &userv1.AcceptFriendRequest{UserId: s.sessions[asks].UserID})
		if err != nil {
			return fmt.Errorf("%s accepts %s: %w", s.sessions[accepts].Username, s.sessions[asks].Username, err)
		}
		return nil
	})
}

func (s *seeding) makeGroups(ctx context.Context) error {
	groups := groupv1.NewGroupServiceClient(s.Network)
	numbers := func(yield func(g, of int) bool) {
		for g := range s.groups {
			if !yield(g, s.groups) {
				return
			}
		}
	}
	return inParallel(ctx, groupsAtOnce, numbers, func(ctx context.Context, g, _ int) error {
		members := s.members(g)
		req := &groupv1.CreateRequest{Name: fmt.Sprintf("%s group %d", s.prefix, g)}
		for _, m := range members[1:] {
			req.MemberIds = append(req.MemberIds, s.sessions[m].UserID)
		}
		if _, err := groups.Create(s.as(ctx, members[0]), req); err != nil {
			return fmt.Errorf("group %d: %w", g, err)
		}
		return nil
	})
}

// as acts for a user, as a gateway does that has checked a token.
func (s *seeding) as(ctx context.Context, user int) context.Context {
	return calls.WithIdentity(ctx, calls.Identity{
		UserID: chat.UserID(s.sessions[user].UserID), SessionID: "seed", DeviceID: chat.DeviceID(s.sessions[user].DeviceID), Platform: s.platform,
	})
}

// write writes all sessions that were made, one a line.
func (s *seeding) write(out io.Writer) error {
	w := bufio.NewWriter(out)
	e := json.NewEncoder(w)
	for _, line := range s.sessions {
		if err := e.Encode(line); err != nil { //nolint:gosec // sessions are what the file is for
			return fmt.Errorf("write the sessions: %w", err)
		}
	}
	return w.Flush()
}

// inParallel calls do for each pair, n at a time, and returns the first error, after which it begins no more.
func inParallel(ctx context.Context, n int, pairs func(func(a, b int) bool), do func(ctx context.Context, a, b int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan [2]int)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			for p := range next {
				if ctx.Err() != nil {
					continue
				}
				if err := do(ctx, p[0], p[1]); err != nil {
					cancel(err)
				}
			}
		})
	}
	pairs(func(a, b int) bool {
		next <- [2]int{a, b}
		return ctx.Err() == nil
	})
	close(next)
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}
