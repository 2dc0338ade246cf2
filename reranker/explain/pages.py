"""Write a report as one self-contained HTML page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from descriptors.errors import RequestError, written

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["check_suffix", "write_page"]


def check_suffix(path: Path) -> None:
    """Raise `RequestError` for another suffix than ``.html``."""
    if path.suffix.lower() != ".html":
        raise RequestError(
            f"The report cannot be written to {path}: it is an HTML page, so its name must end "
            "in .html."
        )


def write_page(path: Path, package: str, template: str, **variables: object) -> None:
    """Fill in a template of a package, and write it.

    Args:
        path: ends in ``.html``; its folder is made if needed.
        package: has the template in its folder ``templates``.
        template: name of the file.
        variables: of the template.

    Raises:
        RequestError: for another suffix, or a path that cannot be written.
    """
    check_suffix(path)
    jinja = Environment(
        loader=PackageLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = jinja.get_template(template).render(variables)
    with written(f"The report {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")
