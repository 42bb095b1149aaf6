package main

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{nil, {"--binary", "x", "--mode", "half"}, {"--binary", "x", "--clients", "1"}, {"--binary", "x", "y"}, {"--nonsense"}} {
		if _, err := parse(args); err == nil {
			t.Errorf("parse(%q) = nil; want an error", args)
		}
	}
	f, err := parse([]string{"--binary", "x"})
	if err != nil || f.mode != "" || f.base != "" {
		t.Errorf("parse of a binary alone = %+v, %v; want both modes and the last release", f, err)
	}
}

// repository makes a repository of n commits in a new directory, which becomes the current one, and returns their ids.
func repository(t *testing.T, n int) (commits []string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{"GIT_DIR", "GIT_WORK_TREE"} {
		t.Setenv(name, "")
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	do := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-c", "user.name=t", "-c", "user.email=t@localhost"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	do("init", "--quiet")
	for range n {
		do("commit", "--quiet", "--allow-empty", "--message", "x")
		commits = append(commits, do("rev-parse", "HEAD"))
	}
	return commits
}

func TestFindBase(t *testing.T) {
	tag := func(name, at string) {
		t.Helper()
		if out, err := exec.Command("git", "tag", name, at).CombinedOutput(); err != nil {
			t.Fatalf("git tag: %v\n%s", err, out)
		}
	}
	commits := repository(t, 4)
	want := func(rev, commit, name string) {
		t.Helper()
		if c, n, err := findBase(t.Context(), rev); err != nil || c != commit || n != name {
			t.Errorf("findBase(%q) = %s, %s, %v; want %s, %s", rev, c, n, err, commit, name)
		}
	}
	none := func(rev, why string) {
		t.Helper()
		if c, _, err := findBase(t.Context(), rev); !errors.Is(err, errNoBase) {
			t.Errorf("findBase(%q) = %s, %v; want errNoBase: %s", rev, c, err, why)
		}
	}
	none("", "no tag, and the commit in BASE is none of this repository")
	tag("v2.0.0", "HEAD")
	none("", "the only tag is this version's own")
	tag("v1.0.0", commits[0])
	tag("build-7", commits[2])
	want("", commits[0], "v1.0.0")
	tag("v1.1.0", commits[1])
	want("", commits[1], "v1.1.0")
	want(commits[2], commits[2], commits[2])
	want("HEAD~1", commits[2], "HEAD~1")
	none("v9", "there is no such tag")
	none("--all", "an option is no commit")

	t.Chdir(t.TempDir())
	none("", "there is no repository")
}

// A clone without history is told of, and fails only who asked for a verdict.
func TestWithoutBase(t *testing.T) {
	repository(t, 1)
	var out strings.Builder
	if err := run(t.Context(), []string{"--binary", "x"}, &out); !errors.Is(err, errNoBase) {
		t.Errorf("run = %v; want errNoBase", err)
	}
	if err := run(t.Context(), []string{"--binary", "x", "--if-base"}, &out); err != nil || !strings.Contains(out.String(), "NOT CHECKED: ") {
		t.Errorf("run --if-base = %v, %q; want no error, and that nothing was checked", err, out.String())
	}
}
