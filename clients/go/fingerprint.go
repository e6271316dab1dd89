package oncewatch

import (
	"crypto/sha256"
	"encoding/hex"
)

const (
	canonicalBodyBytesMax = 256 * 1024
	fingerprintDigits     = 32
)

// Fingerprints is what one request body tells about itself.
type Fingerprints struct {
	// FP identifies what is asked for: equal for any key order or white space.
	// Empty for a body over 256 KiB, one that is not JSON (RFC 8259), one of more
	// than 512 levels, or one with a lone surrogate, which UTF-8 cannot carry.
	FP string
	// FPRaw identifies the bytes as sent, without the token's.
	FPRaw string
	// Token is the value of the token field, if HasToken: the field is a string at the top level.
	Token    string
	HasToken bool
}

// Fingerprint hashes body for api (SPEC §10). The token field (empty: none)
// and the ignored fields are looked for at the top level only; of a repeated
// key the last one counts.
func Fingerprint(api string, body []byte, tokenField string, ignoredFields ...string) Fingerprints {
	document, isJSON := parseDocument(body, tokenField)
	if !isJSON {
		return Fingerprints{FPRaw: hash(api, body)}
	}
	found := Fingerprints{
		FPRaw:    hash(api, body[:document.tokenStart], body[document.tokenEnd:]),
		Token:    document.token,
		HasToken: document.hasToken,
	}
	if len(body) <= canonicalBodyBytesMax {
		if written, ok := document.canonical(tokenField, ignoredFields); ok {
			found.FP = hash(api, written)
		}
	}
	return found
}

func hash(api string, parts ...[]byte) string {
	digest := sha256.New()
	digest.Write([]byte(api))
	digest.Write([]byte{'\n'})
	for _, part := range parts {
		digest.Write(part)
	}
	return hex.EncodeToString(digest.Sum(nil))[:fingerprintDigits]
}
