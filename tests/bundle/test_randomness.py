"""A caller's random numbers go on as if nothing had happened."""

from __future__ import annotations

import pytest
import torch

from medkit.bundle.randomness import kept_random_state
from tests.random_numbers import draw, seed


@kept_random_state()
def seed_and_fail() -> None:
    seed(0)
    raise ZeroDivisionError


@pytest.mark.parametrize("inside", [lambda: seed(0), draw])
def test_numbers_go_on_as_they_were(inside):
    seed(5)
    expected = [draw(), draw()]
    seed(5)
    found = [draw()]
    with kept_random_state():
        inside()
    assert [*found, draw()] == expected


def test_numbers_go_on_after_an_error_too():
    seed(5)
    expected = draw()
    seed(5)
    with pytest.raises(ZeroDivisionError):
        seed_and_fail()
    assert draw() == expected


def test_a_gpu_that_is_not_in_use_yet_begins_from_the_callers_seed(monkeypatch):
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    torch.manual_seed(5)
    with kept_random_state():
        torch.manual_seed(0)
    assert seeds == [5, 0, 5]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_numbers_on_a_gpu_go_on_as_they_were():
    torch.manual_seed(5)
    expected = torch.rand(3, device="cuda")
    torch.manual_seed(5)
    with kept_random_state():
        torch.manual_seed(0)
    assert torch.equal(torch.rand(3, device="cuda"), expected)
