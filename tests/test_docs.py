"""The pages say what is true."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

from camsearch.main import app
from docs.generate import PAGE, settings_page
from tests.support.images import encoded, shapes
from tests.support.large_files import too_large

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "descriptors",
    "galleries",
    "es_mappings",
    "indexer",
    "reranker",
    "evaluation",
    "camsearch",
)
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.stem != "__init__"
)
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
# The first words of a statement that stands by itself.
CODE = re.compile(r"(from [\w.]+ )?import .*|(for|with|async) .*:|[\w.]+( = .*|\(.*[(\[{,)])")


@cache
def docstrings(module):
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [text for n in ast.walk(tree) if isinstance(n, kinds) and (text := ast.get_docstring(n))]


@pytest.fixture
def photos_here(tmp_path, monkeypatch):
    """A working directory with the files that examples name."""
    (tmp_path / "photos").mkdir()
    files = {"photos/same-thing.jpg": 1, "photos/other.jpg": 2}
    files |= {"query.jpg": 1, "side.jpg": 1, "another.jpg": 2}
    for name, seed in files.items():
        (tmp_path / name).write_bytes(encoded(shapes(320, 320, seed=seed)))
    monkeypatch.chdir(tmp_path)


def test_the_settings_page_is_that_of_the_settings():
    assert PAGE.read_text() == settings_page(), "run `make docs`"


def test_the_readme_names_every_command():
    readme = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        assert f"`{command.name}`" in readme


def test_every_module_the_architecture_names_is_there():
    text = (ROOT / "ARCHITECTURE.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(
        r"\b((?:descriptors|galleries|es_mappings|indexer|reranker|evaluation|camsearch|tests|docs)/[\w/.-]+\.\w+)",
        text,
    )
    assert len(named) > 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} → {target}"


def test_decisions_are_numbered_without_gaps():
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs" / "adr").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_no_file_is_over_5_mb():
    folders = (
        "descriptors",
        "galleries",
        "es_mappings",
        "evaluation",
        "camsearch",
        "docs",
        "tests",
    )
    assert too_large([p for folder in folders for p in (ROOT / folder).rglob("*")]) == []


def test_every_section_of_the_method_that_is_cited_is_there():
    page = (ROOT / "docs" / "method.md").read_text()
    headings = set(re.findall(r"^## (\d+)\. ", page, re.MULTILINE))
    cited = [
        (module, number)
        for module in MODULES
        for text in docstrings(module)
        for numbers in re.findall(
            r"docs/method\.md\s+sections?\s+(\d+(?:(?:,| and| to) \d+)*)", text
        )
        for number in re.findall(r"\d+", numbers)
    ]
    assert len(cited) > 40
    assert [one for one in cited if one[1] not in headings] == []


def test_every_page_a_docstring_cites_is_there():
    texts = [text for module in MODULES for text in docstrings(module)]
    cited = {page for text in texts for page in re.findall(r"\b(?:[\w-]+/)*[\w-]+\.md\b", text)}
    assert "docs/method.md" in cited
    # The pages that go with photos, which are not in the repository.
    missing = {page for page in cited if not (ROOT / page).exists()}
    assert missing == {"photos/README.md", "small/README.md"}
    assert [text for text in texts if re.search(r"\bMETHOD\b", text)] == []


def test_code_in_docstrings_parses():
    """A paragraph that begins as a statement does; what stands behind >>> is run, see below."""
    for module in MODULES:
        for text in docstrings(module):
            for paragraph in re.split(r"\n\s*\n", text):
                if CODE.fullmatch(paragraph.strip().splitlines()[0]):
                    ast.parse(inspect.cleandoc(paragraph))


@pytest.mark.slow
@pytest.mark.usefixtures("photos_here")
def test_the_examples_of_docstrings_run():
    finder, runner = doctest.DocTestFinder(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    named = [module for module in MODULES if any(">>>" in text for text in docstrings(module))]
    for module in named:
        for example in finder.find(importlib.import_module(module)):
            runner.run(example)
    assert runner.tries > 0
    assert runner.failures == 0


@pytest.mark.slow
@pytest.mark.usefixtures("photos_here")
def test_the_example_of_the_readme_runs(capsys):
    (example,) = [block for block in python_of(ROOT / "README.md") if "ImageLibrary" in block]
    exec(compile(example.replace("/home/me/Pictures", "photos"), "README.md", "exec"), {})  # noqa: S102
    assert "same-thing.jpg" in capsys.readouterr().out


def test_python_in_pages_parses_and_imports_what_is_there():
    """CONTRIBUTING has parts of tables and functions."""
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for block in python_of(page):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in PACKAGES:
                    module = importlib.import_module(str(node.module))
                    assert all(hasattr(module, name.name) for name in node.names), page.name


def python_of(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
