package disk

import (
	"fmt"
	"path"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// user does to a disk what a process would, by path; an error ends the test.
type user struct {
	*testing.T
	*Disk
}

func (u user) find(p string) uint64 {
	u.Helper()
	id := uint64(rootID)
	for name := range strings.SplitSeq(p, "/") {
		if name == "" || name == "." {
			continue
		}
		s, errno := u.lookup(id, name)
		u.must(errno)
		id = s.id
	}
	return id
}

func (u user) must(errno syscall.Errno) {
	u.Helper()
	if errno != 0 {
		u.Fatal(errno)
	}
}

func (u user) new(p string, dir bool) {
	u.Helper()
	_, errno := u.make(u.find(path.Dir(p)), path.Base(p), dir, 0o600)
	u.must(errno)
}

func (u user) put(p string, off int64, text string) {
	u.Helper()
	u.must(u.write(u.find(p), []byte(text), off, notSynced))
}

func (u user) file(p, text string) {
	u.Helper()
	u.new(p, false)
	u.put(p, 0, text)
}

func (u user) sync(p string) {
	u.Helper()
	u.must(u.fsync(u.find(p), false))
}

func (u user) move(from, to string) {
	u.Helper()
	u.must(u.rename(u.find(path.Dir(from)), path.Base(from), u.find(path.Dir(to)), path.Base(to), true))
}

// show tells what a disk holds, by path; a directory ends in "/".
func show(d *Disk) map[string]string {
	out := map[string]string{}
	var walk func(n *node, at string)
	walk = func(n *node, at string) {
		for name, c := range n.names {
			if c.dir {
				out[at+name+"/"] = ""
				walk(c, at+name+"/")
			} else {
				out[at+name] = string(c.data)
			}
		}
	}
	walk(d.nodes[rootID], "")
	return out
}

func TestWhatRemains(t *testing.T) {
	type holds = map[string]string
	for _, tt := range []struct {
		name            string
		do              func(u user)
		journal, strict holds
	}{
		{"nothing was synced", func(u user) { u.file("a", "x") }, holds{}, holds{}},
		{
			"a synced file has its name, unless its directory must be synced", func(u user) { u.file("a", "x"); u.sync("a") },
			holds{"a": "x"},
			holds{},
		},
		{"a synced name has no content", func(u user) { u.file("a", "x"); u.sync("/") }, holds{"a": ""}, holds{"a": ""}},
		{"both are synced", func(u user) { u.file("a", "x"); u.sync("a"); u.sync("/") }, holds{"a": "x"}, holds{"a": "x"}},
		{
			"the journal is written as a whole", func(u user) { u.file("a", "x"); u.new("d", true); u.file("d/b", "y"); u.sync("d/b") },
			holds{"a": "", "d/": "", "d/b": "y"},
			holds{},
		},
		{
			"a name in a directory without one", func(u user) { u.new("d", true); u.file("d/b", "y"); u.sync("d/b"); u.sync("d") },
			holds{"d/": "", "d/b": "y"},
			holds{},
		},
		{
			"what came after the sync is gone", func(u user) {
				u.file("a", "old")
				u.sync("a")
				u.sync("/")
				u.put("a", 0, "newer")
				u.file("b", "z")
			}, holds{"a": "old"}, holds{"a": "old"},
		},
		{
			"renamed over another, and not synced", func(u user) { both(u); u.move("new", "a") },
			holds{"a": "old", "new": "new"},
			holds{"a": "old", "new": "new"},
		},
		{
			"renamed over another, and the directory synced", func(u user) { both(u); u.move("new", "a"); u.sync("/") },
			holds{"a": "new"},
			holds{"a": "new"},
		},
		{
			"renamed over another before it was synced: its name is there, its content is not", func(u user) {
				u.file("a", "old")
				u.sync("a")
				u.file("new", "new")
				u.move("new", "a")
				u.sync("/")
			}, holds{"a": ""}, holds{"a": ""},
		},
		{
			"written by the system itself", func(u user) {
				both(u)
				u.move("new", "a")
				u.file("b", "by itself")
				u.Settle()
				u.put("a", 0, "lost")
				u.must(u.remove(rootID, "b", false))
			}, holds{"a": "new", "b": "by itself"}, holds{"a": "new", "b": "by itself"},
		},
		{
			"deleted, and not synced", func(u user) { both(u); u.must(u.remove(rootID, "a", false)) },
			holds{"a": "old", "new": "new"},
			holds{"a": "old", "new": "new"},
		},
		{
			"deleted, and another file synced that grew", func(u user) { both(u); u.must(u.remove(rootID, "a", false)); u.put("new", 3, "er"); u.sync("new") },
			holds{"new": "newer"},
			holds{"a": "old", "new": "newer"},
		},
		{
			"deleted, and the data of another file synced that did not grow", func(u user) {
				both(u)
				u.must(u.remove(rootID, "a", false))
				u.put("new", 0, "NEW")
				u.must(u.fsync(u.find("new"), true))
			}, holds{"a": "old", "new": "NEW"}, holds{"a": "old", "new": "NEW"},
		},
		{
			"truncated, and not synced", func(u user) { both(u); u.must(u.truncate(u.find("a"), 1)) },
			holds{"a": "old", "new": "new"},
			holds{"a": "old", "new": "new"},
		},
		{
			"truncated, and another directory's file synced", func(u user) { both(u); u.must(u.truncate(u.find("a"), 1)); u.put("new", 0, "NEW"); u.sync("new") },
			holds{"a": "o", "new": "NEW"},
			holds{"a": "old", "new": "NEW"},
		},
		{
			"truncated, grown again and synced: what was cut off is zero", func(u user) {
				both(u)
				u.must(u.truncate(u.find("a"), 1))
				u.put("a", 2, "!")
				u.sync("a")
			}, holds{"a": "o\x00!", "new": "new"}, holds{"a": "o\x00!", "new": "new"},
		},
		{
			"sparse", func(u user) { u.new("a", false); u.put("a", 8, "x"); u.sync("a"); u.sync("/") },
			holds{"a": "\x00\x00\x00\x00\x00\x00\x00\x00x"},
			holds{"a": "\x00\x00\x00\x00\x00\x00\x00\x00x"},
		},
		{
			"written through, into the middle", func(u user) { both(u); u.must(u.write(u.find("a"), []byte("L"), 1, dataSynced)) },
			holds{"a": "oLd", "new": "new"},
			holds{"a": "oLd", "new": "new"},
		},
	} {
		for names, want := range map[Names]holds{Journal: tt.journal, Strict: tt.strict} {
			t.Run(fmt.Sprintf("%s, %s", tt.name, names), func(t *testing.T) {
				d := New(Options{Names: names})
				tt.do(user{t, d})
				d.Cut()
				if diff := cmp.Diff(want, show(d.Remains(Options{}))); diff != "" {
					t.Errorf("what remains (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// both makes two files, all of which is durable.
func both(u user) {
	u.file("a", "old")
	u.file("new", "new")
	for _, p := range []string{"a", "new", "/"} {
		u.sync(p)
	}
}

// With Keep a page of what was not synced is there or is not, whole, and what was synced is always there.
func TestKeep(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(200) {
		d := New(Options{Names: Journal, Keep: 0.5, Page: 2, Seed: seed})
		u := user{t, d}
		u.file("a", "aabbcc")
		u.sync("a")
		u.put("a", 1, "XYZ")
		u.file("b", "b")
		d.Cut()
		got := show(d.Remains(Options{}))
		text := got["a"]
		for i, page := range []string{"aa aX", "bb YZ", "cc"} {
			if len(text) != 6 || !strings.Contains(page, text[2*i:2*i+2]) {
				t.Fatalf("seed %d: a = %q; want pages of %q", seed, text, page)
			}
		}
		seen[text] = true
		if b, ok := got["b"]; ok {
			seen["b="+b] = true
		} else {
			seen["no b"] = true
		}
	}
	for _, want := range []string{"aabbcc", "aXbbcc", "aaYZcc", "aXYZcc", "no b", "b=", "b=b"} {
		if !seen[want] {
			t.Errorf("200 seeds never left %q; they left %v", want, seen)
		}
	}
}

// The same seed leaves the same.
func TestSeed(t *testing.T) {
	left := func(seed uint64) map[string]string {
		d := New(Options{Names: Strict, Keep: 0.5, Page: 512, Seed: seed})
		u := user{t, d}
		for i := range 20 {
			u.file(fmt.Sprint("f", i), strings.Repeat("x", 100*i))
		}
		d.Cut()
		return show(d.Remains(Options{}))
	}
	if diff := cmp.Diff(left(7), left(7)); diff != "" {
		t.Errorf("two disks of one seed differ:\n%s", diff)
	}
	if cmp.Equal(left(7), left(8)) {
		t.Error("two seeds leave the same")
	}
}

// The n-th sync never returns before Fail, and what it makes durable may be there or not.
func TestCutAt(t *testing.T) {
	seen := map[string]bool{}
	for seed := range uint64(20) {
		d := New(Options{Names: Journal, Seed: seed})
		u := user{t, d}
		u.file("a", "1")
		u.sync("a")
		u.put("a", 0, "2")
		d.CutAt(1)
		ended := make(chan syscall.Errno)
		id := u.find("a")
		go func() { ended <- d.fsync(id, true) }()
		<-d.Dark()
		go func() { ended <- d.write(id, []byte("3"), 0, allSynced) }()
		select {
		case errno := <-ended:
			t.Fatalf("an operation ended before Fail: %v", errno)
		default:
		}
		d.Fail()
		for range 2 {
			if errno := <-ended; errno != syscall.EIO {
				t.Fatalf("an operation ended with %v; want EIO", errno)
			}
		}
		seen[show(d.Remains(Options{}))["a"]] = true
	}
	if want := map[string]bool{"1": true, "2": true}; !cmp.Equal(seen, want) {
		t.Errorf("20 cuts left %v; want %v", seen, want)
	}
}

func TestNamesRefused(t *testing.T) {
	u := user{t, New(Options{Names: Journal})}
	u.new("d", true)
	u.file("d/a", "")
	u.file("b", "")
	for name, tt := range map[string]struct{ got, want syscall.Errno }{
		"remove what is not there":             {u.remove(rootID, "x", false), syscall.ENOENT},
		"remove a directory as a file":         {u.remove(rootID, "d", false), syscall.EISDIR},
		"remove a file as a directory":         {u.remove(rootID, "b", true), syscall.ENOTDIR},
		"remove a directory that is not empty": {u.remove(rootID, "d", true), syscall.ENOTEMPTY},
		"rename over a directory":              {u.rename(rootID, "b", rootID, "d", true), syscall.EISDIR},
		"rename over what must not be there":   {u.rename(rootID, "b", u.find("d"), "a", false), syscall.EEXIST},
		"rename what is not there":             {u.rename(rootID, "x", rootID, "y", true), syscall.ENOENT},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %v; want %v", name, tt.got, tt.want)
		}
	}
	if _, errno := u.make(rootID, "b", false, 0); errno != syscall.EEXIST {
		t.Errorf("make twice = %v; want %v", errno, syscall.EEXIST)
	}
}
