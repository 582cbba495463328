"""Who signs, and who is believed: a person's own keys, which never lie in a workspace, and the public keys trusted in one.

A person's keys are a folder: `statement.pem` and `model.pem` (private, readable by their owner alone) and `public.json`, which
is what others are given. A workspace trusts the signers whose `public.json` lies in its `keys/`, under their ids.
"""

import errno
import getpass
import os
import stat
from contextlib import suppress
from pathlib import Path

from trainwright.core.durable import write_chunks, write_folder
from trainwright.core.errors import (
    InvalidValue,
    OutputExists,
    PackageMissing,
    SignerUnknown,
    SigningKeyExposed,
    SigningKeyMissing,
    SigningKeyUnreadable,
    translate_write_errors,
)
from trainwright.release.signing import PublicKeys, SigningKeys, build_keys, create_keys, parse_public_keys
from trainwright.store.workspace import Workspace

STATEMENT_FILE = "statement.pem"
MODEL_FILE = "model.pem"
PUBLIC_FILE = "public.json"
MAX_NAME_LENGTH = 128


def locate_keys(given: Path | None) -> Path:
    """The folder of a person's keys: as given, else TRAINWRIGHT_KEYS, else below the user's configuration."""
    chosen = given or os.environ.get("TRAINWRIGHT_KEYS")
    if chosen:
        return Path(chosen)
    configuration = os.environ.get("XDG_CONFIG_HOME")
    return (Path(configuration) if configuration else Path.home() / ".config") / "trainwright" / "keys"


def make_keys(folder: Path, name: str | None = None) -> SigningKeys:
    """New keys in `folder`, whole or not at all. `name` None: that of the user.

    Raises OutputExists where there are some, InvalidValue for a name that is none, PackageMissing, DiskFull, NotWritable.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise _taken(folder)
    keys = create_keys(_require_name(name or _name_user()))
    with translate_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with write_folder(folder) as temporary:
            for file, data in ((STATEMENT_FILE, keys.statement_pem), (MODEL_FILE, keys.model_pem)):
                (temporary / file).touch(mode=0o600)
                (temporary / file).write_bytes(data)
            (temporary / PUBLIC_FILE).write_bytes(keys.public.render())
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):  # another process made keys meanwhile
            raise _taken(folder) from None
        raise
    with translate_write_errors(folder):
        folder.chmod(0o700)
    return keys


def open_keys(folder: Path) -> SigningKeys:
    """The keys in `folder`. Raises SigningKeyMissing, SigningKeyUnreadable, SigningKeyExposed, PackageMissing."""
    if not folder.is_dir():
        raise _missing(folder, f"There is no folder {folder}.")
    public = parse_public_keys(_read(folder / PUBLIC_FILE), str(folder / PUBLIC_FILE))
    keys = build_keys(public.name, _read_private(folder / STATEMENT_FILE), _read_private(folder / MODEL_FILE))
    if keys.public != public:
        raise SigningKeyUnreadable(
            f"The keys in {folder} do not belong together.",
            why=f"{PUBLIC_FILE} does not hold the public halves of the private keys beside it.",
            next_step="Restore the folder from a copy; or move it away, and make new keys: trainwright keys create",
        )
    return keys


def open_or_make_keys(folder: Path) -> tuple[SigningKeys, bool]:
    """The keys in `folder`, and whether they had to be made, for there were none. Raises as `open_keys` and `make_keys`."""
    if not (folder.is_dir() and any(folder.iterdir())):
        with suppress(OutputExists):  # another process was first: those are the keys
            return make_keys(folder), True
    return open_keys(folder), False


def find_keys() -> SigningKeys | None:
    """The keys of whoever runs this process, made where there are none; None where what signs is not installed."""
    try:
        return open_or_make_keys(locate_keys(None))[0]
    except PackageMissing:
        return None


def read_public_keys(path: Path) -> PublicKeys:
    """A signer's keys from the file that `keys export` wrote. Raises SigningKeyMissing, SigningKeyUnreadable."""
    return parse_public_keys(_read(path), str(path))


# ── whom a workspace trusts ───────────────────────────────────────────────────────────────────────────────────────────
def trust(signer: PublicKeys, workspace: Workspace) -> bool:
    """Believe what this signer signs, in this workspace. Returns whether that is new. Raises DiskFull, NotWritable."""
    path = _trusted_folder(workspace) / f"{signer.id}.json"
    if path.exists() and path.read_bytes() == signer.render():
        return False
    write_chunks(path, [signer.render()])
    return True


def list_trusted(workspace: Workspace) -> list[PublicKeys]:
    """The signers that are believed here, by name. Raises SigningKeyUnreadable for a file that is not what its name says."""
    folder = _trusted_folder(workspace)
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        signer = parse_public_keys(_read(path), str(path))
        if path.stem != signer.id:
            raise SigningKeyUnreadable(
                f"{path} is not what its name says.",
                why=f"It holds the keys of {signer.id[:12]}.",
                next_step="Remove it, and trust the signer again: trainwright keys trust FILE",
            )
        found.append(signer)
    return sorted(found, key=lambda signer: (signer.name, signer.id))


def find_trusted(text: str, workspace: Workspace) -> PublicKeys:
    """The trusted signer of that name, or whose id begins so. Raises SignerUnknown."""
    trusted = list_trusted(workspace)
    found = [signer for signer in trusted if signer.name == text or (text and signer.id.startswith(text.lower()))]
    if len(found) != 1:
        known = ", ".join(f"{signer.name} ({signer.id[:12]})" for signer in trusted) or "nobody"
        raise SignerUnknown(
            f"{'Nobody' if not found else 'More than one signer'} called {text!r} is trusted here.",
            why=f"Trusted in this workspace: {known}.",
            next_step="Give more of the id, or trust a signer with: trainwright keys trust FILE",
        )
    return found[0]


def describe_signer(signer: PublicKeys) -> dict[str, str]:
    """A signer in JSON."""
    return {"signer_id": signer.id, "name": signer.name, **signer.model_dump(mode="json", exclude={"name"})}


def _trusted_folder(workspace: Workspace) -> Path:
    return workspace.root / "keys"


# ── files ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _missing(path.parent, f"There is no file {path}.") from None
    except OSError as error:
        raise SigningKeyUnreadable(
            f"{path} cannot be read.",
            why=f"The operating system said: {error.strerror}.",
            next_step="Check whose file it is, and its permissions.",
        ) from error


def _read_private(path: Path) -> bytes:
    data = _read(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SigningKeyExposed(
            f"Others than its owner may read the private key {path}.",
            why=f"Its permissions are {mode:04o}; whoever has the key can sign in its owner's name.",
            next_step=f"If nobody else had it: chmod 600 {path}. Otherwise make new keys elsewhere: --keys FOLDER",
        )
    return data


def _taken(folder: Path) -> OutputExists:
    return OutputExists(
        f"There is something in {folder} already.",
        why="Keys are never overwritten: what they signed could no longer be told from what others sign.",
        next_step="Look at them with `trainwright keys show`, or name another folder with --keys.",
    )


def _missing(folder: Path, why: str) -> SigningKeyMissing:
    return SigningKeyMissing(
        f"There is no complete key in {folder}.",
        why=why,
        next_step="Make new ones with `trainwright keys create`, or name another folder with --keys or TRAINWRIGHT_KEYS.",
    )


def _require_name(name: str) -> str:
    if not name.strip() or len(name) > MAX_NAME_LENGTH or not name.isprintable():
        raise InvalidValue(
            f"A signer cannot be called {name!r}.",
            why=f"A name is 1 to {MAX_NAME_LENGTH} characters that can be printed.",
            next_step="For example: --name release-team",
        )
    return name


def _name_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
