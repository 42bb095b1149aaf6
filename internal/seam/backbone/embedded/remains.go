package embedded

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/minio/highwayhash"

	"github.com/oceanchat/oceanchat/internal/durable"
)

// This file deals with what a kill or a power cut leaves of the server's files, and sees to it that it is not too little.

// sweep removes what was cut off before anything could be stored: the folders of streams whose description is not whole, as
// the server would not start with them; the file by which it tries whether it may write, which it would take for an account; and trials of ours.
func sweep(store string) error {
	streams, err := filepath.Glob(filepath.Join(store, "jetstream", "*", "streams", "*"))
	if err != nil {
		return fmt.Errorf("look for streams: %w", err)
	}
	for _, dir := range streams {
		if described(dir) || !empty(dir) {
			continue
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the remains of a stream's creation: %w", err)
		}
	}
	for _, pattern := range []string{"trial-*", filepath.Join("jetstream", "_test_*")} {
		found, e := filepath.Glob(filepath.Join(store, pattern))
		err = errors.Join(err, e)
		for _, path := range found {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// The files that describe a stream, as the server names them: its configuration, and a checksum of it.
const (
	metaFile = "meta.inf"
	metaSum  = "meta.sum"
)

// described tells whether the server will take the description of a stream for whole.
func described(dir string) bool {
	meta, err := os.ReadFile(filepath.Join(dir, metaFile))
	if err != nil {
		return false
	}
	want, err := os.ReadFile(filepath.Join(dir, metaSum))
	if err != nil {
		return false
	}
	key := sha256.Sum256([]byte(filepath.Base(dir)))
	h, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return false
	}
	_, _ = h.Write(meta) // never fails
	return hex.EncodeToString(h.Sum(nil)) == string(want)
}

// empty tells whether a stream holds no messages.
func empty(dir string) bool {
	blocks, err := filepath.Glob(filepath.Join(dir, "msgs", "*.blk"))
	for _, f := range blocks {
		if i, err := os.Stat(f); err != nil || i.Size() > 0 {
			return false
		}
	}
	return err == nil
}

// settle makes the description of a stream durable, and the names of all folders above it. The server leaves that to time: the
// names always, the description with SyncInterval. A power cut soon after would leave messages without a stream, and no way to start.
func (s *Server) settle(stream string) error {
	dir := filepath.Join(s.dir, "jetstream", account, "streams", stream)
	paths := []string{filepath.Join(dir, metaFile), filepath.Join(dir, metaSum), filepath.Join(dir, "msgs")}
	top := filepath.Dir(s.dir) // the data directory, which may be "."
	for ; dir != top; dir = filepath.Dir(dir) {
		paths = append(paths, dir)
	}
	paths = append(paths, top)
	for _, path := range paths {
		if err := durable.Sync(path); err != nil {
			return fmt.Errorf("make stream %s durable: %w", stream, err)
		}
	}
	return nil
}

// account is the server's only one that has streams.
const account = "$G"
