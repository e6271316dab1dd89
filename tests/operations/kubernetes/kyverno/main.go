// Command kyverno runs pods through the rules of a ClusterPolicy with Kyverno's own code for
// preconditions, variables and strategic merge.
//
// usage: kyverno POLICY.yaml < PODS.json > RESULTS.json
//
// PODS.json is a list of pods. Each result is {"pod": the pod as admitted} or {"error": why a rule
// failed}. Which pods a rule matches is decided here, by its label selector alone. Exit status 1: the
// policy could not be read.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/go-logr/logr"
	kyvernov1 "github.com/kyverno/kyverno/api/kyverno/v1"
	"github.com/kyverno/kyverno/pkg/config"
	"github.com/kyverno/kyverno/pkg/engine/api"
	"github.com/kyverno/kyverno/pkg/engine/context"
	"github.com/kyverno/kyverno/pkg/engine/jmespath"
	"github.com/kyverno/kyverno/pkg/engine/mutate"
	"github.com/kyverno/kyverno/pkg/engine/utils"
	"github.com/kyverno/kyverno/pkg/engine/variables"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

type result struct {
	Pod   map[string]any `json:"pod,omitempty"`
	Error string         `json:"error,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "kyverno:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: kyverno POLICY.yaml < PODS.json")
	}
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var policy kyvernov1.ClusterPolicy
	if err := yaml.UnmarshalStrict(text, &policy); err != nil {
		return err
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var pods []map[string]any
	if err := json.Unmarshal(input, &pods); err != nil {
		return fmt.Errorf("pods: %w", err)
	}
	results := make([]result, 0, len(pods))
	for _, pod := range pods {
		admitted, err := admit(policy.Spec.Rules, pod)
		if err != nil {
			results = append(results, result{Error: err.Error()})
		} else {
			results = append(results, result{Pod: admitted})
		}
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func admit(rules []kyvernov1.Rule, pod map[string]any) (map[string]any, error) {
	for _, rule := range rules {
		matched, err := matches(rule, pod)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rule.Name, err)
		}
		if !matched {
			continue
		}
		if pod, err = apply(rule, pod); err != nil {
			return nil, fmt.Errorf("%s: %w", rule.Name, err)
		}
	}
	return pod, nil
}

func matches(rule kyvernov1.Rule, pod map[string]any) (bool, error) {
	object := unstructured.Unstructured{Object: pod}
	for _, filter := range rule.MatchResources.Any {
		selector, err := metav1.LabelSelectorAsSelector(filter.Selector)
		if err != nil {
			return false, err
		}
		if selector.Matches(labels.Set(object.GetLabels())) {
			return true, nil
		}
	}
	return false, nil
}

func apply(rule kyvernov1.Rule, pod map[string]any) (map[string]any, error) {
	logger := logr.Discard()
	values := context.NewContext(jmespath.New(config.NewDefaultConfiguration(false)))
	if err := values.AddResource(pod); err != nil {
		return nil, err
	}
	conditions, err := utils.TransformConditions(rule.GetAnyAllConditions())
	if err != nil {
		return nil, err
	}
	met, _, err := variables.EvaluateConditions(logger, values, conditions)
	if err != nil || !met {
		return pod, err
	}
	response := mutate.Mutate(&rule, values, unstructured.Unstructured{Object: pod}, logger)
	if response.Status != api.RuleStatusPass && response.Status != api.RuleStatusSkip {
		return nil, errors.New(response.Message)
	}
	return response.PatchedResource.Object, nil
}
