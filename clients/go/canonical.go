package oncewatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// document is a parsed JSON body, and where in its bytes the content of the
// token's string is (an empty range if nowhere).
type document struct {
	root                 value
	token                string
	hasToken             bool
	tokenStart, tokenEnd int
	tooDeep              bool
}

// Deeper documents have no canonical form in any client. DynamoDB allows 32 levels of attributes.
const levelsMax = 512

// value keeps a scalar as the bytes it was read from: numbers are written back as they were.
type value struct {
	kind    byte // the first byte of the value
	scalar  []byte
	items   []value
	members []member
}

type member struct {
	key      string
	keyValid bool
	value    value
}

// parseDocument relies on the standard library for what is JSON, so that the
// reader below need not know about errors.
func parseDocument(body []byte, tokenField string) (document, bool) {
	if !utf8.Valid(body) || !json.Valid(body) {
		return document{}, false
	}
	// A large body has no canonical form: its values need not be kept.
	reader := reader{body: body, skips: len(body) > canonicalBodyBytesMax}
	found := document{}
	if reader.peek() != '{' || tokenField == "" {
		found.root = reader.value()
		found.tooDeep = reader.tooDeep
		return found, true
	}
	found.root = value{kind: '{'}
	reader.members(func(entry member, start, end int) {
		found.root.members = append(found.root.members, entry)
		if !entry.is(tokenField) {
			return
		}
		found.token, found.hasToken, found.tokenStart, found.tokenEnd = "", false, 0, 0
		if entry.value.kind == '"' {
			found.token, _ = unquoted(entry.value.scalar)
			found.hasToken, found.tokenStart, found.tokenEnd = true, start+1, end-1
		}
	})
	found.tooDeep = reader.tooDeep
	return found, true
}

// is tells whether the member has this name. A key that is no text has none, though it may look like U+FFFD.
func (m *member) is(name string) bool {
	return m.keyValid && m.key == name
}

// canonical is what FP is a hash of, without the API's name; false if it is
// too deep or cannot be written as UTF-8.
func (d *document) canonical(tokenField string, ignoredFields []string) ([]byte, bool) {
	if d.tooDeep {
		return nil, false
	}
	root := d.root
	if root.kind == '{' {
		root.members = slices.DeleteFunc(slices.Clone(root.members), func(entry member) bool {
			return tokenField != "" && entry.is(tokenField) || slices.ContainsFunc(ignoredFields, entry.is)
		})
	}
	return root.appendCanonical(nil)
}

func (v *value) appendCanonical(out []byte) ([]byte, bool) {
	valid := true
	switch v.kind {
	case '{':
		slices.SortStableFunc(v.members, func(a, b member) int { return cmp.Compare(a.key, b.key) })
		out = append(out, '{')
		first := true
		for index := range v.members {
			entry := &v.members[index]
			if !entry.keyValid {
				return nil, false
			}
			if index+1 < len(v.members) && v.members[index+1].key == entry.key {
				continue
			}
			if !first {
				out = append(out, ',')
			}
			first = false
			out = append(appendQuoted(out, entry.key), ':')
			if out, valid = entry.value.appendCanonical(out); !valid {
				return nil, false
			}
		}
		return append(out, '}'), true
	case '[':
		out = append(out, '[')
		for index := range v.items {
			if index > 0 {
				out = append(out, ',')
			}
			if out, valid = v.items[index].appendCanonical(out); !valid {
				return nil, false
			}
		}
		return append(out, ']'), true
	case '"':
		if bytes.IndexByte(v.scalar, '\\') < 0 {
			return append(out, v.scalar...), true
		}
		text, valid := unquoted(v.scalar)
		return appendQuoted(out, text), valid
	}
	if string(v.scalar) == "-0" {
		return append(out, '0'), true
	}
	return append(out, v.scalar...), true
}

// reader walks a body that is known to be JSON.
type reader struct {
	body     []byte
	position int
	level    int
	tooDeep  bool
	// skips passes over the items and members of values.
	skips bool
}

// peek skips white space.
func (r *reader) peek() byte {
	for {
		switch r.body[r.position] {
		case ' ', '\t', '\n', '\r':
			r.position++
		default:
			return r.body[r.position]
		}
	}
}

func (r *reader) value() value {
	found := value{kind: r.peek()}
	if r.skips && (found.kind == '{' || found.kind == '[') {
		r.skip()
		return found
	}
	switch found.kind {
	case '{':
		r.members(func(entry member, _, _ int) { found.members = append(found.members, entry) })
	case '[':
		r.enter()
		for r.peek() != ']' {
			found.items = append(found.items, r.value())
			if r.peek() == ',' {
				r.position++
			}
		}
		r.leave()
	case '"':
		found.scalar = r.quoted()
	default:
		start := r.position
		for r.position < len(r.body) && bytes.IndexByte([]byte(" \t\n\r,]}"), r.body[r.position]) < 0 {
			r.position++
		}
		found.scalar = r.body[start:r.position]
	}
	return found
}

// skip passes over an object or an array.
func (r *reader) skip() {
	for depth := 0; ; {
		switch r.body[r.position] {
		case '"':
			r.quoted()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		r.position++
		if depth == 0 {
			return
		}
	}
}

// members reads an object and gives each member with the range of its value.
func (r *reader) members(each func(entry member, start, end int)) {
	r.peek()
	r.enter()
	for r.peek() != '}' {
		entry := member{}
		entry.key, entry.keyValid = unquoted(r.quoted())
		r.peek()
		r.position++
		r.peek()
		start := r.position
		entry.value = r.value()
		each(entry, start, r.position)
		if r.peek() == ',' {
			r.position++
		}
	}
	r.leave()
}

func (r *reader) enter() {
	r.position++
	r.level++
	r.tooDeep = r.tooDeep || r.level > levelsMax
}

func (r *reader) leave() {
	r.position++
	r.level--
}

// quoted reads a string, with its quotes.
func (r *reader) quoted() []byte {
	start := r.position
	for r.position++; r.body[r.position] != '"'; r.position++ {
		if r.body[r.position] == '\\' {
			r.position++
		}
	}
	r.position++
	return r.body[start:r.position]
}

// unquoted is the text of a JSON string with its quotes; false if it has a lone surrogate.
func unquoted(quoted []byte) (string, bool) {
	content := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(content, '\\') < 0 {
		return string(content), true
	}
	valid := true
	text := make([]byte, 0, len(content))
	for index := 0; index < len(content); index++ {
		if content[index] != '\\' {
			text = append(text, content[index])
			continue
		}
		index++
		if content[index] != 'u' {
			text = append(text, unescaped(content[index]))
			continue
		}
		character := codeUnit(content[index+1:])
		index += 4
		if utf16.IsSurrogate(character) {
			pair := rune(utf8.RuneError)
			if rest := content[index+1:]; len(rest) >= 6 && rest[0] == '\\' && rest[1] == 'u' {
				pair = utf16.DecodeRune(character, codeUnit(rest[2:]))
			}
			if character = pair; pair == utf8.RuneError {
				valid = false
			} else {
				index += 6
			}
		}
		text = utf8.AppendRune(text, character)
	}
	return string(text), valid
}

func unescaped(letter byte) byte {
	switch letter {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return letter
}

func codeUnit(digits []byte) rune {
	unit, _ := strconv.ParseUint(string(digits[:4]), 16, 16)
	return rune(unit)
}
