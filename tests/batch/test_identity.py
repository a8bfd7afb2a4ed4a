from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medkit.batch.identity import hash_revision, hash_uid, is_hash

hashes = st.text("0123456789abcdef", min_size=64, max_size=64)


def test_a_uid_is_hashed_as_sha256sum_does():
    assert hash_uid("1.2.3") == hashlib.sha256(b"1.2.3").hexdigest()
    assert {hash_uid(uid) for uid in ("1.2.3\0", " 1.2.3", "1.2.3 ")} == {hash_uid("1.2.3")}
    assert hash_uid("1.2.3") != hash_uid("1.2.30")


@pytest.mark.parametrize("uid", ["", " ", "\0"])
def test_no_uid_is_no_study(uid):
    with pytest.raises(ValueError, match="expected a UID"):
        hash_uid(uid)


@given(st.lists(hashes, unique=True), st.randoms(), hashes)
def test_a_revision_is_the_set_of_its_instances(instances, random, other):
    shuffled = [*instances, *instances]
    random.shuffle(shuffled)
    assert hash_revision(shuffled) == hash_revision(instances)
    assert is_hash(hash_revision(instances))
    if other not in instances:
        assert hash_revision([*instances, other]) != hash_revision(instances)


@pytest.mark.parametrize("text", ["", "1.2.3", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
def test_what_is_no_hash(text):
    assert not is_hash(text)
    with pytest.raises(ValueError, match="expected SHA-256 hashes"):
        hash_revision([text])
