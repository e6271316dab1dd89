'use strict';

/**
 * The two fingerprints of a request (SPEC §10).
 *
 * `fp` identifies what is asked for: equal for any key order or white space. `fp_raw` identifies the bytes: it differs
 * where `fp` is equal when a serialiser wrote the same request in another way. Neither contains the token.
 */

const { isAscii, isUtf8 } = require('node:buffer');
const crypto = require('node:crypto');

const BODY_BYTES_MAX = 256 * 1024;
const HEX_DIGITS = 32;
// Deeper documents have no canonical form in any client. DynamoDB allows 32 levels of attributes.
const LEVELS_MAX = 512;

class NotJson extends Error {}

// One call instead of three; new in Node 20.12.
const sha256Hex = crypto.hash
  ? (data) => crypto.hash('sha256', data, 'hex')
  : (data) => crypto.createHash('sha256').update(data).digest('hex');

/**
 * Hash `body` for `api`; never throws for any bytes.
 *
 * `tokenField` and `ignoredFields` are looked for at the top level only. Of a repeated key the last one counts.
 * `fp` is undefined for a body over 256 KiB, one that is not JSON or has more than 512 levels, and one whose hashed strings
 * are not Unicode; `token` is undefined if the token field is no top-level string.
 *
 * @param {string} api
 * @param {Uint8Array | string} body
 * @param {string} [tokenField]
 * @param {readonly string[]} [ignoredFields]
 * @returns {{ fp?: string, fpRaw: string, token?: string }}
 */
function fingerprint(api, body, tokenField, ignoredFields = []) {
  const prefix = `${api}\n`;
  const text = textOf(body);
  if (text === undefined) return { fpRaw: shortHash(Buffer.concat([Buffer.from(prefix), bytesOf(body)])) };
  const bytes = typeof body === 'string' ? Buffer.byteLength(text) : body.byteLength;
  const scanner = new Scanner(text, bytes === text.length, tokenField, ignoredFields);
  let canonical;
  try {
    canonical = scanner.document();
  } catch (error) {
    if (!(error instanceof NotJson)) throw error;
    return { fpRaw: shortHash(prefix + text) };
  }
  const { token, tokenStart, tokenEnd } = scanner;
  return {
    fp: scanner.isWritable && bytes <= BODY_BYTES_MAX ? shortHash(prefix + canonical) : undefined,
    fpRaw: shortHash(prefix + text.slice(0, tokenStart) + text.slice(tokenEnd)),
    token,
  };
}

/**
 * What `fp` is a hash of, without the API's name: for tests and for explaining a difference.
 * Undefined for a body that has none; the size limit of `fp` does not apply.
 *
 * @param {Uint8Array | string} body
 * @param {string} [tokenField]
 * @param {readonly string[]} [ignoredFields]
 * @returns {string | undefined}
 */
function canonical(body, tokenField, ignoredFields = []) {
  const text = textOf(body);
  if (text === undefined) return undefined;
  const scanner = new Scanner(text, false, tokenField, ignoredFields);
  try {
    const written = scanner.document();
    return scanner.isWritable ? written : undefined;
  } catch (error) {
    if (!(error instanceof NotJson)) throw error;
    return undefined;
  }
}

function shortHash(data) {
  return sha256Hex(data).slice(0, HEX_DIGITS);
}

/** A view of the same bytes. The SDK's own body class warns when methods of a string are called on it. */
function bytesOf(body) {
  return typeof body === 'string' ? Buffer.from(body) : Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}

function textOf(body) {
  if (typeof body === 'string') return isWellFormed(body) ? body : undefined;
  const bytes = bytesOf(body);
  if (isAscii(bytes)) return bytes.latin1Slice();
  return isUtf8(bytes) ? bytes.utf8Slice() : undefined;
}

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/;

function isWellFormed(text) {
  return text.isWellFormed ? text.isWellFormed() : !LONE_SURROGATE.test(text);
}

/**
 * Reads one JSON document and writes it canonically in the same pass. `JSON.parse` would not do: it gives up the text of
 * numbers, and does not tell where the token's string is.
 */
class Scanner {
  constructor(text, isAsciiText, tokenField, ignoredFields) {
    this.text = text;
    this.at = 0;
    this.tokenField = tokenField;
    this.ignoredFields = ignoredFields;
    this.token = undefined;
    this.tokenStart = 0;
    this.tokenEnd = 0;
    // Whether UTF-16 order of keys is code-point order.
    this.unitOrder = isAsciiText;
    this.isUnicode = true;
    this.isDeep = false;
    this.decoded = '';
  }

  get isWritable() {
    return this.isUnicode && !this.isDeep;
  }

  document() {
    this.space();
    const written = this.value(0);
    this.space();
    if (this.at !== this.text.length) throw new NotJson();
    return written;
  }

  space() {
    for (;;) {
      const unit = this.text.charCodeAt(this.at);
      if (unit !== 32 && unit !== 10 && unit !== 13 && unit !== 9) return;
      this.at += 1;
    }
  }

  value(depth) {
    switch (this.text.charCodeAt(this.at)) {
      case 34:
        return this.string();
      case 123:
        return depth < LEVELS_MAX ? this.object(depth) : this.skipped();
      case 91:
        return depth < LEVELS_MAX ? this.array(depth) : this.skipped();
      case 116:
        return this.word('true');
      case 102:
        return this.word('false');
      case 110:
        return this.word('null');
      default:
        return this.number();
    }
  }

  /** Passes over an object or array that is too deep: only brackets and strings are looked at. */
  skipped() {
    this.isDeep = true;
    let level = 0;
    do {
      MARK.lastIndex = this.at;
      const mark = MARK.exec(this.text)?.[0];
      if (mark === undefined) throw new NotJson();
      this.at = MARK.lastIndex;
      if (mark === '[' || mark === '{') level += 1;
      else if (mark === ']' || mark === '}') level -= 1;
    } while (level > 0);
    return '';
  }

  word(word) {
    if (!this.text.startsWith(word, this.at)) throw new NotJson();
    this.at += word.length;
    return word;
  }

  number() {
    NUMBER.lastIndex = this.at;
    const match = NUMBER.exec(this.text);
    if (match === null) throw new NotJson();
    this.at = NUMBER.lastIndex;
    return match[0] === '-0' ? '0' : match[0];
  }

  /** The string as it is written canonically; its characters are in `decoded`. */
  string() {
    const { text } = this;
    const start = this.at + 1;
    let at = start;
    let escaped = false;
    for (;;) {
      const unit = text.charCodeAt(at);
      if (unit === 34) break;
      if (unit === 92) {
        escaped = true;
        at += 1;
      } else if (!(unit >= 32)) {
        // A control character, or NaN at the end of the text.
        throw new NotJson();
      }
      at += 1;
    }
    this.at = at + 1;
    if (!escaped) {
      this.decoded = text.slice(start, at);
      return text.slice(start - 1, at + 1);
    }
    this.unitOrder = false;
    try {
      this.decoded = JSON.parse(text.slice(start - 1, at + 1));
    } catch {
      throw new NotJson();
    }
    if (!isWellFormed(this.decoded)) this.isUnicode = false;
    return JSON.stringify(this.decoded);
  }

  array(depth) {
    let written = '[';
    this.at += 1;
    this.space();
    if (this.text.charCodeAt(this.at) === 93) {
      this.at += 1;
      return '[]';
    }
    for (;;) {
      this.space();
      written += this.value(depth + 1);
      this.space();
      const unit = this.text.charCodeAt(this.at);
      this.at += 1;
      if (unit === 93) return `${written}]`;
      if (unit !== 44) throw new NotJson();
      written += ',';
    }
  }

  object(depth) {
    this.at += 1;
    this.space();
    if (this.text.charCodeAt(this.at) === 125) {
      this.at += 1;
      return '{}';
    }
    const members = [];
    const wasUnicode = this.isUnicode;
    let separator = 44;
    while (separator === 44) {
      this.isUnicode = true;
      this.space();
      if (this.text.charCodeAt(this.at) !== 34) throw new NotJson();
      const writtenKey = this.string();
      const key = this.decoded;
      this.space();
      if (this.text.charCodeAt(this.at) !== 58) throw new NotJson();
      this.at += 1;
      this.space();
      const start = this.at;
      const written = this.value(depth + 1);
      if (depth === 0 && key === this.tokenField) this.noteToken(start);
      else if (depth !== 0 || !this.ignoredFields.includes(key)) {
        members.push({ key, text: `${writtenKey}:${written}`, isUnicode: this.isUnicode });
      }
      this.space();
      separator = this.text.charCodeAt(this.at);
      this.at += 1;
    }
    if (separator !== 125) throw new NotJson();
    this.isUnicode = wasUnicode;
    return this.writeSorted(members);
  }

  /** The value that begins at `start` and ends here is the token field's. */
  noteToken(start) {
    const isString = this.text.charCodeAt(start) === 34;
    this.token = isString ? this.decoded : undefined;
    this.tokenStart = isString ? start + 1 : 0;
    this.tokenEnd = isString ? this.at - 1 : 0;
  }

  writeSorted(members) {
    const compare = this.unitOrder ? byUnits : byCodePoints;
    // Stable: of a repeated key the last one stays last.
    members.sort(compare);
    let written = '{';
    for (let index = 0; index < members.length; index += 1) {
      if (index + 1 < members.length && members[index].key === members[index + 1].key) continue;
      // Only what is written counts: not the token, an ignored field, an earlier value of the same key.
      if (!members[index].isUnicode) this.isUnicode = false;
      written += written.length > 1 ? `,${members[index].text}` : members[index].text;
    }
    return `${written}}`;
  }
}

const MARK = /"[^"\\]*(?:\\.[^"\\]*)*"|[[\]{}]/gs;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;

function byUnits(a, b) {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}

function byCodePoints({ key: a }, { key: b }) {
  const length = Math.min(a.length, b.length);
  for (let index = 0; index < length; index += 1) {
    const [left, right] = [a.charCodeAt(index), b.charCodeAt(index)];
    if (left !== right) return codePointRank(left) - codePointRank(right);
  }
  return a.length - b.length;
}

/** Surrogates stand for code points above all others, but their units lie below U+E000. */
function codePointRank(unit) {
  return unit < 0xd800 ? unit : unit >= 0xe000 ? unit - 0x800 : unit + 0x2000;
}

module.exports = { BODY_BYTES_MAX, bytesOf, canonical, fingerprint, isWellFormed };
