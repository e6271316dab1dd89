package oncewatch

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

type parts [][2]any

func (p parts) join() string {
	var joined strings.Builder
	for _, part := range p {
		joined.WriteString(strings.Repeat(part[0].(string), int(part[1].(float64))))
	}
	return joined.String()
}

type vector struct {
	Name            string
	API             string
	TokenField      *string  `json:"token_field"`
	IgnoredFields   []string `json:"ignored_fields"`
	Body            string
	BodyBase64      string  `json:"body_base64"`
	BodyParts       parts   `json:"body_parts"`
	RawWithoutToken *string `json:"raw_without_token"`
	Token           *string
	Canonical       *string
	CanonicalParts  parts `json:"canonical_parts"`
	FP              *string
	FPRaw           string `json:"fp_raw"`
}

func (v *vector) body(t *testing.T) []byte {
	if v.BodyBase64 != "" {
		body, err := base64.StdEncoding.DecodeString(v.BodyBase64)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	if v.BodyParts != nil {
		return []byte(v.BodyParts.join())
	}
	return []byte(v.Body)
}

func sha(api, text string) string {
	digest := sha256.Sum256([]byte(api + "\n" + text))
	return hex.EncodeToString(digest[:])[:32]
}

func text(pointer *string) string {
	if pointer == nil {
		return "<none>"
	}
	return *pointer
}

// The vectors that every language's client passes.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("../conformance/fingerprints.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	passed := 0
	for _, v := range file.Vectors {
		passed += map[bool]int{true: 1}[t.Run(v.Name, func(t *testing.T) { checkVector(t, &v) })]
	}
	if len(file.Vectors) != 79 {
		t.Errorf("%d vectors instead of 79", len(file.Vectors))
	}
	t.Logf("conformance: fingerprints.json %d of %d", passed, len(file.Vectors))
}

func checkVector(t *testing.T, v *vector) {
	tokenField := ""
	if v.TokenField != nil {
		tokenField = *v.TokenField
	}
	if v.CanonicalParts != nil {
		joined := v.CanonicalParts.join()
		v.Canonical = &joined
	}
	body := v.body(t)
	found := Fingerprint(v.API, body, tokenField, v.IgnoredFields...)
	expected := Fingerprints{FPRaw: v.FPRaw}
	if v.FP != nil {
		expected.FP = *v.FP
	}
	if v.Token != nil {
		expected.Token, expected.HasToken = *v.Token, true
	}
	if found != expected {
		t.Errorf("%+v instead of %+v", found, expected)
	}
	if v.Canonical != nil {
		if expected.FP != sha(v.API, *v.Canonical) {
			t.Error("the file itself: fp")
		}
		document, _ := parseDocument(body, tokenField)
		if written, ok := document.canonical(tokenField, v.IgnoredFields); !ok || string(written) != *v.Canonical {
			t.Errorf("canonical: %s instead of %s", written, text(v.Canonical))
		}
	}
	if v.RawWithoutToken != nil && v.FPRaw != sha(v.API, *v.RawWithoutToken) {
		t.Error("the file itself: fp_raw")
	}
}

func TestAnyDepthIsSafe(t *testing.T) {
	for _, levels := range []int{512, 513, 9_000, 200_000} {
		body := `{"t":"tok","a":` + strings.Repeat("[", levels-1) + strings.Repeat("]", levels-1) + "}"
		found := Fingerprint("x", []byte(body), "t")
		// The standard library takes no more than 10000 levels for JSON.
		if (found.FP != "") != (levels <= 512) || found.HasToken != (levels < 10_000) {
			t.Errorf("%d levels: %+v", levels, found)
		}
	}
}

// Where fp is omitted the values are only passed over; the token must be found all the same.
func TestTheTokenOfALargeBody(t *testing.T) {
	filler := strings.Repeat(`{"a\\\"}]":["t\u0022",[{}],{"token":"no"}]},`, 10_000)
	for _, items := range []string{"[" + filler + "1]", `"` + strings.Repeat("x", 300_000) + `"`} {
		head, tail := `{"a":`+items+` , "token" : "`, `","b":{"token":"no"},"c":[]}`
		found := Fingerprint("x", []byte(head+"tok"+tail), "token")
		expectEqual(t, "fingerprints", found, Fingerprints{FPRaw: sha("x", head+tail), Token: "tok", HasToken: true})
	}
	for _, body := range []string{"[" + filler + "1]", `{"token":["` + strings.Repeat("x", 300_000) + `"]}`} {
		expectEqual(t, "fingerprints", Fingerprint("x", []byte(body), "token"), Fingerprints{FPRaw: sha("x", body)})
	}
}

func randomValue(rng *rand.Rand, depth int) any {
	switch kind := rng.IntN(6 + 3*min(depth, 1)); {
	case kind < 3:
		letters := []rune("aé€\U0001f600\"\\/\n\x01\x7f{}[]:, ")
		value := make([]rune, rng.IntN(6))
		for index := range value {
			value[index] = letters[rng.IntN(len(letters))]
		}
		return string(value)
	case kind < 6:
		return []any{0, -1, json.Number("18446744073709551616"), nil, true, json.Number("1.50E-7")}[rng.IntN(6)]
	case kind == 6:
		items := make([]any, rng.IntN(4))
		for index := range items {
			items[index] = randomValue(rng, depth-1)
		}
		return items
	default:
		members := map[string]any{}
		for range rng.IntN(5) {
			members[fmt.Sprint(randomValue(rng, 0))] = randomValue(rng, depth-1)
		}
		return members
	}
}

// encoding/json as the model: it sorts keys, and writes these strings as the rules ask.
func standardLibrary(t *testing.T, document any, indent bool) []byte {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if indent {
		encoder.SetIndent("", "\t")
	}
	if err := encoder.Encode(document); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte{'\n'})
}

func TestRandomDocumentsAgainstTheStandardLibrary(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 1))
		members := map[string]any{}
		for index := range rng.IntN(6) {
			members[fmt.Sprintf("k%d", index)] = randomValue(rng, 3)
		}
		model := standardLibrary(t, members, false)
		members["token"] = ""
		without := standardLibrary(t, members, seed%2 == 0)
		members["token"] = strings.Repeat("t", rng.IntN(3))
		body := standardLibrary(t, members, seed%2 == 0)
		if seed%3 == 0 {
			// The same text with escapes; fp_raw is then that of other bytes.
			escaped := strings.ReplaceAll(string(body), "\U0001f600", `\uD83D\ude00`)
			body = []byte(strings.ReplaceAll(escaped, "é", `\u00e9`))
		} else if found := Fingerprint("x", body, "token"); found.FPRaw != sha("x", string(without)) {
			t.Fatalf("seed %d: fp_raw of %s", seed, body)
		}
		document, ok := parseDocument(body, "token")
		if !ok {
			t.Fatalf("seed %d: not JSON: %s", seed, body)
		}
		if written, _ := document.canonical("token", nil); !bytes.Equal(written, model) {
			t.Fatalf("seed %d: %s instead of %s", seed, written, model)
		}
	}
}

func TestRandomBytesNeverPanic(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	sample := []byte(`{"ClientRequestToken":"tok","a":[1.5,{"b":"\u00e9\ud83d\ude00"},-0],"c":"é"}`)
	letters := []byte("{}[]\",:\\u0-.e\xff\x00 td8")
	valid := 0
	for range 50_000 {
		mutated := bytes.Clone(sample)
		for range 1 + rng.IntN(3) {
			mutated[rng.IntN(len(mutated))] = letters[rng.IntN(len(letters))]
		}
		found := Fingerprint("x", mutated, "ClientRequestToken")
		if found.FP != "" {
			valid++
		}
	}
	if valid < 1000 {
		t.Errorf("only %d of the documents were JSON", valid)
	}
}
