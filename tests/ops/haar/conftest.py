"""With the compiled kernel, and without."""

from __future__ import annotations

import pytest

from medkit.ops.haar import cpu


@pytest.fixture(params=["kernel", "reference"])
def path(request, monkeypatch):
    """Each test that asks for it runs with the compiled kernel and without."""
    monkeypatch.setattr(cpu, "is_available", lambda: request.param == "kernel")
