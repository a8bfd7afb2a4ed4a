"""The status page: one document, nothing from elsewhere, no script.

What it shows is of bounded size: counts, what is in trouble, what moved last; a state's studies come page by page. It
loads itself anew unless that is stopped (WCAG 2.2, 2.2.1), and its style is let in by its hash (CSP level 3, 8.3).
"""

from __future__ import annotations

import base64
import hashlib
import math
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlencode

from medkit import __version__
from medkit.batch.folder import JobFolder
from medkit.batch.ledger import State
from medkit.batch.status.listing import studies_in
from medkit.batch.status.words import duration, moment, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2 import Template

    from medkit.batch.ledger import LedgerView
    from medkit.batch.status.alerts import Alert
    from medkit.batch.status.summary import Summary

__all__ = ["ROWS", "PageQuery", "content_security_policy", "render_page"]

ROWS = 50  # studies of a state on one page
_REFRESH_SECONDS = 30


@dataclass(frozen=True)
class PageQuery:
    """What of the page is asked for.

    Args:
        state: the studies in it alone.
        page: of them, from 1.
        refresh: whether the page loads itself anew.
    """

    state: State | None = None
    page: int = 1
    refresh: bool = True

    @classmethod
    def parse(cls, text: str) -> PageQuery:
        """From the part of an address after ``?``; what cannot be is left out.

        >>> PageQuery.parse("state=failed&page=-2&refresh=0")
        PageQuery(state=<State.FAILED: 'failed'>, page=1, refresh=False)
        """
        given = {key: values[-1] for key, values in parse_qs(text, max_num_fields=10).items()}
        state, page = given.get("state", ""), given.get("page", "")
        return cls(
            state=State(state) if state in set(State) - {State.SUPERSEDED} else None,
            page=int(page) if page.isascii() and page.isdigit() and 0 < len(page) < 10 and int(page) else 1,
            refresh=given.get("refresh") != "0",
        )

    def link(self, **changed: Any) -> str:
        """An address on this page with some of it changed; the first page unless one is named."""
        new = {"state": self.state, "page": 1, "refresh": self.refresh, **changed}
        query = {"state": new["state"]} if new["state"] else {}
        query |= {"page": new["page"]} if new["page"] > 1 else {}
        query |= {} if new["refresh"] else {"refresh": 0}
        return "/" + (f"?{urlencode(query)}" if query else "")


def render_page(
    view: LedgerView, summary: Summary, alerts: Sequence[Alert], query: PageQuery, name: str
) -> str:
    """The page as HTML.

    Args:
        view: of the ledger, for the studies of one state.
        summary: how the batch stands.
        alerts: what is to be looked at.
        query: what is asked for; a page behind the last becomes the last.
        name: of the batch.

    Raises:
        LedgerError: the ledger cannot be read.
    """
    counts = {**summary.counts, State.RECEIVING: summary.receiving.count}
    count = counts[query.state] if query.state else 0
    pages = max(1, math.ceil(count / ROWS))
    page = min(query.page, pages)
    studies = []
    if query.state:
        job = JobFolder(view.path.parent)
        studies = studies_in(job, view, query.state, limit=ROWS, offset=(page - 1) * ROWS)
    return _template().render(
        name=name,
        version=__version__,
        summary=summary,
        alerts=alerts,
        state=query.state,
        studies=studies,
        page=page,
        pages=pages,
        refresh=_REFRESH_SECONDS if query.refresh else 0,
        link=query.link,
    )


def content_security_policy() -> str:
    """What a browser lets the page do: have its own style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    nothing = ("default-src", "base-uri", "form-action", "frame-ancestors")
    return "; ".join([f"style-src 'sha256-{digest}'", *(f"{kind} 'none'" for kind in nothing)])


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=True
    )
    environment.filters |= {
        "clock": lambda seconds: f"{datetime.fromtimestamp(seconds).astimezone():%a %d %b %Y, %H:%M:%S %Z}",
        "duration": duration,
        "moment": moment,
        "size": size,
        "thousands": lambda number: f"{number:,}",
    }
    environment.globals["style"] = _safe_style()
    text = (files("medkit.batch.status") / "page.html.j2").read_text(encoding="utf-8")
    return environment.from_string(text)


@cache
def _style() -> str:
    return (files("medkit.batch.status") / "page.css").read_text(encoding="utf-8")


def _safe_style() -> Any:
    from markupsafe import Markup

    return Markup(_style())  # our own file, which has no "<"
