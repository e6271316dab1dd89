package oncewatchaws_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	oncewatch "github.com/oncewatch/oncewatch/clients/go"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

// Set in the process that TestOffIsCheap starts: a process is on or off as a whole.
const withoutSidecar = "ONCEWATCH_TEST_WITHOUT_SIDECAR"

// Above what is kept for the next copy, so that each copy would be an allocation.
const largeBodyBytes = 100 * 1024

func TestOffIsCheap(t *testing.T) {
	if os.Getenv(withoutSidecar) != "" {
		measureOff(t)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestOffIsCheap$", "-test.v", "-test.timeout=30s")
	child.Env = append(os.Environ(), withoutSidecar+"=1", "ONCEWATCH_SOCKET="+filepath.Join(t.TempDir(), "absent.sock"))
	output, err := child.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: TestOffIsCheap") {
		t.Errorf("%v: %s", err, output)
	}
}

func measureOff(t *testing.T) {
	traces := 0
	options := oncewatchaws.APIOptions(oncewatchaws.WithTraceparent(func(context.Context) string {
		traces++
		return ""
	}))
	with, without := sdkStack(t, options...), sdkStack(t, threeSteps)
	with()
	for deadline := time.Now().Add(2 * time.Second); oncewatch.Stats().Dropped == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not off")
		}
	}
	expectEqual(t, "traces while on", traces, 1)
	dropped := oncewatch.Stats().Dropped
	// The attempt itself, whose end is counted.
	if added := testing.AllocsPerRun(100, with) - testing.AllocsPerRun(100, without); added > 1 {
		t.Errorf("%v allocations for an attempt and its call", added)
	}
	expectEqual(t, "traces", traces, 1)
	// AllocsPerRun runs once more, to warm up.
	expectEqual(t, "dropped", oncewatch.Stats().Dropped-dropped, 3*101)
	expectEqual(t, "failures", oncewatch.Stats().Failures, 0)
}

// threeSteps is what the SDK's stack does for as many steps as the hook's, which do nothing.
func threeSteps(stack *middleware.Stack) error {
	return errors.Join(
		stack.Initialize.Add(middleware.InitializeMiddlewareFunc("call", func(
			ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
		) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(ctx, in)
		}), middleware.Before),
		stack.Serialize.Add(middleware.SerializeMiddlewareFunc("token", func(
			ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler,
		) (middleware.SerializeOutput, middleware.Metadata, error) {
			return next.HandleSerialize(ctx, in)
		}), middleware.Before),
		stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("attempt", func(
			ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			return next.HandleDeserialize(ctx, in)
		}), middleware.Before),
	)
}

// sdkStack is a call as the SDK makes it, with one attempt and without a network.
func sdkStack(t *testing.T, options ...func(*middleware.Stack) error) func() {
	request := smithyhttp.NewStackRequest().(*smithyhttp.Request)
	request.Header.Set("amz-sdk-invocation-id", "call")
	request.Header.Set("amz-sdk-request", "attempt=1; max=4")
	request, err := request.SetStream(strings.NewReader(strings.Repeat("x", largeBodyBytes)))
	if err != nil {
		t.Fatal(err)
	}
	stack := middleware.NewStack("TransactWriteItems", func() any { return request })
	for _, option := range options {
		if err := option(stack); err != nil {
			t.Fatal(err)
		}
	}
	answer := middleware.HandlerFunc(func(context.Context, any) (any, middleware.Metadata, error) {
		return nil, middleware.Metadata{}, nil
	})
	handler := middleware.DecorateHandler(answer, stack)
	input := transaction(newToken())
	return func() {
		if _, _, err := handler.Handle(background, input); err != nil {
			t.Fatal(err)
		}
	}
}
