package disk

import (
	"maps"
	"slices"
	"time"
)

// CutAt has the power go at the n-th sync from now on, just before it or just after it; 0: at none.
func (d *Disk) CutAt(n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cutAt = 0; n > 0 {
		d.cutAt = d.syncs + n
	}
}

// Cut has the power go now, between two operations.
func (d *Disk) Cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut.IsZero() {
		d.end()
	}
}

// end lets nothing happen any more. Of what was not synced, some may be there (Options.Keep): of the journal in Journal
// its beginning, up to where chance says.
func (d *Disk) end() {
	d.cut = time.Now()
	close(d.dark)
	if d.o.Keep == 0 {
		return
	}
	if d.o.Names == Journal {
		d.journal = d.journal[:d.rnd.IntN(len(d.journal)+1)]
	}
	for _, c := range d.journal {
		if d.o.Names == Journal || d.chance() {
			c.apply()
		}
	}
	d.journal = nil
	for _, id := range slices.Sorted(maps.Keys(d.nodes)) {
		n := d.nodes[id]
		for _, p := range slices.Sorted(maps.Keys(n.dirty)) {
			if d.chance() {
				d.put(n, p)
			}
		}
	}
}

// Settle makes everything durable that was written so far, as a system does by itself in time: Linux with what is older
// than half a minute.
func (d *Disk) Settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.cut.IsZero() {
		return
	}
	for _, c := range d.journal {
		c.apply()
	}
	d.journal = nil
	for _, n := range d.nodes {
		d.flush(n)
	}
}

// Dark is closed when the power has gone. From then on every operation hangs: end the processes, then call Fail.
func (d *Disk) Dark() <-chan struct{} { return d.dark }

// CutTime returns when the power went; zero: it has not.
func (d *Disk) CutTime() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

// Fail ends with an error whatever hangs since the cut, so that processes that were killed can end.
func (d *Disk) Fail() { d.fail.Do(func() { close(d.failed) }) }

// Remains returns a disk with what the cut has left of this one. o is for what comes next.
func (d *Disk) Remains(o Options) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	next := New(o)
	copies := map[*node]*node{}
	next.restore(next.nodes[rootID], d.nodes[rootID], copies)
	return next
}

// restore fills n with what is durable of old.
func (d *Disk) restore(n, old *node, copies map[*node]*node) {
	n.mode, n.mtime = old.mode, old.mtime
	if !old.dir {
		n.data, n.kept = slices.Clone(old.kept), slices.Clone(old.kept)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(old.known)) {
		child := old.known[name]
		if copies[child] == nil { // one that was moved may have two names: of the old one's end the disk has not heard
			copies[child] = d.add(child.dir, child.mode)
			d.restore(copies[child], child, copies)
		}
		n.names[name], n.known[name] = copies[child], copies[child]
	}
}
