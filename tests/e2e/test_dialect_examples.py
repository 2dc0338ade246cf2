"""Each example of docs/dialect.md is run, and prints what stands below it."""

from __future__ import annotations

import re
import shutil

import pytest

from tests.e2e.clients import CACHE
from tests.e2e.examples import LANGUAGES, PAGE, PROGRAMS, differs, examples
from tests.e2e.photos import QUERY

EXAMPLES = list(examples(PAGE.read_text()))
CLIENTS = {"bash": "curl", "python": "python-9", "javascript": "javascript", "go": "go"}
SUFFIXES = {"bash": ".sh", "python": ".py", "javascript": ".mjs", "go": ".go"}
ADDRESS = "http://localhost:9280"
# The name of the index, which is not the key `images` of a query.
INDEX = re.compile(r"""\bimages(?=/_)|(?<=["'])images(?=["'](?!:))""")


def named(some):
    return [pytest.param(one, id=f"{one.heading} {one.language}") for one in some]


def ran(had, example, url, index, photos, folder):
    """What an example prints, asked of this address and index instead of the page's."""
    code = INDEX.sub(index, example.code.replace(ADDRESS, url))
    path = folder / f"example{SUFFIXES[example.language]}"
    path.write_text(f"set -eu\n{code}" if example.language == "bash" else code)
    shutil.copy(photos / QUERY, folder)
    client = had(CLIENTS[example.language])
    if example.language == "javascript":  # `import` looks for packages from the file's folder up
        (folder / "node_modules").symlink_to(CACHE / "javascript" / "node_modules")
    return client.run_code(path, folder=folder)


@pytest.mark.parametrize("example", named(EXAMPLES))
def test_on_elasticsearch(had, proxy, gallery, photos, tmp_path, example):
    printed = ran(had, example, proxy.url, gallery, photos, tmp_path)
    assert differs(example.printed, printed) is None, printed


@pytest.mark.parametrize("example", named(e for e in EXAMPLES if e.without_proxy))
def test_on_elasticsearch_by_itself(had, elasticsearch_url, gallery, photos, tmp_path, example):
    printed = ran(had, example, elasticsearch_url, gallery, photos, tmp_path)
    assert differs(example.printed, printed) is None, printed


@pytest.mark.slow
@pytest.mark.parametrize("example", named(e for e in EXAMPLES if not e.elasticsearch_only))
def test_on_a_folder(had, local_proxy, photos, tmp_path, example):
    printed = ran(had, example, local_proxy.url, "images", photos, tmp_path)
    assert differs(example.printed, printed) is None, printed


def test_all_languages_are_spoken_everywhere():
    headings = {example.heading for example in EXAMPLES}
    assert len(headings) >= 8
    spoken = [(example.heading, example.language) for example in EXAMPLES]
    programs = [one for one in spoken if one[1] in PROGRAMS]
    assert {language for _, language in programs} == set(PROGRAMS)
    assert sorted(one for one in spoken if one not in programs) == sorted(
        (heading, language) for heading in headings for language in LANGUAGES
    )
    fences = PAGE.read_text().count("```")
    assert fences == 2 * (len(EXAMPLES) + len(headings) + len(LANGUAGES))


@pytest.mark.parametrize(
    ("expected", "printed", "right"),
    [
        ("cat-1\ncat-2", "cat-1\ncat-2\n", True),
        ("cat-1\ncat-2", "cat-2\ncat-1\n", False),
        ("cat-1", "cat-1\ncat-2\n", False),
        ("cat-1", "", False),
        ("cat-1 [0.84]", '["cat-1",[0.8412]]', True),
        ("cat-1 [0.84]", "cat-1 [ 0.87 ]", False),
        ("cat-1 [20, 0.5]", "cat-1 [30.25, 0.5]", True),
        ("cat-1 [20, 0.5]", "cat-1 [60, 0.5]", False),
        ("cat-1 [3]", "cat-1 [4]", False),
        ("Say this. 400", "Say that. 400", False),
    ],
)
def test_the_comparison_tells_apart(expected, printed, right):
    assert (differs(expected, printed) is None) == right
