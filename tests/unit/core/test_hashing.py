"""Digests: equal content, equal name, on every machine."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.core.hashing import canonical_json, digest_bytes, digest_file, digest_json

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text('aé☃ "\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abé", max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_canonical_json_is_sorted_compact_utf8():
    assert canonical_json({"b": [1, 2.0, None, True], "a": "é"}) == '{"a":"é","b":[1,2.0,null,true]}'.encode()


@given(JSON)
def test_canonical_json_survives_being_read_and_written_again(value):
    written = canonical_json(value)
    assert canonical_json(json.loads(written)) == written


@given(st.dictionaries(st.text("abc", max_size=2), st.integers(), min_size=2, max_size=5))
def test_order_of_keys_means_nothing(document):
    assert canonical_json(dict(reversed(document.items()))) == canonical_json(document)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_number_that_json_cannot_hold_is_refused(number):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json({"a": [number]})


def test_digests_are_sha256(tmp_path):
    # FIPS 180-2, appendix B.1
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_bytes(b"abc") == digest_bytes(memoryview(b"abc")) == abc
    assert digest_json("abc") == hashlib.sha256(b'"abc"').hexdigest()
    data = bytes(range(256)) * 5000
    path = tmp_path / "data"
    path.write_bytes(data)
    assert digest_file(path) == digest_bytes(data)
