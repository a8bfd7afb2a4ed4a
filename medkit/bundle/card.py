"""Render the model card from the metadata and the record, through the one template of all bundles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from medkit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["decimals", "render_card"]


def render_card(
    template: Path,
    name: str,
    metadata: dict[str, Any],
    record: dict[str, Any] | None,
    evaluation: dict[str, Any] | None = None,
) -> str:
    """The model card as Markdown.

    Raises:
        UsageError: the template is missing or wrong, or asks for a quantity that is not there: an empty cell
            would pass unseen.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

    environment = Environment(
        loader=FileSystemLoader(template.parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Markdown, from our own files
    )
    environment.filters["decimals"] = decimals
    try:
        return environment.get_template(template.name).render(
            name=name, metadata=metadata, record=record, evaluation=evaluation
        )
    except TemplateError as error:
        raise UsageError(f"{template}: the card of {name} cannot be written: {error}") from error


def decimals(value: float | str | None, digits: int) -> str:
    """A number of a record for a table: fixed decimals, infinity as a word, a dash where there is none.

    >>> decimals(0.8916, 3), decimals("inf", 1), decimals(None, 1)
    ('0.892', 'infinite', '-')
    """
    if value is None:
        return "-"
    return "infinite" if value == "inf" else f"{float(value):.{digits}f}"
