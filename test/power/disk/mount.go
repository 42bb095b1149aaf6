package disk

import "errors"

// ErrNoFUSE says that nothing can be mounted here.
var ErrNoFUSE = errors.New("no file system can be mounted here: it needs Linux, root and /dev/fuse")
