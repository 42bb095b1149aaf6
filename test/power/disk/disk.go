// Package disk is a file system that forgets what was not synced, as a disk does whose machine loses its power. It keeps
// two states: the one that processes see, and the one that is durable. Cut stops everything between two operations; what
// Remains then is durable.
//
// It is stricter than most disks: nothing becomes durable by itself in time (but see Settle), and a rename does not flush the file that it
// gives a name to. It is milder in two things: the modes and times of files are durable at once, and so is the content of
// what was synced, which a disk that lies about its cache may lose. It knows no links.
package disk

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Names says when a name becomes durable: that of a file or directory that was made, renamed or deleted, and the size of one that
// was truncated.
type Names string

// The two models.
const (
	// Journal does as ext4 and XFS: all of it stands in one journal, in turn, which is written as a whole when a
	// file is synced of which something stands there. An fdatasync of a file that did not grow does not write it.
	Journal Names = "journal"
	// Strict does what POSIX allows: a name is durable only when its directory was synced, a size when its file was.
	Strict Names = "strict"
)

// Options say what a disk forgets.
type Options struct {
	Names Names
	// Keep is the chance of each write that was not synced to be on the disk all the same, page by page, and of each name; 0 forgets
	// them all.
	Keep float64
	Page int    // bytes that are written whole or not at all, 4096 by default
	Seed uint64 // what chance is made of
}

// rootID is the number of the root, as FUSE has it.
const rootID = 1

// Disk is a file system in memory. Use New. Its methods are safe for concurrent use.
type Disk struct {
	o Options

	dark   chan struct{} // closed by the cut
	failed chan struct{} // closed by Fail
	fail   sync.Once

	mu      sync.Mutex // guards all below, and all nodes
	rnd     *rand.Rand
	nodes   map[uint64]*node
	last    uint64
	journal []change // what is not durable yet of names and sizes, in turn
	syncs   int
	cutAt   int // the number of the sync that does not return; 0: none
	cut     time.Time
	lists   map[uint64][]item // open directories
	handle  uint64
}

// node is a file or a directory.
type node struct {
	id    uint64
	dir   bool
	mode  uint32
	mtime time.Time

	data, kept   []byte             // of a file: seen, and durable
	dirty        map[int64]struct{} // pages of data that kept lacks
	names, known map[string]*node   // of a directory: seen, and durable
}

// change is a step that is not durable yet.
type change struct {
	in    []*node // whose sync makes it durable, in Strict
	of    *node   // what it happened to: it stands in the journal too
	apply func()
}

// New returns an empty disk.
func New(o Options) *Disk {
	if o.Page == 0 {
		o.Page = 4096
	}
	d := &Disk{
		o: o, dark: make(chan struct{}), failed: make(chan struct{}), rnd: rand.New(rand.NewPCG(o.Seed, 0)),
		nodes: map[uint64]*node{}, lists: map[uint64][]item{},
	}
	d.add(true, 0o700)
	return d
}

// add makes a node that has no name yet.
func (d *Disk) add(dir bool, mode uint32) *node {
	d.last++
	n := &node{id: d.last, dir: dir, mode: mode & 0o7777, mtime: time.Now()}
	if dir {
		n.names, n.known = map[string]*node{}, map[string]*node{}
	} else {
		n.dirty = map[int64]struct{}{}
	}
	d.nodes[n.id] = n
	return n
}

// enter begins an operation, which holds d.mu until it calls leave. After the cut it waits for Fail, as nothing that
// happens then may have an effect: not even an error, which the process might still tell somebody.
func (d *Disk) enter() syscall.Errno {
	d.mu.Lock()
	if d.cut.IsZero() {
		return 0
	}
	d.mu.Unlock()
	<-d.failed
	return syscall.EIO
}

// leave ends an operation; the cut may have come in its midst, and then it has no answer either.
func (d *Disk) leave(errno syscall.Errno) syscall.Errno {
	over := !d.cut.IsZero()
	d.mu.Unlock()
	if over {
		<-d.failed
		return syscall.EIO
	}
	return errno
}

// note puts a change at the end of the journal.
func (d *Disk) note(of *node, apply func(), in ...*node) {
	d.journal = append(d.journal, change{in: in, of: of, apply: apply})
}

// commit makes those changes durable that a sync of n does.
func (d *Disk) commit(n *node) {
	d.journal = slices.DeleteFunc(d.journal, func(c change) bool {
		due := d.o.Names == Journal || slices.Contains(c.in, n)
		if due {
			c.apply()
		}
		return due
	})
}

// recorded tells whether something that happened to n stands in the journal.
func (d *Disk) recorded(n *node) bool {
	return slices.ContainsFunc(d.journal, func(c change) bool { return c.of == n || slices.Contains(c.in, n) })
}

// chance tells whether a write that was not synced is on the disk.
func (d *Disk) chance() bool { return d.o.Keep > 0 && d.rnd.Float64() < d.o.Keep }

// Syncs returns how many syncs there were that made something durable.
func (d *Disk) Syncs() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.syncs
}

// CheckNames refuses what is no model.
func CheckNames(s string) (Names, error) {
	if n := Names(s); n == Journal || n == Strict {
		return n, nil
	}
	return "", fmt.Errorf("names %q: want %s or %s", s, Journal, Strict)
}
