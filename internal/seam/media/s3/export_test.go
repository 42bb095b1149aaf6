package s3

// HoldUpTo sets which blobs are held in memory, in bytes.
func (b *Blobs) HoldUpTo(n int64) { b.small = n }
