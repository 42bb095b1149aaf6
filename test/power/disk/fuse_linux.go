package disk

import (
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// cached is how long the kernel believes what it was told: always, as nothing changes but through it.
const cached = time.Hour

// door shows a disk to the kernel. It says the truth about what is not there: links, attributes beyond the mode, locks (the
// kernel keeps those itself).
type door struct {
	fuse.RawFileSystem
	d *Disk
}

func (s stat) fill(a *fuse.Attr) {
	*a = fuse.Attr{Ino: s.id, Mode: s.mode | syscall.S_IFREG, Size: uint64(s.size), Blocks: uint64(s.size+511) / 512, Nlink: 1, Blksize: 4096}
	if s.dir {
		a.Mode, a.Nlink = s.mode|syscall.S_IFDIR, 2
	}
	a.SetTimes(&s.mtime, &s.mtime, &s.mtime)
}

func (s stat) entry(out *fuse.EntryOut) {
	out.NodeId = s.id
	out.SetEntryTimeout(cached)
	out.SetAttrTimeout(cached)
	s.fill(&out.Attr)
}

func (f door) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	s, errno := f.d.lookup(h.NodeId, name)
	if errno == 0 {
		s.entry(out)
	}
	return fuse.Status(errno)
}

func (f door) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	s, errno := f.d.attr(in.NodeId)
	if errno == 0 {
		out.SetTimeout(cached)
		s.fill(&out.Attr)
	}
	return fuse.Status(errno)
}

func (f door) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	var errno syscall.Errno
	if mode, ok := in.GetMode(); ok {
		errno = f.d.chmod(in.NodeId, mode)
	}
	if size, ok := in.GetSize(); ok && errno == 0 {
		errno = f.d.truncate(in.NodeId, int64(size))
	}
	if at, ok := in.GetMTime(); ok && errno == 0 {
		errno = f.d.touch(in.NodeId, at)
	}
	if errno != 0 {
		return fuse.Status(errno)
	}
	return f.GetAttr(cancel, &fuse.GetAttrIn{InHeader: in.InHeader}, out)
}

func (f door) Access(<-chan struct{}, *fuse.AccessIn) fuse.Status { return fuse.OK }

func (f door) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	s, errno := f.d.make(in.NodeId, name, true, in.Mode)
	if errno == 0 {
		s.entry(out)
	}
	return fuse.Status(errno)
}

func (f door) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	s, errno := f.d.make(in.NodeId, name, false, in.Mode)
	if errno == 0 {
		s.entry(&out.EntryOut)
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
	return fuse.Status(errno)
}

func (f door) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fuse.Status(f.d.remove(h.NodeId, name, false))
}

func (f door) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return fuse.Status(f.d.remove(h.NodeId, name, true))
}

// renameNoReplace is RENAME_NOREPLACE of renameat2.
const renameNoReplace = 1

func (f door) Rename(_ <-chan struct{}, in *fuse.RenameIn, old, name string) fuse.Status {
	if in.Flags&^renameNoReplace != 0 {
		return fuse.EINVAL
	}
	return fuse.Status(f.d.rename(in.NodeId, old, in.Newdir, name, in.Flags == 0))
}

// Open lets the kernel keep what it has of the file: so memory that several processes map stays theirs.
func (f door) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	if in.Flags&syscall.O_TRUNC != 0 {
		return fuse.Status(f.d.truncate(in.NodeId, 0))
	}
	return fuse.OK
}

func (f door) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	n, errno := f.d.read(in.NodeId, buf, int64(in.Offset))
	return fuse.ReadResultData(buf[:n]), fuse.Status(errno)
}

// Write writes through if the file was opened so. The kernel then syncs it besides, which by then changes nothing.
func (f door) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	how := notSynced
	switch {
	case in.WriteFlags&fuse.WRITE_CACHE != 0: // of mapped memory: nobody waits
	case in.Flags&syscall.O_SYNC == syscall.O_SYNC:
		how = allSynced
	case in.Flags&syscall.O_DSYNC != 0:
		how = dataSynced
	}
	errno := f.d.write(in.NodeId, data, int64(in.Offset), how)
	return uint32(len(data)), fuse.Status(errno)
}

func (f door) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// dataOnly is FUSE_FSYNC_FDATASYNC.
const dataOnly = 1

func (f door) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fuse.Status(f.d.fsync(in.NodeId, in.FsyncFlags&dataOnly != 0))
}

func (f door) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fuse.Status(f.d.fsync(in.NodeId, false))
}

func (f door) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	handle, errno := f.d.list(in.NodeId)
	out.Fh = handle
	return fuse.Status(errno)
}

func (f door) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	items := f.d.listed(in.Fh)
	for i := min(in.Offset, uint64(len(items))); i < uint64(len(items)); i++ {
		mode := uint32(syscall.S_IFREG)
		if items[i].dir {
			mode = syscall.S_IFDIR
		}
		if !out.AddDirEntry(fuse.DirEntry{Name: items[i].name, Mode: mode, Ino: items[i].id, Off: i + 1}) {
			break
		}
	}
	return fuse.OK
}

func (f door) ReleaseDir(in *fuse.ReleaseIn) { f.d.closeList(in.Fh) }

// StatFs tells of a terabyte that is empty: no test here fills it.
func (f door) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const blocks = 1 << 28
	*out = fuse.StatfsOut{Blocks: blocks, Bfree: blocks, Bavail: blocks, Files: 1 << 20, Ffree: 1 << 20, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return fuse.OK
}

// Usable returns ErrNoFUSE where nothing can be mounted; Mount may find that out too.
func Usable() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoFUSE, err)
	}
	return f.Close()
}

// Mount shows the disk at dir, an empty directory. It needs root and /dev/fuse; ErrNoFUSE tells that one of them is missing. Only processes that may be
// killed should use what is there: this one would wait for itself.
func (d *Disk) Mount(dir string) (unmount func() error, err error) {
	if err := Usable(); err != nil {
		return nil, err
	}
	server, err := fuse.NewServer(door{fuse.NewDefaultRawFileSystem(), d}, dir, &fuse.MountOptions{
		DirectMountStrict: true, DisableXAttrs: true, DisableReadDirPlus: true, FsName: "power", Name: "power", AllowOther: true,
		Logger: log.New(io.Discard, "", 0), // of how a connection ended
	})
	if errors.Is(err, syscall.EPERM) {
		return nil, fmt.Errorf("%w: %w", ErrNoFUSE, err)
	}
	if err != nil {
		return nil, err
	}
	go server.Serve()
	if err := server.WaitMount(); err != nil {
		return nil, err
	}
	return server.Unmount, nil
}
