package oncewatch

import (
	"os"
	"path/filepath"
	"strconv"
)

// socketPath is ONCEWATCH_SOCKET, else the first default of the sidecar that exists; empty if none does.
func socketPath() string {
	if configured := os.Getenv("ONCEWATCH_SOCKET"); configured != "" {
		return configured
	}
	candidates := []string{"/run/oncewatch/events.sock"}
	if runtimeDirectory := os.Getenv("XDG_RUNTIME_DIR"); runtimeDirectory != "" {
		candidates = append(candidates, filepath.Join(runtimeDirectory, "oncewatch", "events.sock"))
	}
	for _, candidate := range candidates {
		if _, err := os.Stat(candidate); err == nil {
			return candidate
		}
	}
	// Anybody can create a directory in the temporary one: only this user's own may receive tokens.
	directory := filepath.Join(os.TempDir(), "oncewatch-"+strconv.Itoa(os.Getuid()))
	if !isPrivate(directory) {
		return ""
	}
	return filepath.Join(directory, "events.sock")
}

// clientName is <HOSTNAME>/<pid> of this process.
func clientName() string {
	suffix := "/" + strconv.Itoa(os.Getpid())
	host := os.Getenv("HOSTNAME")
	if host == "" {
		host, _ = os.Hostname()
	}
	return clipped(host, clientBytesMax-len(suffix)) + suffix
}
