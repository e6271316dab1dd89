//go:build unix

package oncewatch

import (
	"os"
	"syscall"
)

// isPrivate tells whether path is a directory of this user in which no other can write.
func isPrivate(path string) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return false
	}
	status, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(status.Uid) == os.Getuid()
}
