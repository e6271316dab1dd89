package oncewatch

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programs run in a process of their own, on the socket of their test.
var programs = map[string]func(){
	"flush": func() {
		defer Flush(200 * time.Millisecond)
		for index := range 300 {
			report(fmt.Sprint(index))
		}
	},
	"a moment": func() {
		report("one")
		time.Sleep(50 * time.Millisecond)
	},
	"dead connection": func() {
		signal.Ignore(syscall.SIGHUP)
		signal.Reset(syscall.SIGPIPE)
		for range 20 {
			report("t")
			time.Sleep(10 * time.Millisecond)
		}
		fmt.Println("alive")
	},
}

func TestFlushAtTheEndOfMain(t *testing.T) {
	sidecar := newSidecar(t)
	runProgram(t, "flush")
	for index, event := range sidecar.Wait(t, 900) {
		if event.Text("token") != fmt.Sprint(index/3) {
			t.Fatalf("event %d has token %s", index, event.Text("token"))
		}
	}
}

func TestAMomentIsEnoughWithoutFlush(t *testing.T) {
	sidecar := newSidecar(t)
	runProgram(t, "a moment")
	sidecar.Wait(t, 3)
}

func TestADeadConnectionDoesNotKillBySIGPIPE(t *testing.T) {
	path := newSocket(t)
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.Close()
			_ = listener.Close()
		}
	}()
	expectEqual(t, "output", runProgram(t, "dead connection"), "alive")
}

// A process that this one starts is a new process; it gets no copy of the connection.
func TestAStartedProcessDoesNotInheritTheConnection(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Fatal("looks into /proc")
	}
	sidecar := newSidecar(t)
	report("t")
	sidecar.Wait(t, 3)
	output, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(output), "socket:") {
		t.Errorf("%s", output)
	}
}

func TestDefaultSocketPaths(t *testing.T) {
	directory := t.TempDir()
	t.Setenv("ONCEWATCH_SOCKET", "")
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("TMPDIR", directory)
	if _, err := os.Stat("/run/oncewatch/events.sock"); err == nil {
		t.Fatal("this machine has a sidecar")
	}
	expectEqual(t, "nothing there", socketPath(), "")
	private := filepath.Join(directory, fmt.Sprintf("oncewatch-%d", os.Getuid()))
	if err := os.Mkdir(private, 0o700); err != nil {
		t.Fatal(err)
	}
	expectEqual(t, "temporary", socketPath(), filepath.Join(private, "events.sock"))
	if err := os.Chmod(private, 0o777); err != nil {
		t.Fatal(err)
	}
	expectEqual(t, "anybody's directory", socketPath(), "")
	t.Setenv("XDG_RUNTIME_DIR", directory)
	expected := filepath.Join(directory, "oncewatch", "events.sock")
	if err := os.Mkdir(filepath.Dir(expected), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(expected, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	expectEqual(t, "runtime directory", socketPath(), expected)
	t.Setenv("ONCEWATCH_SOCKET", "/configured")
	expectEqual(t, "configured", socketPath(), "/configured")
}
