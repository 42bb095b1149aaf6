//go:build !unix

package app

// lockDir does nothing where there is no advisory lock: running two processes on one directory is up to the operator.
func lockDir(string) (unlock func(), err error) { return func() {}, nil }
