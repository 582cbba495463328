"""Signatures: who signs, and how it is told that a signature is theirs.

A signer has two keys, because two formats want two kinds: the statement about a release is signed with Ed25519 in a DSSE
envelope (https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md), the model's files with ECDSA on P-256, the
kind that OpenSSF model signatures know. The packages are optional: `pip install 'trainwright[signing]'`.
"""

import binascii
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainwright.core.errors import PackageMissing, SignatureWrong, SigningKeyUnreadable
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.records import Frozen

INSTALL = "pip install 'trainwright[signing]'"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
"""What an envelope holds: an in-toto statement as JSON."""
MODEL_PREDICATE = "https://model_signing/signature/v1.0"


class PublicKeys(Frozen):
    """A signer as others know them: a name, and the public halves of both keys as PEM."""

    name: str
    statement_key: str
    model_key: str

    @cached_property
    def id(self) -> str:
        """The signer's id: the digest of `render`."""
        return digest_bytes(self.render())

    def render(self) -> bytes:
        """The canonical bytes, as they are exported and stored."""
        return canonical_json(self.model_dump(mode="json"))


@dataclass(frozen=True)
class SigningKeys:
    """A signer's own keys. The private halves are PEM (PKCS 8), and never leave this object."""

    public: PublicKeys
    statement_pem: bytes
    model_pem: bytes

    def __repr__(self) -> str:
        return f"SigningKeys({self.public.name!r}, {self.public.id[:12]})"


@contextmanager
def signing_packages() -> Iterator[None]:
    """Around the import of an optional package: raises PackageMissing with the command that installs all of them."""
    try:
        yield
    except ImportError as error:
        raise PackageMissing(
            "Releases cannot be signed or checked here.",
            why=f"A package is missing: {error}.",
            next_step=INSTALL,
        ) from error


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def create_keys(name: str) -> SigningKeys:
    """New keys for a signer of that name. Raises PackageMissing."""
    with signing_packages():
        from securesystemslib.signer import CryptoSigner

    return build_keys(
        name, CryptoSigner.generate_ed25519("").private_bytes, CryptoSigner.generate_ecdsa("").private_bytes
    )


def build_keys(name: str, statement_pem: bytes, model_pem: bytes) -> SigningKeys:
    """A signer from both private keys. Raises SigningKeyUnreadable where one is no key, or of another kind."""
    public = PublicKeys(
        name=name,
        statement_key=_render_public(statement_pem, "ed25519"),
        model_key=_render_public(model_pem, "ecdsa"),
    )
    return SigningKeys(public, statement_pem, model_pem)


def parse_public_keys(data: bytes, where: str) -> PublicKeys:
    """A signer's exported keys. Raises SigningKeyUnreadable; `where` is what the error calls them."""
    try:
        keys = PublicKeys.model_validate_json(data)
    except ValueError as error:
        raise _unreadable(where, " ".join(str(error).split())[:300]) from error
    _open_public(keys.statement_key, "ed25519", None, where)
    _open_public(keys.model_key, "ecdsa", None, where)
    return keys


def _render_public(private_pem: bytes, kind: str) -> str:
    with signing_packages():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        public = load_pem_private_key(private_pem, None).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unreadable(f"The private {kind} key", f"{error}") from error
    pem: str = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")
    _open_public(pem, kind, None, f"The private {kind} key")
    return pem


def _open_public(pem: str, kind: str, key_id: str | None, where: str) -> Any:
    """A securesystemslib key (`key_id` None: named by its digest). Raises SigningKeyUnreadable for one of another kind."""
    with signing_packages():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
        from securesystemslib.signer import SSlibKey

    try:
        key = SSlibKey.from_crypto(load_pem_public_key(pem.encode()), key_id)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unreadable(where, f"{error}") from error
    wanted = {"ed25519": "ed25519", "ecdsa": "ecdsa-sha2-nistp256"}[kind]
    if key.scheme != wanted:
        raise _unreadable(where, f"It is a key for {key.scheme}, and {wanted} is needed.")
    return key


def _unreadable(where: str, why: str) -> SigningKeyUnreadable:
    return SigningKeyUnreadable(
        f"{where} cannot be read.",
        why=why,
        next_step="Restore the file from a copy; or move it away, and make new keys: trainwright keys create",
    )


# ── the statement about a release ─────────────────────────────────────────────────────────────────────────────────────
def sign_statement(statement: dict[str, Any], keys: SigningKeys) -> bytes:
    """The statement in a DSSE envelope, signed with the Ed25519 key: canonical JSON. Raises PackageMissing.

    Ed25519 signatures are a function of key and message, so equal statements give equal envelopes.
    """
    with signing_packages():
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
        from securesystemslib.dsse import Envelope
        from securesystemslib.signer import CryptoSigner

    key = _open_public(keys.public.statement_key, "ed25519", keys.public.id, "The public key")
    envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
    envelope.sign(CryptoSigner(load_pem_private_key(keys.statement_pem, None), key))
    return canonical_json(envelope.to_dict())


def open_statement(data: bytes, signer: PublicKeys) -> dict[str, Any]:
    """The statement in an envelope, its signature verified before it is parsed. Raises SignatureWrong, PackageMissing."""
    key = _open_public(signer.statement_key, "ed25519", signer.id, "The signer's key")
    return _open_envelope(_parse_json(data, "The envelope"), key, "The envelope")


def _open_envelope(document: Any, key: Any, what: str) -> dict[str, Any]:
    with signing_packages():
        from securesystemslib.dsse import Envelope
        from securesystemslib.exceptions import FormatError, VerificationError

    try:
        envelope = Envelope.from_dict(document)
    except (KeyError, TypeError, ValueError, AttributeError, FormatError, binascii.Error) as error:
        raise _wrong(f"{what} cannot be read.", f"{type(error).__name__}: {error}") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise _wrong(f"{what} holds no in-toto statement.", f"Its payload type is {envelope.payload_type!r}.")
    if key.keyid not in envelope.signatures:
        names = ", ".join(name[:12] for name in envelope.signatures) or "nobody"
        raise _wrong(f"{what} is signed by somebody else.", f"By {names}, and not by {key.keyid[:12]}.")
    try:
        envelope.verify([key], 1)
    except VerificationError:
        raise _wrong(
            f"The signature of {what[0].lower() + what[1:]} is wrong.", "It is not the key's over these bytes."
        ) from None
    statement = _parse_json(envelope.payload, what)
    if not isinstance(statement, dict):
        raise _wrong(f"{what} holds no in-toto statement.", "Its payload is no JSON object.")
    return statement


def _parse_json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except ValueError as error:
        raise _wrong(f"{what} cannot be read.", f"It is not JSON: {error}.") from error


def _wrong(message: str, why: str) -> SignatureWrong:
    return SignatureWrong(
        message,
        why=why,
        next_step="Restore it from a copy; if it was signed anew, do not use it until you know by whom.",
    )


# ── the model's files ─────────────────────────────────────────────────────────────────────────────────────────────────
def sign_model(folder: Path, keys: SigningKeys) -> bytes:
    """An OpenSSF model signature of every file in `folder`, in a Sigstore bundle. Raises PackageMissing."""
    with signing_packages():
        from model_signing import hashing, signing

    with tempfile.TemporaryDirectory() as place:
        private, signature = Path(place) / "key.pem", Path(place) / "model.sig"
        private.touch(mode=0o600)
        private.write_bytes(keys.model_pem)
        settings = signing.Config().set_hashing_config(hashing.Config())
        settings.use_elliptic_key_signer(private_key=private).sign(folder, signature)
        return signature.read_bytes()


def check_model(folder: Path, signature: bytes, signer: PublicKeys) -> None:
    """Hash every file in `folder` and hold it against the signature. Raises SignatureWrong naming the files, PackageMissing."""
    with signing_packages():
        from model_signing import verifying

    read_model_signature(signature, signer)  # what is wrong with the signature itself is said in our words
    with tempfile.TemporaryDirectory() as place:
        public, path = Path(place) / "key.pub", Path(place) / "model.sig"
        public.write_text(signer.model_key, encoding="ascii")
        path.write_bytes(signature)
        try:
            verifying.Config().use_elliptic_key_verifier(public_key=public).verify(folder, path)
        except (ValueError, OSError) as error:
            raise _wrong("The model's files are not those that were signed.", f"{error}") from error


def read_model_signature(signature: bytes, signer: PublicKeys) -> dict[str, str]:
    """{file: SHA-256} of what a model signature is of, itself verified. Raises SignatureWrong, PackageMissing."""
    what = "The model signature"
    key = _open_public(signer.model_key, "ecdsa", None, "The signer's key")
    document = _parse_json(signature, what)
    envelope = document.get("dsseEnvelope") if isinstance(document, dict) else None
    if not isinstance(envelope, dict) or not isinstance(envelope.get("signatures"), list):
        raise _wrong(f"{what} cannot be read.", "It is no Sigstore bundle with a DSSE envelope.")
    # A bundle names no key beside its signatures, so it is the signer's or it is wrong.
    named = [{**each, "keyid": key.keyid} if isinstance(each, dict) else each for each in envelope["signatures"]]
    statement = _open_envelope({**envelope, "signatures": named}, key, what)
    try:
        if statement["predicateType"] != MODEL_PREDICATE:
            raise _wrong(f"{what} is none.", f"Its predicate is {statement['predicateType']!r}.")
        resources = statement["predicate"]["resources"]
        return {str(file["name"]): str(file["digest"]) for file in resources if file["algorithm"] == "sha256"}
    except (KeyError, TypeError) as error:
        raise _wrong(f"{what} cannot be read.", f"It lacks {error}.") from error
