package doctor

import "syscall"

// kinds are file systems that are no place for a log, by the numbers that statfs gives.
var kinds = map[int64]string{
	0x01021994: "is in memory (tmpfs): nothing survives a restart of the machine",
	0x6969:     "is on NFS: locks and syncs may not hold",
	0xff534d42: "is on CIFS: locks and syncs may not hold",
	0xfe534d42: "is on SMB: locks and syncs may not hold",
}

// space returns what is free on the disk of dir, and what is wrong with its kind.
func space(dir string) (free, total int64, kind string, ok bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, "", false
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), kinds[int64(st.Type)], true // types depend on the processor
}
