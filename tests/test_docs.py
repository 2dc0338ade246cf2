"""The pages say what is true."""

from __future__ import annotations

import re
from pathlib import Path

from camsearch.main import app
from docs.generate import PAGE, settings_page
from tests.support.large_files import too_large

ROOT = Path(__file__).parents[1]


def test_the_settings_page_is_that_of_the_settings():
    assert PAGE.read_text() == settings_page(), "run `make docs`"


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        assert f"`{command.name}`" in readme


def test_every_module_the_architecture_names_is_there():
    text = (ROOT / "ARCHITECTURE.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(
        r"\b((?:descriptors|es_mappings|indexer|reranker|evaluation|camsearch|tests|docs)/[\w/.-]+\.\w+)",
        text,
    )
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_links_between_pages_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_file_is_over_5_mb():
    folders = ("descriptors", "es_mappings", "evaluation", "camsearch", "docs", "tests")
    assert too_large([p for folder in folders for p in (ROOT / folder).rglob("*")]) == []
