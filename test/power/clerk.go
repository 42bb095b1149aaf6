package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/oceanchat/oceanchat/test/client"
)

// clerk registers people and makes groups without pause, and remembers what was acknowledged: all that is in the database
// and not in the log.
type clerk struct {
	url    string
	prefix string        // of usernames
	every  time.Duration // between two registrations
	n      int
	users  []*client.User
	groups []madeGroup
	said   int // how many of the users were looked for already
	told   int // and of the groups
}

type madeGroup struct {
	id      string
	owner   *client.User
	members []string
}

type member struct{ User struct{ UserID string } }

// clerkEvery is between two registrations; each costs a password hash. In a cluster it is more: the database and Redis keep
// what the clerk is told, and they lose nothing there.
const (
	clerkEvery        = 150 * time.Millisecond
	clerkEveryCluster = time.Second
)

// work goes on until ctx ends. What fails is not remembered.
func (c *clerk) work(ctx context.Context) {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for ctx.Err() == nil {
		c.once(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// once registers somebody, who makes a group with the one before.
func (c *clerk) once(ctx context.Context) {
	c.n++
	u, err := client.Register(ctx, c.url, fmt.Sprintf("%sc%06d", c.prefix, c.n))
	if u != nil && u.ID != "" { // the registration was acknowledged, the login perhaps not
		c.users = append(c.users, u)
	}
	if err != nil || len(c.users) < 2 {
		return
	}
	other := c.users[len(c.users)-2].ID
	var made struct{ Group struct{ GroupID string } }
	if err := u.Do(ctx, "POST", "/groups", client.Object{"name": "Clerks", "memberIds": []string{other}}, &made); err == nil {
		c.groups = append(c.groups, madeGroup{made.Group.GroupID, u, []string{other, u.ID}})
	}
}

// check looks for all that was acknowledged since the last check, and tells what is not there: accounts, sessions, groups.
func (c *clerk) check(ctx context.Context) (wrong []string) {
	for _, u := range c.users[c.said:] {
		wrong = append(wrong, checkUser(ctx, u)...)
	}
	for _, g := range c.groups[c.told:] {
		wrong = append(wrong, g.check(ctx)...)
	}
	c.said, c.told = len(c.users), len(c.groups)
	return wrong
}

func checkUser(ctx context.Context, u *client.User) (wrong []string) {
	if u.Token != "" {
		if err := u.Do(ctx, "GET", "/users/me", nil, nil); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s's session is lost: %v", u.Username, err))
		}
		if err := u.Do(ctx, "POST", "/auth/refresh", client.Object{"refreshToken": u.Refresh}, nil); err != nil {
			wrong = append(wrong, fmt.Sprintf("%s's refresh token is lost: %v", u.Username, err))
		}
	}
	if err := u.Login(ctx); err != nil {
		wrong = append(wrong, fmt.Sprintf("%s's account is lost: %v", u.Username, err))
	}
	return wrong
}

func (g madeGroup) check(ctx context.Context) []string {
	var got struct{ Members []member }
	if err := g.owner.Do(ctx, "GET", "/groups/"+g.id+"/members", nil, &got); err != nil {
		return []string{fmt.Sprintf("group %s is lost: %v", g.id, err)}
	}
	for _, id := range g.members {
		if !slices.ContainsFunc(got.Members, func(m member) bool { return m.User.UserID == id }) {
			return []string{fmt.Sprintf("group %s has lost its member %s", g.id, id)}
		}
	}
	return nil
}
