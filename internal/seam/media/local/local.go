// Package local keeps blobs as files of one folder. It owns that folder alone and never follows a name out of it:
// all access goes through an os.Root, and ids are checked before.
//
// It keeps this: a file with a blob's name is whole. What is being written has a name that no id can have; what a crash
// left of it is removed by the next Open of the folder.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/oceanchat/oceanchat/internal/chat"
	"github.com/oceanchat/oceanchat/internal/fault"
	"github.com/oceanchat/oceanchat/internal/seam/media"
)

const (
	dirMode  = 0o700
	fileMode = 0o600
	// partDir holds what is being written; no shard has its name, as a shard's is two characters of an id.
	partDir = "parts.tmp"
)

// Blobs implements media.Blobs. Blobs lie in sub-folders named by the last two characters of their
// ids: 256 of them for ids of chat.NewID.
type Blobs struct{ root *os.Root }

var _ media.Blobs = (*Blobs)(nil)

// Open returns the blobs of a folder, which is made when it is not there, and removes what a crash left half written.
// Only one process may have it open.
func Open(dir string) (*Blobs, error) {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fmt.Errorf("make media folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open media folder: %w", err)
	}
	if err := errors.Join(root.RemoveAll(partDir), root.Mkdir(partDir, dirMode)); err != nil {
		return nil, errors.Join(fmt.Errorf("clean media folder: %w", err), root.Close())
	}
	return &Blobs{root}, nil
}

// Close ends the use of the folder. Readers that are open stay so.
func (b *Blobs) Close() error { return b.root.Close() }

// Put implements media.Blobs.
func (b *Blobs) Put(ctx context.Context, id string, r io.Reader, size int64) error {
	if err := chat.CheckID("mediaId", id); err != nil {
		return err
	}
	part := path.Join(partDir, chat.NewID())
	if err := b.write(ctx, part, r, size); err != nil {
		_ = b.root.Remove(part) // what is left of it goes at the next Open
		return err
	}
	if err := b.publish(part, id); err != nil {
		_ = b.root.Remove(part)
		return fmt.Errorf("store blob %s: %w", id, err)
	}
	return nil
}

// write makes the file part of exactly size bytes and syncs it.
func (b *Blobs) write(ctx context.Context, part string, r io.Reader, size int64) error {
	f, err := b.root.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return fmt.Errorf("write blob: %w", err)
	}
	defer f.Close() // the error of the first Close counts
	// One byte more than announced is enough to know.
	n, err := io.Copy(f, io.LimitReader(reader{ctx, r}, size+1))
	if err != nil {
		return fmt.Errorf("write blob: %w", err)
	}
	if n != size {
		return fault.InvalidField("size", "the number of bytes that follow")
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write blob: %w", err)
	}
	return nil
}

// publish gives part the blob's name and makes the name durable, and that of its folder.
func (b *Blobs) publish(part, id string) error {
	dir := shard(id)
	switch err := b.root.Mkdir(dir, dirMode); {
	case err == nil:
		if err := b.sync("."); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if err := b.root.Rename(part, path.Join(dir, id)); err != nil {
		return err
	}
	return b.sync(dir)
}

func (b *Blobs) sync(dir string) error {
	d, err := b.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open implements media.Blobs.
func (b *Blobs) Open(_ context.Context, id string) (io.ReadSeekCloser, media.Info, error) {
	if err := chat.CheckID("mediaId", id); err != nil {
		return nil, media.Info{}, err
	}
	f, err := b.root.Open(path.Join(shard(id), id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, media.Info{}, fault.New(fault.NotFoundReason, "no media %s", id)
	}
	if err != nil {
		return nil, media.Info{}, fmt.Errorf("open blob %s: %w", id, err)
	}
	st, err := f.Stat()
	if err != nil {
		return nil, media.Info{}, errors.Join(fmt.Errorf("open blob %s: %w", id, err), f.Close())
	}
	return f, media.Info{Size: st.Size(), Created: st.ModTime()}, nil
}

// Delete implements media.Blobs. The removal may not survive power loss; repeating it is harmless.
func (b *Blobs) Delete(_ context.Context, id string) error {
	if err := chat.CheckID("mediaId", id); err != nil {
		return err
	}
	if err := b.root.Remove(path.Join(shard(id), id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete blob %s: %w", id, err)
	}
	return nil
}

// shard returns the sub-folder of id. Upper case is folded, as some file systems do; the ids themselves are as random
// as chat.NewID's, which has no upper case.
func shard(id string) string { return strings.ToLower(("__" + id)[len(id):]) }

// reader stops when ctx ends.
type reader struct {
	ctx context.Context //nolint:containedctx // lives for one Put
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
