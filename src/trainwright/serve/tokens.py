"""The file of tokens: who may come in, and as what.

    viewer    reads                    approver  operates, and promotes and rolls back
    operator  reads, starts and stops  admin     all of it, and manifests that name any file

The file holds the SHA-256 of each token alone. A token is 256 random bits, so nothing slower is needed against guessing.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import yaml
from pydantic import AwareDatetime, Field, ValidationError

from trainwright.core.durable import write_file
from trainwright.core.errors import InvalidValue, NotAuthenticated
from trainwright.core.records import Frozen

Role = Literal["viewer", "operator", "approver", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""Each may do what those before it may."""

_PREFIX = "tw_"


@dataclass(frozen=True)
class Caller:
    """Who asks. `is_local`: the person whose machine this is, who could as well use the commands."""

    name: str
    role: Role
    is_local: bool = False

    def may(self, role: Role) -> bool:
        """Whether what is for `role` is for this one."""
        return ROLES.index(self.role) >= ROLES.index(role)


class TokenEntry(Frozen):
    """A row of the file of tokens."""

    name: str = Field(min_length=1, max_length=200)
    role: Role
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    expires_at: AwareDatetime | None = None


class TokensFile(Frozen):
    """The whole file."""

    tokens: tuple[TokenEntry, ...]


class Tokens:
    """The tokens of a file, which is read again when it changes: a token that is taken out is out at once."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises InvalidValue."""
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._entries: tuple[TokenEntry, ...] = ()
        self._read()

    def find(self, token: str) -> Caller:
        """Who has that token. Raises NotAuthenticated."""
        self._read()
        digest = hash_token(token)
        entry = next((one for one in self._entries if hmac.compare_digest(one.sha256, digest)), None)
        if entry is None:
            raise not_authenticated("The token is not known.")
        if entry.expires_at is not None and entry.expires_at <= datetime.now(UTC):
            raise not_authenticated(f"The token expired at {entry.expires_at.isoformat()}.")
        return Caller(entry.name, entry.role)

    def _read(self) -> None:
        try:
            status = self._path.stat()
        except OSError as error:
            raise _unreadable(self._path, str(error.strerror)) from None
        stamp = (status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._entries = read_tokens(self._path)
            self._stamp = stamp


def read_tokens(path: Path) -> tuple[TokenEntry, ...]:
    """The rows of a file of tokens. Raises InvalidValue."""
    try:
        return TokensFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).tokens
    except (OSError, yaml.YAMLError, ValueError, ValidationError) as error:
        raise _unreadable(path, " ".join(str(error).split())[:300]) from None


def add_token(path: Path, name: str, role: Role, expires_at: datetime | None = None) -> str:
    """Make a token, add its row to the file (made where there is none), and return it: it can be read nowhere again.

    Raises InvalidValue (the name has one, the file is none), DiskFull, NotWritable.
    """
    entries = read_tokens(path) if path.exists() else ()
    if any(entry.name == name for entry in entries):
        raise InvalidValue(
            f"{name} has a token in {path}.",
            why="Each name has one, so that what was done can be told apart.",
            next_step="Choose another name, or take the old row out of the file.",
        )
    token = _PREFIX + secrets.token_urlsafe(32)
    entry = TokenEntry(name=name, role=role, sha256=hash_token(token), expires_at=expires_at)
    document = {"tokens": [one.model_dump(mode="json", exclude_none=True) for one in (*entries, entry)]}
    write_file(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode())
    path.chmod(0o600)
    return token


def parse_role(text: str) -> Role:
    """One of the four roles. Raises InvalidValue."""
    for role in ROLES:
        if role == text:
            return role
    raise InvalidValue(
        f"There is no role {text!r}.", why=f"Roles are {', '.join(ROLES)}.", next_step="Name one of them."
    )


def hash_token(token: str) -> str:
    """What the file holds of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def not_authenticated(why: str) -> NotAuthenticated:
    """That nobody is let in without saying who they are."""
    return NotAuthenticated(
        "This service wants to know who asks.",
        why=why,
        next_step="Send the header `Authorization: Bearer TOKEN`; `trainwright access add` makes one.",
    )


def _unreadable(path: Path, why: str) -> InvalidValue:
    return InvalidValue(
        f"{path} is no file of tokens.", why=why, next_step="`trainwright access add NAME --tokens FILE` makes one."
    )
