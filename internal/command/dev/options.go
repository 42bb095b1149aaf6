package dev

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	authv1 "github.com/oceanchat/oceanchat/gen/oceanchat/auth/v1"
)

// The bounds of one seeding; beyond them a number is a slip of the hand.
const (
	maxUsers       = 1_000_000
	maxGroups      = 10_000
	maxMembers     = 10_000
	maxMemberships = 5_000_000
	maxFriends     = 500
	maxFriendships = 500_000
)

// options is what the command line of seed asks for.
type options struct {
	users     int
	out       string
	groups    int
	groupSize int
	friends   int
	prefix    string
	password  string
	platform  authv1.Platform
	dataDir   string
	cluster   bool
	settings  []string // of the server
}

// usageError says that the command line is wrong.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }

// parse reads the command line. A flag.ErrHelp was answered already.
func parse(args []string, help io.Writer) (options, error) {
	var o options
	var platform string
	f := flag.NewFlagSet("dev seed", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&o.users, "users", 0, "how many `users` to make, each with a session of one device; required")
	f.StringVar(&o.out, "out", "", "`file` to write the sessions to, one JSON object a line; required, must not exist")
	f.StringVar(&o.dataDir, "data-dir", "", "the data `directory`; its server must be stopped (default: what the settings say)")
	f.BoolVar(&o.cluster, "cluster", false, "make all of it in a cluster that runs, on the NATS, Redis and MongoDB that the settings name")
	f.IntVar(&o.groups, "groups", 0, "how many groups to make")
	f.IntVar(&o.groupSize, "group-size", 100, "`members` of each group, its owner included")
	f.IntVar(&o.friends, "friends", 0, "`friends` of each user, an even number")
	f.StringVar(&o.prefix, "prefix", "seed", "what usernames begin with; a number follows")
	f.StringVar(&o.password, "password", "", "`password` of all users (default: a random one, which is printed)")
	f.StringVar(&platform, "platform", "desktop", "platform of the sessions: web, ios, android, harmony, desktop, bot")
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			_, _ = fmt.Fprint(help, "Usage: oceanchat dev seed --users N --out FILE [--cluster] [flags] [-- settings of the server]\n\n")
			f.SetOutput(help)
			f.PrintDefaults()
			return o, err
		}
		return o, usageError{err}
	}
	o.settings = f.Args()
	if o.dataDir != "" {
		o.settings = append([]string{"--data-dir=" + o.dataDir}, o.settings...)
	}
	o.platform = authv1.Platform(authv1.Platform_value["PLATFORM_"+strings.ToUpper(platform)])
	if err := o.check(platform); err != nil {
		return o, usageError{err}
	}
	return o, nil
}

var validPrefix = regexp.MustCompile(`^[a-z0-9_.]{1,24}$`)

func (o *options) check(platform string) error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	want(o.users >= 1 && o.users <= maxUsers, "--users %d: want 1 to %d", o.users, maxUsers)
	want(o.out != "", "--out: want a file to write the sessions to")
	want(!o.cluster || o.dataDir == "", "--data-dir: a cluster has none")
	want(o.groups >= 0 && o.groups <= maxGroups, "--groups %d: want 0 to %d", o.groups, maxGroups)
	if o.groups > 0 {
		want(o.groupSize >= 1 && o.groupSize <= maxMembers, "--group-size %d: want 1 to %d", o.groupSize, maxMembers)
		want(o.groupSize <= o.users, "--group-size %d: there are only %d users", o.groupSize, o.users)
		want(o.groups*o.groupSize <= maxMemberships, "--groups %d of %d: want at most %d memberships in all", o.groups, o.groupSize, maxMemberships)
	}
	want(o.friends >= 0 && o.friends <= maxFriends && o.friends%2 == 0, "--friends %d: want an even number from 0 to %d", o.friends, maxFriends)
	want(o.friends < max(o.users, 1), "--friends %d: there are only %d users", o.friends, o.users)
	want(o.friends*o.users/2 <= maxFriendships, "--friends %d of %d users: want at most %d friendships in all", o.friends, o.users, maxFriendships)
	want(validPrefix.MatchString(o.prefix), "--prefix %q: want 1 to 24 of a-z 0-9 _ .", o.prefix)
	n := utf8.RuneCountInString(o.password)
	want(n == 0 || n >= 8 && n <= 128, "--password: want 8 to 128 characters")
	want(o.platform != authv1.Platform_PLATFORM_UNSPECIFIED, "--platform %q: want web, ios, android, harmony, desktop or bot", platform)
	return errors.Join(errs...)
}

// plan returns the users to make. Their names sort as they were made.
func (o *options) plan() []User {
	users := make([]User, o.users)
	for i := range users {
		users[i] = User{Username: fmt.Sprintf("%s%06d", o.prefix, i), DeviceID: "seeded", Platform: o.platform}
	}
	return users
}

// friendships returns pairs of users: each user is the friend of the friends/2 that follow and of those that precede.
func (o *options) friendships(yield func(asks, accepts int) bool) {
	for i := range o.users {
		for d := 1; d <= o.friends/2; d++ {
			if !yield(i, (i+d)%o.users) {
				return
			}
		}
	}
}

// members returns the members of group g, its owner first: stretches of users, one behind the other.
func (o *options) members(g int) []int {
	out := make([]int, o.groupSize)
	for i := range out {
		out[i] = (g*o.groupSize + i) % o.users
	}
	return out
}
