package disk

import (
	"maps"
	"slices"
	"syscall"
	"time"
)

// item is what a directory tells of one of its names.
type item struct {
	name string
	id   uint64
	dir  bool
}

// stat is what the disk tells of a node.
type stat struct {
	id    uint64
	dir   bool
	mode  uint32
	size  int64
	mtime time.Time
}

func (n *node) stat() stat { return stat{n.id, n.dir, n.mode, int64(len(n.data)), n.mtime} }

// attr tells of a node.
func (d *Disk) attr(id uint64) (s stat, errno syscall.Errno) {
	if errno := d.enter(); errno != 0 {
		return s, errno
	}
	n := d.nodes[id]
	if n == nil {
		return s, d.leave(syscall.ENOENT)
	}
	return n.stat(), d.leave(0)
}

// chmod sets the permissions, which are durable at once.
func (d *Disk) chmod(id uint64, mode uint32) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	d.nodes[id].mode = mode & 0o7777
	return d.leave(0)
}

// touch sets the time of the last write, which is durable at once.
func (d *Disk) touch(id uint64, at time.Time) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	d.nodes[id].mtime = at
	return d.leave(0)
}

// lookup finds a name in a directory.
func (d *Disk) lookup(dir uint64, name string) (s stat, errno syscall.Errno) {
	if errno := d.enter(); errno != 0 {
		return s, errno
	}
	n := d.nodes[dir].names[name]
	if n == nil {
		return s, d.leave(syscall.ENOENT)
	}
	return n.stat(), d.leave(0)
}

// make makes a file or a directory.
func (d *Disk) make(dir uint64, name string, isDir bool, mode uint32) (s stat, errno syscall.Errno) {
	if errno := d.enter(); errno != 0 {
		return s, errno
	}
	p := d.nodes[dir]
	if p.names[name] != nil {
		return s, d.leave(syscall.EEXIST)
	}
	n := d.add(isDir, mode)
	p.names[name] = n
	d.note(n, func() { p.known[name] = n }, p)
	return n.stat(), d.leave(0)
}

// remove deletes a name; who has the file open keeps it.
func (d *Disk) remove(dir uint64, name string, isDir bool) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	p := d.nodes[dir]
	n := p.names[name]
	if errno := removable(n, isDir); errno != 0 {
		return d.leave(errno)
	}
	delete(p.names, name)
	d.note(n, func() { delete(p.known, name) }, p)
	return d.leave(0)
}

func removable(n *node, asDir bool) syscall.Errno {
	switch {
	case n == nil:
		return syscall.ENOENT
	case asDir && !n.dir:
		return syscall.ENOTDIR
	case !asDir && n.dir:
		return syscall.EISDIR
	case n.dir && len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	return 0
}

// rename moves a name over another one, which is atomic: it is durable as a whole or not at all.
func (d *Disk) rename(from uint64, old string, to uint64, name string, replace bool) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	a, b := d.nodes[from], d.nodes[to]
	n, there := a.names[old], b.names[name]
	switch {
	case n == nil:
		return d.leave(syscall.ENOENT)
	case there == n:
		return d.leave(0)
	case there != nil && !replace:
		return d.leave(syscall.EEXIST)
	case there != nil:
		if errno := removable(there, n.dir); errno != 0 {
			return d.leave(errno)
		}
	}
	delete(a.names, old)
	b.names[name] = n
	d.note(n, func() {
		delete(a.known, old)
		b.known[name] = n
	}, a, b)
	return d.leave(0)
}

// list opens a directory: what it holds now, by name.
func (d *Disk) list(dir uint64) (handle uint64, errno syscall.Errno) {
	if errno := d.enter(); errno != 0 {
		return 0, errno
	}
	p := d.nodes[dir]
	var items []item
	for _, name := range slices.Sorted(maps.Keys(p.names)) {
		items = append(items, item{name, p.names[name].id, p.names[name].dir})
	}
	d.handle++
	d.lists[d.handle] = items
	return d.handle, d.leave(0)
}

// listed returns what an open directory held.
func (d *Disk) listed(handle uint64) []item {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lists[handle]
}

// closeList closes an open directory.
func (d *Disk) closeList(handle uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.lists, handle)
}
