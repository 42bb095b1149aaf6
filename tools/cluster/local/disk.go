package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// giveDisk gives a NATS server a disk of its own for its files: a file system in memory, in a mount namespace that a process holds, which
// does nothing else. So the disk outlives the server, and nothing is mounted that anybody else sees.
func (p *Parts) giveDisk(n *Process, store string) {
	pid := filepath.Join(p.o.Dir, n.Name+".disk")
	script := fmt.Sprintf("mkdir -p %[1]q && mount -t tmpfs -o size=%[2]s tmpfs %[1]q && echo $$ > %[3]q && exec sleep 100000", store, p.o.NATSDisk, pid)
	holder := p.process("disk of "+n.Name, pid, "unshare", "--mount", "--map-root-user", "sh", "-c", script)
	holder.check = func(_ context.Context, h *Process) error {
		_, err := os.Stat(h.Addr)
		return err
	}
	p.disks = append(p.disks, holder)
	enter := fmt.Sprintf("exec nsenter --target \"$(cat %q)\" --user --mount --preserve-credentials \"$0\" \"$@\"", pid)
	n.args = append([]string{"-c", enter, n.path}, n.args...)
	n.path = "/bin/sh"
}

// store is where a NATS server keeps its files.
func (p *Parts) store(name string) string {
	return filepath.Join(orElse(p.o.NATSStores, p.o.Dir), name)
}

// Disk returns where the files of a NATS server are, as this process sees them.
func (p *Parts) Disk(n *Process) string {
	store := p.store(n.Name)
	if p.o.NATSDisk == "" {
		return store
	}
	pid, err := os.ReadFile(filepath.Join(p.o.Dir, n.Name+".disk"))
	if err != nil {
		return store
	}
	return filepath.Join("/proc", strings.TrimSpace(string(pid)), "root", store)
}
