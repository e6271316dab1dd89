//go:build !unix

package oncewatch

// isPrivate is false where the owner of a directory cannot be told; ONCEWATCH_SOCKET still works.
func isPrivate(string) bool {
	return false
}
