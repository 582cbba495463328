"""Envelopes are DSSE, held against the published vector and against the primitives themselves."""

import base64
import builtins
import json

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from securesystemslib.dsse import Envelope

from trainwright.core.errors import PackageMissing, SignatureWrong, SigningKeyUnreadable
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.release.signing import (
    PAYLOAD_TYPE,
    build_keys,
    check_model,
    create_keys,
    open_statement,
    parse_public_keys,
    read_model_signature,
    sign_model,
    sign_statement,
)

STATEMENT = {"_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "ä"}]}


@pytest.fixture(scope="module")
def keys():
    return create_keys("someone")


@pytest.fixture(scope="module")
def others():
    return create_keys("somebody else")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "state.json").write_bytes(b"{}")
    return folder


def encode_by_hand(payload_type: str, payload: bytes) -> bytes:
    return f"DSSEv1 {len(payload_type.encode())} {payload_type} {len(payload)} ".encode() + payload


# ── statements ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_encoding_before_signing_is_that_of_the_published_vector():
    published = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert Envelope(b"hello world", "http://example.com/HelloWorld", {}).pae() == published
    assert encode_by_hand("http://example.com/HelloWorld", b"hello world") == published


def test_a_signature_is_ed25519_over_the_encoded_payload(keys):
    envelope = json.loads(sign_statement(STATEMENT, keys))
    assert envelope["payloadType"] == PAYLOAD_TYPE == "application/vnd.in-toto+json"
    payload = base64.b64decode(envelope["payload"])
    assert payload == canonical_json(STATEMENT)
    (signature,) = envelope["signatures"]
    assert signature["keyid"] == keys.public.id
    key = load_pem_public_key(keys.public.statement_key.encode())
    key.verify(base64.b64decode(signature["sig"]), encode_by_hand(PAYLOAD_TYPE, payload))
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature["sig"]), payload)


def test_equal_statements_give_equal_envelopes_and_come_back(keys):
    envelope = sign_statement(STATEMENT, keys)
    assert envelope == sign_statement(dict(reversed(STATEMENT.items())), keys)
    assert open_statement(envelope, keys.public) == STATEMENT


def test_any_flipped_byte_of_an_envelope_is_found(keys):
    envelope = sign_statement({"a": 1}, keys)
    accepted = []
    for place in range(len(envelope)):
        changed = bytearray(envelope)
        changed[place] ^= 0x01
        try:
            statement = open_statement(bytes(changed), keys.public)
        except SignatureWrong:
            continue
        accepted.append(place)
        assert statement == {"a": 1}
    # Base64 has spare bits before its padding: flipping one changes nothing that is signed.
    assert len(accepted) <= 4


def test_another_signer_is_named(keys, others):
    with pytest.raises(SignatureWrong, match="signed by somebody else") as raised:
        open_statement(sign_statement(STATEMENT, others), keys.public)
    assert others.public.id[:12] in raised.value.why
    assert raised.value.exit_code == 5


def test_a_signature_under_a_borrowed_name_is_wrong(keys, others):
    envelope = json.loads(sign_statement(STATEMENT, others))
    envelope["signatures"][0]["keyid"] = keys.public.id
    with pytest.raises(SignatureWrong, match="signature of the envelope is wrong"):
        open_statement(canonical_json(envelope), keys.public)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"[]", b"null", b"{}", b'{"payload": 1}', b'{"payload": "", "payloadType": "", "signatures": {}}'],
)
def test_what_is_no_envelope_is_refused(keys, data):
    with pytest.raises(SignatureWrong):
        open_statement(data, keys.public)


def test_payload_of_another_type_is_refused(keys):
    envelope = json.loads(sign_statement(STATEMENT, keys)) | {"payloadType": "text/plain"}
    with pytest.raises(SignatureWrong, match="no in-toto statement"):
        open_statement(canonical_json(envelope), keys.public)


# ── models ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_model_signature_names_every_file_and_holds(keys, model):
    signature = sign_model(model, keys)
    assert read_model_signature(signature, keys.public) == {
        "model.safetensors": digest_bytes(b"weights"),
        "state.json": digest_bytes(b"{}"),
    }
    check_model(model, signature, keys.public)


def test_changed_missing_and_additional_files_are_named(keys, model):
    signature = sign_model(model, keys)
    (model / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(SignatureWrong, match="not those that were signed") as raised:
        check_model(model, signature, keys.public)
    assert "model.safetensors" in raised.value.why
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "code.py").write_bytes(b"")
    with pytest.raises(SignatureWrong) as raised:
        check_model(model, signature, keys.public)
    assert "code.py" in raised.value.why
    (model / "code.py").unlink()
    (model / "state.json").unlink()
    with pytest.raises(SignatureWrong) as raised:
        check_model(model, signature, keys.public)
    assert "state.json" in raised.value.why


def test_model_signature_of_another_key_is_wrong(keys, others, model):
    signature = sign_model(model, others)
    for check in (
        lambda: read_model_signature(signature, keys.public),
        lambda: check_model(model, signature, keys.public),
    ):
        with pytest.raises(SignatureWrong, match="The signature of the model signature is wrong"):
            check()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"dsseEnvelope": {"signatures": [1]}}'])
def test_what_is_no_model_signature_is_refused(keys, data):
    with pytest.raises(SignatureWrong):
        read_model_signature(data, keys.public)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_signer_is_named_by_both_public_keys_and_the_name(keys):
    again = build_keys("someone", keys.statement_pem, keys.model_pem)
    assert again.public.id == keys.public.id
    assert build_keys("x", keys.statement_pem, keys.model_pem).public.id != keys.public.id
    assert parse_public_keys(keys.public.render(), "it") == keys.public


def test_private_halves_are_not_shown(keys):
    assert "PRIVATE" not in repr(keys) + str(keys.public)


def test_keys_of_the_wrong_kind_are_refused(keys):
    with pytest.raises(SigningKeyUnreadable, match="private ed25519 key") as raised:
        build_keys("x", keys.model_pem, keys.statement_pem)
    assert "ed25519 is needed" in raised.value.why
    swapped = keys.public.model_dump() | {"statement_key": keys.public.model_key}
    with pytest.raises(SigningKeyUnreadable, match="their file"):
        parse_public_keys(canonical_json(swapped), "their file")


@pytest.mark.parametrize("data", [b"", b"{}", b'{"name": "x", "statement_key": "y", "model_key": "z"}'])
def test_what_are_no_keys_is_refused(data):
    with pytest.raises(SigningKeyUnreadable, match="their file cannot be read"):
        parse_public_keys(data, "their file")


def test_missing_package_names_the_command_that_installs_it(monkeypatch):
    really_import = builtins.__import__

    def refuse(name, *arguments, **options):
        if name.startswith("securesystemslib"):
            raise ImportError(f"No module named {name!r}")
        return really_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(PackageMissing) as raised:
        create_keys("someone")
    assert raised.value.next_step == "pip install 'trainwright[signing]'"
