package disk

import (
	"maps"
	"slices"
	"syscall"
	"time"
)

// resized returns b with n bytes; what is new is zero.
func resized(b []byte, n int64) []byte {
	have := int64(len(b))
	if n <= have {
		clear(b[n:]) // it may grow again
		return b[:n]
	}
	return slices.Grow(b, int(n-have))[:n]
}

// read copies from a file; like a system call it may return less.
func (d *Disk) read(id uint64, buf []byte, off int64) (int, syscall.Errno) {
	if errno := d.enter(); errno != 0 {
		return 0, errno
	}
	got := 0
	if n := d.nodes[id]; off < int64(len(n.data)) {
		got = copy(buf, n.data[off:])
	}
	return got, d.leave(0)
}

// What of a write is durable when it returns.
type synced int

const (
	notSynced  synced = iota
	dataSynced        // O_DSYNC
	allSynced         // O_SYNC
)

// write writes to a file, through to the disk if it is told so.
func (d *Disk) write(id uint64, data []byte, off int64, how synced) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	n := d.nodes[id]
	end := off + int64(len(data))
	if end > int64(len(n.data)) {
		n.data = resized(n.data, end)
	}
	copy(n.data[off:], data)
	n.mtime = time.Now()
	page := int64(d.o.Page)
	for p := off / page; p*page < end; p++ {
		n.dirty[p] = struct{}{}
		if d.chance() { // the disk had nothing else to do
			d.put(n, p)
		}
	}
	if how != notSynced {
		d.sync(n, how == dataSynced)
	}
	return d.leave(0)
}

// put makes one page durable as it is now.
func (d *Disk) put(n *node, p int64) {
	delete(n.dirty, p)
	if d.recorded(n) {
		d.commit(n) // a truncation before it, or its place would be wrong
	}
	from := p * int64(d.o.Page)
	to := min(from+int64(d.o.Page), int64(len(n.data)))
	if from >= to {
		return
	}
	if to > int64(len(n.kept)) {
		n.kept = resized(n.kept, to)
	}
	copy(n.kept[from:to], n.data[from:to])
}

// truncate sets a file's size.
func (d *Disk) truncate(id uint64, size int64) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	d.resize(d.nodes[id], size)
	return d.leave(0)
}

func (d *Disk) resize(n *node, size int64) {
	if size == int64(len(n.data)) {
		return
	}
	n.data = resized(n.data, size)
	n.mtime = time.Now()
	maps.DeleteFunc(n.dirty, func(p int64, _ struct{}) bool { return p*int64(d.o.Page) >= size })
	d.note(n, func() { n.kept = resized(n.kept, size) }, n)
}

// fsync makes a file or directory durable. With dataOnly it is fdatasync.
func (d *Disk) fsync(id uint64, dataOnly bool) syscall.Errno {
	if errno := d.enter(); errno != 0 {
		return errno
	}
	d.sync(d.nodes[id], dataOnly)
	return d.leave(0)
}

// sync makes n durable. If the cut comes at this sync, chance decides on which side of it.
func (d *Disk) sync(n *node, dataOnly bool) {
	grown := len(n.kept) != len(n.data)
	recorded := d.recorded(n)
	if len(n.dirty) == 0 && !grown && !recorded {
		return
	}
	d.syncs++
	if d.syncs == d.cutAt && d.rnd.IntN(2) == 0 {
		d.end()
		return
	}
	switch {
	case recorded:
		d.commit(n)
	case d.o.Names == Journal && (grown || !dataOnly): // its size, or its time, stands in the journal
		d.commit(n)
	}
	d.flush(n)
	if d.syncs == d.cutAt {
		d.end()
	}
}

// flush makes the content of a file durable.
func (d *Disk) flush(n *node) {
	if n.dir {
		return
	}
	if len(n.kept) != len(n.data) {
		n.kept = resized(n.kept, int64(len(n.data)))
	}
	page := int64(d.o.Page)
	for p := range n.dirty {
		from := p * page
		to := min(from+page, int64(len(n.data)))
		copy(n.kept[from:to], n.data[from:to])
	}
	clear(n.dirty)
}
