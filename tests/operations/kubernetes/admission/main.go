// Command admission runs pods through the API server's own MutatingAdmissionPolicy plugin.
//
// usage: admission POLICY.yaml < PODS.json > RESULTS.json
//
// POLICY.yaml holds MutatingAdmissionPolicy and MutatingAdmissionPolicyBinding objects; PODS.json is a
// list of pods. Each result is {"pod": the pod as admitted} or {"error": why it was refused}. Every
// object is decoded strictly. Exit status 1: the policies could not be loaded.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/client-go/discovery"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/openapi"
	"k8s.io/client-go/openapi/openapitest"
	"sigs.k8s.io/yaml"
)

const namespace = "default"

type result struct {
	Pod   *corev1.Pod `json:"pod,omitempty"`
	Error string      `json:"error,omitempty"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "admission:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 2 {
		return errors.New("usage: admission POLICY.yaml < PODS.json")
	}
	objects, err := readPolicies(os.Args[1])
	if err != nil {
		return err
	}
	input, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(input, &raw); err != nil {
		return fmt.Errorf("pods: %w", err)
	}
	stop := make(chan struct{})
	defer close(stop)
	plugin, err := startPlugin(objects, stop)
	if err != nil {
		return err
	}
	results := make([]result, 0, len(raw))
	for _, item := range raw {
		results = append(results, admit(plugin, item))
	}
	return json.NewEncoder(os.Stdout).Encode(results)
}

func readPolicies(path string) ([]runtime.Object, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var objects []runtime.Object
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, err
		}
		var object runtime.Object
		switch kind.Kind {
		case "MutatingAdmissionPolicy":
			object = &admissionv1.MutatingAdmissionPolicy{}
		case "MutatingAdmissionPolicyBinding":
			object = &admissionv1.MutatingAdmissionPolicyBinding{}
		default:
			return nil, fmt.Errorf("%s: unexpected kind %q", path, kind.Kind)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if policy, ok := object.(*admissionv1.MutatingAdmissionPolicy); ok {
			// With Ignore an expression that does not compile would look like a pod that does not match.
			fail := admissionv1.Fail
			policy.Spec.FailurePolicy = &fail
			// The API server's own defaults, which a client that skips it must set.
			selectors := policy.Spec.MatchConstraints
			if selectors.NamespaceSelector == nil {
				selectors.NamespaceSelector = &metav1.LabelSelector{}
			}
			for i := range selectors.ResourceRules {
				if selectors.ResourceRules[i].Scope == nil {
					all := admissionv1.AllScopes
					selectors.ResourceRules[i].Scope = &all
				}
			}
		}
		objects = append(objects, object)
	}
	return objects, nil
}

// apiServer is the fake API server with the OpenAPI schemas that client-go carries: the plugin does not
// patch kinds without a schema.
type apiServer struct{ *fake.Clientset }

func (s apiServer) Discovery() discovery.DiscoveryInterfaces {
	return discoveryClient{s.Clientset.Discovery()}
}

type discoveryClient struct{ discovery.DiscoveryInterfaces }

func (discoveryClient) OpenAPIV3() openapi.Client { return openapitest.NewEmbeddedFileClient() }

// startPlugin loads the policies into a plugin that reads them from a fake API server.
func startPlugin(objects []runtime.Object, stop <-chan struct{}) (*mutating.Plugin, error) {
	objects = append(objects, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	client := apiServer{fake.NewSimpleClientset(objects...)}
	factory := informers.NewSharedInformerFactory(client, 0)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Pod"), meta.RESTScopeNamespace)

	plugin, err := mutating.NewPlugin(nil)
	if err != nil {
		return nil, err
	}
	plugin.SetEnabled(true)
	plugin.SetDrainedNotification(stop)
	plugin.SetExternalKubeClientSet(client)
	plugin.SetExternalKubeInformerFactory(factory)
	plugin.SetRESTMapper(mapper)
	plugin.SetDynamicClient(dynamicfake.NewSimpleDynamicClient(scheme.Scheme))
	plugin.SetUnconditionalAuthorizer(authorizerfactory.NewAlwaysAllowAuthorizer())
	if err := plugin.ValidateInitialization(); err != nil {
		return nil, err
	}
	factory.Start(stop)
	factory.WaitForCacheSync(stop)
	if !plugin.WaitForReady() {
		return nil, errors.New("the plugin did not become ready")
	}
	return plugin, waitForPolicy(plugin)
}

// waitForPolicy returns once a pod that every policy for oncewatch must change is changed, as the
// plugin takes up policies some time after it is ready.
func waitForPolicy(plugin *mutating.Plugin) error {
	probe := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"probe","labels":{"oncewatch.dev/inject":"true"}},
		"spec":{"containers":[{"name":"app","image":"app"}]}}`)
	var last result
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		last = admit(plugin, probe)
		if last.Error != "" {
			return errors.New(last.Error)
		}
		if len(last.Pod.Spec.InitContainers) > 0 {
			return nil
		}
	}
	return errors.New("no policy changed the probe pod within 10 s")
}

func admit(plugin *mutating.Plugin, raw []byte) result {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(raw, pod); err != nil {
		return result{Error: err.Error()}
	}
	pod.Namespace = namespace
	attributes := admission.NewAttributesRecord(
		pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), namespace, pod.Name,
		corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, &metav1.CreateOptions{}, false,
		&user.DefaultInfo{Name: "test"},
	)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := plugin.Admit(ctx, attributes, admission.NewObjectInterfacesFromScheme(scheme.Scheme)); err != nil {
		return result{Error: err.Error()}
	}
	return result{Pod: pod}
}
