// Fingerprints against the vectors that every language's client passes.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { canonical, fingerprint } from '../index.mjs';
import { CLIENT } from './peers.mjs';

const { vectors } = JSON.parse(fs.readFileSync(path.join(CLIENT, '../conformance/fingerprints.json'), 'utf8'));
const joined = (parts) => parts.map(([text, repetitions]) => text.repeat(repetitions)).join('');
const sha = (api, text) => createHash('sha256').update(`${api}\n${text}`).digest('hex').slice(0, 32);

function bodyOf(vector) {
  if (vector.body_base64 !== undefined) return Buffer.from(vector.body_base64, 'base64');
  return Buffer.from(vector.body_parts ? joined(vector.body_parts) : vector.body);
}

test('no vector is missing', () => assert.equal(vectors.length, 79));

for (const vector of vectors) {
  test(`fingerprint vector: ${vector.name}`, () => {
    const body = bodyOf(vector);
    const found = fingerprint(vector.api, body, vector.token_field ?? undefined, vector.ignored_fields);
    const expected = { fp: vector.fp, fpRaw: vector.fp_raw, token: vector.token };
    assert.deepEqual({ fp: found.fp ?? null, fpRaw: found.fpRaw, token: found.token ?? null }, expected);
    const written = vector.canonical_parts ? joined(vector.canonical_parts) : vector.canonical;
    if (written !== null) {
      assert.equal(canonical(body, vector.token_field ?? undefined, vector.ignored_fields), written);
    }
  });
}

test('text, bytes and a view into a larger buffer are the same', () => {
  const body = '{"t":"é","a":"€"}';
  const expected = fingerprint('x', Buffer.from(body), 't');
  assert.deepEqual(fingerprint('x', body, 't'), expected);
  const wide = Buffer.from(`##${body}##`);
  assert.deepEqual(fingerprint('x', new Uint8Array(wide.buffer, wide.byteOffset + 2, wide.length - 4), 't'), expected);
});

test('a depth beyond every parser is not JSON', () => {
  const body = `{"t":"tok","a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`;
  assert.equal(fingerprint('x', body, 't').fp, undefined);
});

/** Multiplicative congruential: a failure names its seed. */
function randomOf(seed) {
  let state = seed + 1;
  return (limit) => {
    state = (state * 48271) % 2147483647;
    return state % limit;
  };
}

function randomValue(random, depth) {
  const kind = random(depth > 0 ? 9 : 6);
  const characters = [...'aé€\u{1f600}"\\/\n\x01\x7f\u2028{}[]:, \ufb01'];
  if (kind < 2) return Array.from({ length: random(6) }, () => characters[random(characters.length)]).join('');
  if (kind < 6) return [0, -1, 12345, null, true, false][random(6)];
  if (kind === 6) return Array.from({ length: random(4) }, () => randomValue(random, depth - 1));
  return Object.fromEntries(Array.from({ length: random(5) }, () => [`k${randomValue(random, 0)}`, randomValue(random, depth - 1)]));
}

/** Sorted by UTF-8 bytes, which is code-point order. */
function model(value) {
  if (Array.isArray(value)) return `[${value.map(model).join(',')}]`;
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const keys = Object.keys(value).sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${keys.map((key) => `${JSON.stringify(key)}:${model(value[key])}`).join(',')}}`;
}

const escaped = (text) => text.replace(/[\x7f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);

test('random documents against JSON.parse as the model', () => {
  for (let seed = 0; seed < 500; seed += 1) {
    const random = randomOf(seed);
    const document = Object.fromEntries(Array.from({ length: random(6) }, (_, i) => [`m${i}`, randomValue(random, 3)]));
    const token = 't'.repeat(random(3));
    const entries = Object.entries({ ...document, token }).sort(() => random(3) - 1);
    const indent = random(2) ? 1 : undefined;
    const write = random(2) ? escaped : (text) => text;
    const body = write(JSON.stringify(Object.fromEntries(entries), null, indent));
    const without = write(JSON.stringify({ ...Object.fromEntries(entries), token: '' }, null, indent));
    const found = fingerprint('x', Buffer.from(body), 'token');
    assert.deepEqual(found, { fp: sha('x', model(document)), fpRaw: sha('x', without), token }, `seed ${seed}`);
  }
});

test('random bytes never throw, and agree with JSON.parse about what is JSON', () => {
  const random = randomOf(7);
  const sample = Buffer.from('{"ClientRequestToken":"tok","a":[1.5,{"b":"\\u00e9"},-0],"c":"é"}');
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for (let round = 0; round < 5000; round += 1) {
    const mutated = Buffer.from(sample);
    for (let change = 0; change < 1 + random(3); change += 1) {
      mutated[random(mutated.length)] = Buffer.from('{}[]",:\\u0-.e\xff\x00 t', 'latin1')[random(19)];
    }
    let isJson = true;
    try {
      JSON.parse(decoder.decode(mutated));
    } catch {
      isJson = false;
    }
    assert.equal(fingerprint('x', mutated, 'ClientRequestToken').fp !== undefined, isJson, mutated.toString('latin1'));
  }
});
