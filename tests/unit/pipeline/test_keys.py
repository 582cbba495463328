"""A person's keys lie in their own folder, readable by them alone; a workspace holds whom it trusts."""

import pytest

from trainwright.core.errors import (
    InvalidValue,
    OutputExists,
    SignerUnknown,
    SigningKeyExposed,
    SigningKeyMissing,
    SigningKeyUnreadable,
)
from trainwright.pipeline.keys import (
    find_trusted,
    list_trusted,
    locate_keys,
    make_keys,
    open_keys,
    open_or_make_keys,
    read_public_keys,
    trust,
)
from trainwright.store.workspace import open_workspace


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


def test_keys_are_made_once_and_read_back(tmp_path):
    folder = tmp_path / "config" / "keys"
    made, is_new = open_or_make_keys(folder)
    again, is_new_again = open_or_make_keys(folder)
    assert (is_new, is_new_again) == (True, False)
    assert again == made
    assert read_public_keys(folder / "public.json") == made.public


def test_private_keys_are_their_owners_alone(tmp_path):
    make_keys(tmp_path / "keys", "someone")
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "keys").iterdir()} == {
        "statement.pem": 0o600,
        "model.pem": 0o600,
        "public.json": 0o644,
    }
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700


def test_keys_are_never_overwritten(tmp_path):
    before = make_keys(tmp_path / "keys", "someone")
    with pytest.raises(OutputExists, match="already"):
        make_keys(tmp_path / "keys", "someone")
    assert open_keys(tmp_path / "keys") == before


@pytest.mark.parametrize("name", [" ", "a\nb", "x" * 129])
def test_name_that_is_none_is_refused(tmp_path, name):
    with pytest.raises(InvalidValue, match="cannot be called"):
        make_keys(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


def test_missing_keys_say_how_to_make_some(tmp_path):
    with pytest.raises(SigningKeyMissing) as raised:
        open_keys(tmp_path / "keys")
    assert "trainwright keys create" in raised.value.next_step
    make_keys(tmp_path / "keys", "someone")
    (tmp_path / "keys" / "model.pem").unlink()
    with pytest.raises(SigningKeyMissing) as raised:
        open_keys(tmp_path / "keys")
    assert "model.pem" in raised.value.why


def test_key_that_others_can_read_is_refused(tmp_path):
    make_keys(tmp_path / "keys", "someone")
    (tmp_path / "keys" / "statement.pem").chmod(0o640)
    with pytest.raises(SigningKeyExposed, match=r"statement\.pem") as raised:
        open_keys(tmp_path / "keys")
    assert "0640" in raised.value.why
    assert "chmod 600" in raised.value.next_step


def test_damaged_and_mixed_keys_are_refused(tmp_path):
    make_keys(tmp_path / "keys", "someone")
    others = make_keys(tmp_path / "others", "someone")
    path = tmp_path / "keys" / "statement.pem"
    path.write_bytes(others.statement_pem)
    with pytest.raises(SigningKeyUnreadable, match="do not belong together"):
        open_keys(tmp_path / "keys")
    path.write_bytes(b"nothing")
    with pytest.raises(SigningKeyUnreadable, match="cannot be read"):
        open_keys(tmp_path / "keys")


def test_place_of_keys_is_the_option_then_the_variable_then_the_configuration(tmp_path, monkeypatch):
    monkeypatch.delenv("TRAINWRIGHT_KEYS", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert locate_keys(None) == tmp_path / "config" / "trainwright" / "keys"
    monkeypatch.setenv("TRAINWRIGHT_KEYS", str(tmp_path / "mine"))
    assert locate_keys(None) == tmp_path / "mine"
    assert locate_keys(tmp_path / "given") == tmp_path / "given"


def test_trust_lies_in_the_workspace_and_is_given_once(workspace, keys):
    assert list_trusted(workspace) == []
    assert trust(keys.public, workspace)
    assert not trust(keys.public, workspace)
    assert list_trusted(workspace) == [keys.public]
    assert find_trusted("someone", workspace) == find_trusted(keys.public.id[:6], workspace) == keys.public


def test_unknown_signer_is_an_error_that_names_the_known_ones(workspace, keys):
    trust(keys.public, workspace)
    with pytest.raises(SignerUnknown) as raised:
        find_trusted("nobody", workspace)
    assert f"someone ({keys.public.id[:12]})" in raised.value.why


def test_trusted_keys_under_another_id_are_refused(workspace, keys, other_keys):
    trust(keys.public, workspace)
    (workspace.root / "keys" / f"{keys.public.id}.json").write_bytes(other_keys.public.render())
    with pytest.raises(SigningKeyUnreadable, match="not what its name says"):
        list_trusted(workspace)
