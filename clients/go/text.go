package oncewatch

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

// clipped is value cut at a character boundary to at most bytesMax bytes, what
// is not UTF-8 replaced by U+FFFD: the sidecar accepts nothing else.
func clipped(value string, bytesMax int) string {
	if len(value) <= bytesMax && utf8.ValidString(value) {
		return value
	}
	if len(value) > bytesMax+utf8.UTFMax {
		value = value[:bytesMax+utf8.UTFMax]
	}
	value = strings.ToValidUTF8(value, "\uFFFD")
	if len(value) <= bytesMax {
		return value
	}
	end := bytesMax
	for !utf8.RuneStart(value[end]) {
		end--
	}
	// A copy: the rest of a long value should not stay in memory with it.
	return strings.Clone(value[:end])
}

// clippedUnique is like clipped for identifiers: two values that look alike
// afterwards stay different, by a hash of the whole in place of their end.
func clippedUnique(value string, bytesMax int) string {
	if len(value) <= bytesMax && utf8.ValidString(value) {
		return value
	}
	digest := sha256.Sum256([]byte(value))
	mark := "~" + hex.EncodeToString(digest[:16])
	return clipped(value, bytesMax-len(mark)) + mark
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends value, which must be UTF-8, as a JSON string with the shortest escapes.
func appendQuoted(line []byte, value string) []byte {
	line = append(line, '"')
	plain := 0
	for index := 0; index < len(value); index++ {
		character := value[index]
		if character >= 0x20 && character != '"' && character != '\\' {
			continue
		}
		line = append(line, value[plain:index]...)
		plain = index + 1
		switch character {
		case '"', '\\':
			line = append(line, '\\', character)
		case '\b':
			line = append(line, `\b`...)
		case '\f':
			line = append(line, `\f`...)
		case '\n':
			line = append(line, `\n`...)
		case '\r':
			line = append(line, `\r`...)
		case '\t':
			line = append(line, `\t`...)
		default:
			line = append(line, '\\', 'u', '0', '0', hexDigits[character>>4], hexDigits[character&15])
		}
	}
	line = append(line, value[plain:]...)
	return append(line, '"')
}
