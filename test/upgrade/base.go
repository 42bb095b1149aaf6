package main

import (
	"bytes"
	"cmp"
	"context"
	_ "embed" // of baseCommit
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// baseCommit is the commit of the last release, for clones that have no tags.
//
//go:embed BASE
var baseCommit string

// errNoBase says that there is nothing to compare with. It is no verdict on this version.
var errNoBase = errors.New("the last release is not in this clone")

// findBase returns the commit to compare with and its name: rev if it is set, else the newest tag v… before HEAD, else the
// commit in the file BASE.
func findBase(ctx context.Context, rev string) (commit, name string, err error) {
	name = rev
	if name == "" {
		tag, err := git(ctx, "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
		if err != nil { // no tag, no history, or no repository
			tag = strings.TrimSpace(baseCommit)
		}
		name = tag
	}
	commit, err = git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if err != nil {
		return "", name, fmt.Errorf("%w: no commit %s (a shallow clone gets it by `git fetch --unshallow --tags`): %w", errNoBase, name, err)
	}
	return commit, name, nil
}

// buildBase builds the binary of a commit in dir, as `make build` builds that of this version, and returns its path.
func buildBase(ctx context.Context, dir, commit, version string) (string, error) {
	source, archive, binary := filepath.Join(dir, "base"), filepath.Join(dir, "base.tar"), filepath.Join(dir, "oceanchat-base")
	if err := os.MkdirAll(source, 0o700); err != nil {
		return "", err
	}
	top, err := git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		return "", err
	}
	const variable = "github.com/oceanchat/oceanchat/internal/app.Version"
	for _, cmd := range []*exec.Cmd{
		exec.CommandContext(ctx, "git", "-C", top, "archive", "--format=tar", "-o", archive, commit),
		exec.CommandContext(ctx, "tar", "-xf", archive, "-C", source),
		exec.CommandContext(ctx, "go", "-C", source, "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -X "+variable+"="+version,
			"-o", binary, "./cmd/oceanchat"),
	} {
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
		}
	}
	return binary, errors.Join(os.RemoveAll(source), os.Remove(archive))
}

// versionOf asks a binary for its version.
func versionOf(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "version").Output()
	if err != nil {
		return "", fmt.Errorf("%s version: %w", binary, err)
	}
	if words := strings.Fields(string(out)); len(words) > 1 {
		return words[1], nil
	}
	return "", fmt.Errorf("%s version says %q", binary, out)
}

func git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("git %s: %w: %s", args[0], err, cmp.Or(strings.TrimSpace(problem.String()), "no answer"))
	}
	return strings.TrimSpace(string(out)), err
}
