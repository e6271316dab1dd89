// The benchmark measures what the hook costs the goroutine that makes a call,
// and what a real SDK call against a loopback server takes with and without it.
//
// Each state of the sidecar (reading, stalled, absent) has a process of its
// own, because a process keeps its connection. Calls with and without the hook
// alternate, so that both meet the same machine.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go/middleware"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

const (
	attempts    = 20_000
	idleRounds  = 1_000
	calls       = 4_000
	stateEnv    = "ONCEWATCH_BENCH_STATE"
	endpointEnv = "ONCEWATCH_BENCH_ENDPOINT"
)

// Row is one line of the table; times in microseconds. "busy": the goroutine
// has been running, with a pause after each 10 attempts that keeps the buffer
// from filling. "idle": it wakes from a sleep for each attempt, and pays for
// cold caches and for starting the sender.
type row struct {
	Sidecar      string  `json:"sidecar"`
	What         string  `json:"what"`
	WithoutP50   float64 `json:"without_p50_us"`
	WithoutP99   float64 `json:"without_p99_us"`
	WithP50      float64 `json:"with_p50_us"`
	WithP99      float64 `json:"with_p99_us"`
	HookP50      float64 `json:"hook_p50_us"`
	HookOverCall float64 `json:"hook_over_call,omitempty"`
	Sent         uint64  `json:"sent"`
	Dropped      uint64  `json:"dropped"`
}

func main() {
	if state := os.Getenv(stateEnv); state != "" {
		exitOn(measureState(state))
		return
	}
	file := flag.String("json", "", "also write the results to this `file`")
	flag.Parse()
	rows, err := measureAll()
	exitOn(err)
	printTable(rows)
	if *file != "" {
		data, err := json.MarshalIndent(rows, "", "  ")
		exitOn(err)
		exitOn(os.WriteFile(*file, append(data, '\n'), 0o644))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measureAll() ([]row, error) {
	directory, err := os.MkdirTemp("", "oncewatch-bench")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	go func() { _ = http.Serve(listener, http.HandlerFunc(answer)) }()
	var rows []row
	for _, state := range []string{"reading", "stalled", "absent"} {
		path := filepath.Join(directory, state+".sock")
		if state != "absent" {
			sidecar, err := net.Listen("unix", path)
			if err != nil {
				return nil, err
			}
			defer sidecar.Close()
			go serveEvents(sidecar, state == "reading")
		}
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), stateEnv+"="+state, "ONCEWATCH_SOCKET="+path, endpointEnv+"=http://"+listener.Addr().String())
		child.Stderr = os.Stderr
		output, err := child.Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", state, err)
		}
		var measured []row
		if err := json.Unmarshal(output, &measured); err != nil {
			return nil, err
		}
		rows = append(rows, measured...)
	}
	return rows, nil
}

func answer(writer http.ResponseWriter, request *http.Request) {
	buffer := make([]byte, 4096)
	for {
		if _, err := request.Body.Read(buffer); err != nil {
			break
		}
	}
	writer.Header().Set("Content-Type", "application/x-amz-json-1.0")
	writer.Header().Set("X-Amzn-Requestid", "0123456789ABCDEF")
	_, _ = writer.Write([]byte(`{"ConsumedCapacity":[{"TableName":"orders","WriteCapacityUnits":4}]}`))
}

func serveEvents(listener net.Listener, reads bool) {
	buffer := make([]byte, 64*1024)
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		// Held open, read or not, until the process ends.
		go func() {
			for reads {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
}

func measureState(state string) error {
	stack, err := newBareStack()
	if err != nil {
		return err
	}
	if state == "stalled" {
		fill()
	}
	hook := oncewatchaws.APIOptions()
	throughStack := func(options []func(*middleware.Stack) error) func() error {
		return func() error { return stack.call(options) }
	}
	config := newConfig(os.Getenv(endpointEnv), awshttp.NewBuildableClient().WithTimeout(10*time.Second))
	input := transaction(1)
	throughNetwork := func(client *dynamodb.Client) func() error {
		return func() error {
			_, err := client.TransactWriteItems(context.Background(), input)
			return err
		}
	}
	without, with := throughStack(nil), throughStack(hook)
	var rows []row
	for _, each := range []struct {
		what          string
		without, with func() error
		rounds, burst int
		pause         time.Duration
	}{
		{"hook, busy", without, with, attempts, 10, 10 * time.Millisecond},
		{"hook, idle", without, with, idleRounds, 1, 4 * time.Millisecond},
		{"no hook", throughNetwork(dynamodb.NewFromConfig(config)), throughNetwork(dynamodb.NewFromConfig(config)),
			calls, 10, 10 * time.Millisecond},
		{"SDK call", throughNetwork(dynamodb.NewFromConfig(config)),
			throughNetwork(dynamodb.NewFromConfig(config, oncewatchaws.DynamoDB())), calls, 10, 10 * time.Millisecond},
	} {
		measured, err := compare(each.without, each.with, each.rounds, each.burst, each.pause)
		if err != nil {
			return err
		}
		measured.Sidecar, measured.What = state, each.what
		rows = append(rows, measured)
	}
	rows[3].HookOverCall = rows[0].HookP50 / rows[3].WithoutP50
	return json.NewEncoder(os.Stdout).Encode(rows)
}

// fill waits until a sidecar that does not read has a full socket and the buffer drops.
func fill() {
	for oncewatch.Stats().Dropped == 0 {
		for range 100 {
			oncewatch.Begin("default", "fill", oncewatch.Request{}).End(oncewatch.OK, oncewatch.Result{})
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// compare times calls of both kinds in turn, in bursts with a pause after each.
func compare(without, with func() error, rounds, burst int, pause time.Duration) (row, error) {
	for range 200 {
		if err := without(); err != nil {
			return row{}, err
		}
		if err := with(); err != nil {
			return row{}, err
		}
		time.Sleep(time.Millisecond)
	}
	before := oncewatch.Stats()
	times := [2][]float64{make([]float64, 0, rounds), make([]float64, 0, rounds)}
	for done := range rounds {
		if done%burst == 0 {
			time.Sleep(pause)
		}
		// In turn also the order, or the second would find warmer caches.
		for turn := range 2 {
			kind := (turn + done) % 2
			began := time.Now()
			if err := [...]func() error{without, with}[kind](); err != nil {
				return row{}, err
			}
			times[kind] = append(times[kind], float64(time.Since(began).Nanoseconds())/1000)
		}
	}
	after := oncewatch.Stats()
	slices.Sort(times[0])
	slices.Sort(times[1])
	at := func(kind, percent int) float64 { return times[kind][len(times[kind])*percent/100] }
	return row{
		WithoutP50: at(0, 50), WithoutP99: at(0, 99), WithP50: at(1, 50), WithP99: at(1, 99),
		HookP50: at(1, 50) - at(0, 50), Sent: after.Sent - before.Sent, Dropped: after.Dropped - before.Dropped,
	}, nil
}

func printTable(rows []row) {
	fmt.Printf("%-8s %-10s | %10s %9s | %10s %9s | %9s | %6s %8s\n",
		"sidecar", "what (µs)", "without", "p99", "with", "p99", "hook", "sent", "dropped")
	for _, r := range rows {
		fmt.Printf("%-8s %-10s | %10.2f %9.2f | %10.2f %9.2f | %9.2f | %6d %8d", r.Sidecar, r.What,
			r.WithoutP50, r.WithoutP99, r.WithP50, r.WithP99, r.HookP50, r.Sent, r.Dropped)
		if r.HookOverCall > 0 {
			fmt.Printf("  hook/call %.2f %%", 100*r.HookOverCall)
		}
		fmt.Println()
	}
}
