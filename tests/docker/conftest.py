"""The network of real servers."""

from __future__ import annotations

from tests.servers.fixtures import loopback, own_network

__all__ = ["loopback", "own_network"]
