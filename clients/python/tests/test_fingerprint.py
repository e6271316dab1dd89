"""Fingerprints against the vectors that every language's client passes."""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import random

import pytest

import oncewatch

VECTORS = json.loads(
    (pathlib.Path(__file__).parents[2] / "conformance" / "fingerprints.json").read_text(encoding="utf-8")
)["vectors"]


def test_no_vector_is_missing():
    assert len(VECTORS) == 79 and len({vector["name"] for vector in VECTORS}) == 79


def joined(parts):
    return "".join(text * repetitions for text, repetitions in parts)


def body_of(vector) -> bytes:
    if "body_base64" in vector:
        return base64.b64decode(vector["body_base64"])
    return (joined(vector["body_parts"]) if "body_parts" in vector else vector["body"]).encode("utf-8")


def sha(api: str, text: str) -> str:
    return hashlib.sha256(f"{api}\n{text}".encode()).hexdigest()[:32]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_vector(vector):
    canonical = joined(vector["canonical_parts"]) if "canonical_parts" in vector else vector["canonical"]
    assert vector["fp"] == (None if canonical is None else sha(vector["api"], canonical)), "the file itself"
    if "raw_without_token" in vector:
        assert vector["fp_raw"] == sha(vector["api"], vector["raw_without_token"]), "the file itself"
    body, ignored = body_of(vector), tuple(vector["ignored_fields"])
    found = oncewatch.fingerprint(vector["api"], body, vector["token_field"], ignored)
    if canonical is not None:
        assert oncewatch.canonical(body, vector["token_field"], ignored) == canonical.encode("utf-8")
    assert found == (vector["fp"], vector["fp_raw"], vector["token"])


def test_text_and_bytes_are_the_same():
    body = '{"t":"é","a":"€"}'
    expected = oncewatch.fingerprint("x", body.encode(), "t")
    assert oncewatch.fingerprint("x", body, "t") == expected
    assert oncewatch.fingerprint("x", bytearray(body.encode()), "t") == expected


@pytest.mark.parametrize("levels", [513, 950, 2_000, 200_000])
def test_a_token_is_found_at_any_depth(levels):
    """Beyond some 1000 levels the interpreter gives up, in the sender's thread and in the application's."""

    def body(token: str) -> bytes:
        nested = '{"t":"in\\"]","b":[' * (levels // 2) + '"]"' + "]}" * (levels // 2)
        return f'{{"x":[1],"t":"{token}","a":[{nested}],"b":{{}}}}'.encode()

    found = oncewatch.fingerprint("x", body("tok"), "t")
    assert (found.fp, found.token) == (None, "tok")
    assert found.fp_raw == oncewatch.fingerprint("x", body("other"), "t").fp_raw
    assert oncewatch.fingerprint("x", body("tok")[:-1], "t").token is None


def test_brackets_beside_each_other_are_no_levels():
    for body in ("[" + "[],{}," * 1000 + "[]]", '{"a":"' + "[{" * 1000 + '"}', '["\\"' + "[" * 1000 + '","\\\\"]'):
        assert oncewatch.canonical(body) is not None


def random_value(rng: random.Random, depth: int):
    kind = rng.randrange(9 if depth else 6)
    if kind < 2:
        return "".join(rng.choice('aé€\U0001f600"\\/\n\x01\x7f\u2028{}[]:, ') for _ in range(rng.randrange(6)))
    if kind < 6:
        return rng.choice([0, -1, 2**70, None, True, False])
    if kind == 6:
        return [random_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    return {random_value(rng, 0).__str__(): random_value(rng, depth - 1) for _ in range(rng.randrange(5))}


@pytest.mark.parametrize("seed", range(200))
def test_random_documents_against_the_standard_library(seed):
    """json.loads and json.dumps as the model: no number with a fraction, so both write the same."""
    rng = random.Random(seed)
    document = {"k%d" % i: random_value(rng, 3) for i in range(rng.randrange(6))}
    model = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    members = list({**document, "token": "t" * rng.randrange(3)}.items())
    rng.shuffle(members)
    indent, ascii_only = rng.choice([None, 1]), rng.random() < 0.5
    body = json.dumps(dict(members), indent=indent, ensure_ascii=ascii_only).encode()
    without = json.dumps({**dict(members), "token": ""}, indent=indent, ensure_ascii=ascii_only)
    assert oncewatch.canonical(body, "token") == model, seed
    assert oncewatch.fingerprint("x", body, "token").fp_raw == sha("x", without), seed


def test_random_bytes_never_raise():
    rng = random.Random(7)
    sample = b'{"ClientRequestToken":"tok","a":[1.5,{"b":"\\u00e9"},-0],"c":"\xc3\xa9"}'
    for _ in range(5000):
        mutated = bytearray(sample)
        for _ in range(rng.randrange(1, 4)):
            mutated[rng.randrange(len(mutated))] = rng.choice(b'{}[]",:\\u0-.e\xff\x00 t')
        oncewatch.fingerprint("x", bytes(mutated), "ClientRequestToken")
