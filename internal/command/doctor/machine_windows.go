package doctor

// openFiles is not told: the system has no such limit.
func openFiles() (uint64, bool) { return 0, false }
