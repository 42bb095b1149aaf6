//go:build !linux

package disk

// Mount works on Linux only.
func (d *Disk) Mount(string) (unmount func() error, err error) { return nil, ErrNoFUSE }

// Usable returns ErrNoFUSE.
func Usable() error { return ErrNoFUSE }
