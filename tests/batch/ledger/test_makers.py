from __future__ import annotations

import pytest

from medkit.batch.ledger.makers import makers_line, names_maker

UNET = "unet 1.1 (0123456789ab)"
BRAIN = "whole_brain 0.2.0 (feedfacebeef)"
LINE = makers_line([UNET, BRAIN])
NAMES = ("unet", "unet 1.1", UNET, "whole_brain", "whole_brain 0.2.0", BRAIN)
DIGESTS = ("0123", "0123456789ab", "0123456789abc", "0123456789ab" + "f" * 52, "FEEDFACEBEEF")
WORDS = ("", " ", "made", "made by", "made by unet", "net", "une", "brain", "whole", "1.1", "u%", "%")
OTHERS = ("unet 1", "unet 1.", "unet 1.10", "unet 0.2.0", "unet 1.1 (0123", "unet 1.1, whole_brain")
DIGITS = ("012", "face", "123456789ab", "0123456789ac", "0123456789ac" + "f" * 52, "feedfacebeee0")


def test_the_line_says_all_makers_and_none_where_there_is_none():
    assert makers_line([UNET, BRAIN]) == f"made by {UNET}, {BRAIN}"
    assert makers_line([]) is None
    assert not names_maker(None, "unet")


@pytest.mark.parametrize("asked", [*NAMES, *DIGESTS])
def test_a_maker_is_found_by_name_version_and_digest(asked):
    assert names_maker(LINE, asked)


@pytest.mark.parametrize("asked", [*WORDS, *OTHERS, *DIGITS])
def test_what_is_only_like_a_maker_is_none(asked):
    assert not names_maker(LINE, asked)


def test_a_later_version_is_another():
    assert not names_maker(makers_line(["unet 1.10 (0123456789ab)"]), "unet 1.1")


def test_a_folder_of_somebody_elses_may_have_any_name():
    line = makers_line(["my (old) net, too 1.0 (0123456789ab)", UNET])
    assert names_maker(line, "my (old) net, too 1.0")
    assert names_maker(line, "unet 1.1")
    assert not names_maker(line, "too")
