package app

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// plan says which targets a process runs, and on which side of the seams.
type plan struct {
	targets []target // in the order of the table
	cluster bool
}

// planOf reads the command line's words: none or "all" is everything in one process.
func planOf(words []string) (plan, error) {
	if len(words) == 0 || len(words) == 1 && words[0] == "all" {
		return plan{targets: targets}, nil
	}
	if words[0] == "config" {
		return plan{}, errors.New("config: want check, defaults or doc behind it")
	}
	named := map[string]bool{}
	for _, w := range words {
		if !isTarget(w) {
			return plan{}, fmt.Errorf("unknown command or target %q", strings.Join(words, " "))
		}
		named[w] = true
	}
	p := plan{cluster: true}
	for _, t := range targets {
		if named[t.name] {
			p.targets = append(p.targets, t)
		}
	}
	return p, nil
}

// has tells whether the process runs a target.
func (p plan) has(name string) bool {
	return slices.ContainsFunc(p.targets, func(t target) bool { return t.name == name })
}

// uses tells whether any target of the process is plugged into a seam.
func (p plan) uses(n need) bool {
	return slices.ContainsFunc(p.targets, func(t target) bool { return t.uses&n != 0 })
}

// needsDatabase tells whether the process is of no use without its database. message goes on: what it has appended is
// stored later, and what it knows it answers.
func (p plan) needsDatabase() bool {
	return slices.ContainsFunc(p.targets, func(t target) bool { return t.uses&database != 0 && t.name != "message" })
}

// String names the targets, for logs: "auth" or "auth+user".
func (p plan) String() string {
	if !p.cluster {
		return "all"
	}
	var names []string
	for _, t := range p.targets {
		names = append(names, t.name)
	}
	return strings.Join(names, "+")
}
