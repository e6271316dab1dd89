package oncewatchaws_test

import (
	"context"
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/oncewatch/oncewatch/clients/go/internal/peers"
	"github.com/oncewatch/oncewatch/clients/go/oncewatchaws"
)

type eventVector struct {
	Name       string
	Answer     peers.Answer
	AttemptEnd map[string]any `json:"attempt_end"`
	CallEnd    map[string]any `json:"call_end"`
	// Only for an SDK whose call returns normally.
	IfSuccess *struct {
		AttemptEnd map[string]any `json:"attempt_end"`
		CallEnd    map[string]any `json:"call_end"`
	} `json:"if_sdk_reports_success"`
	SDKSpecific []string `json:"sdk_specific"`
}

// The answers that every language's client turns into the same events.
func TestEventVectors(t *testing.T) {
	data, err := os.ReadFile("../../conformance/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []eventVector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, vector := range file.Vectors {
		if t.Run(vector.Name, func(t *testing.T) { checkEventVector(t, &vector) }) {
			passed++
		}
	}
	if len(file.Vectors) < 46 {
		t.Errorf("only %d vectors", len(file.Vectors))
	}
	t.Logf("conformance: events.json %d of %d", passed, len(file.Vectors))
}

func checkEventVector(t *testing.T, vector *eventVector) {
	if vector.Answer.Headers == nil {
		vector.Answer.Headers = map[string]string{}
	}
	dynamo := startDynamo(t, vector.Answer)
	client := dynamodb.NewFromConfig(newConfig(1, 400*time.Millisecond), oncewatchaws.DynamoDB(), func(o *dynamodb.Options) {
		o.BaseEndpoint = aws.String(dynamo.URL)
	})
	token := newToken()
	_, err := client.TransactWriteItems(context.Background(), transaction(token))
	if err == nil && vector.IfSuccess != nil {
		vector.AttemptEnd, vector.CallEnd = vector.IfSuccess.AttemptEnd, vector.IfSuccess.CallEnd
	}
	events := sidecar.WaitOf(t, "token", token, 3)
	for index, expected := range []map[string]any{nil, vector.AttemptEnd, vector.CallEnd} {
		event := events[index]
		if kind := []string{"attempt_start", "attempt_end", "call_end"}[index]; event.Text("type") != kind {
			t.Fatalf("%v instead of %s", event, kind)
		}
		for _, name := range []string{"outcome", "error", "http_status", "request_id", "read_units", "write_units"} {
			specific := false
			for _, other := range vector.SDKSpecific {
				specific = specific || other == name
			}
			if event[name] != expected[name] && !specific {
				t.Errorf("%s: %s is %v instead of %v (%v)", event.Text("type"), name, event[name], expected[name], err)
			}
		}
	}
}
