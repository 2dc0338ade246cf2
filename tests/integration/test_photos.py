"""On real photos: a box round one thing finds the other photos of that very thing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from camsearch.library import ImageLibrary
from descriptors.arrays import Box
from evaluation.where import overlap

if TYPE_CHECKING:
    from reranker.ranking import Ranking

pytestmark = pytest.mark.photos

BESIDE = Path(__file__).resolve().parents[3] / "shared" / "photos"
VIEWS = 5


class Query(NamedTuple):
    """A box drawn by eye round the thing that the scene is named for."""

    scene: str
    view: str
    box: tuple[int, int, int, int]


QUERIES = [
    Query("elephant_gate", "000.jpg", (0, 0, 510, 620)),
    Query("alai_minar", "000.jpg", (330, 150, 900, 580)),
    Query("checkpoint_charlie", "001.jpg", (340, 130, 560, 600)),
]


@pytest.fixture(scope="session")
def large() -> Path:
    """The folder with five larger views of each of some scenes."""
    folder = Path(os.environ.get("PHOTOS_FOLDER", BESIDE)) / "large"
    if not folder.is_dir():
        pytest.skip(f"no photos in {folder}: name their folder in PHOTOS_FOLDER")
    return folder


@pytest.fixture(scope="session")
def library(large: Path, tmp_path_factory: pytest.TempPathFactory):
    """All of them indexed, once."""
    with ImageLibrary.create(tmp_path_factory.mktemp("photos") / "gallery") as library:
        counts = library.index([large])
        assert counts.rejected == 0
        assert counts.indexed == counts.asked == VIEWS * len(scenes(large))
        yield library


def scenes(large: Path) -> list[str]:
    return sorted(path.name for path in large.iterdir() if path.is_dir())


def search(library: ImageLibrary, large: Path, query: Query) -> Ranking:
    return library.search(large / query.scene / query.view, query.box, k=10, rerank=100)


def scene_of(hit) -> str:
    return Path(hit.document.uri).parent.name


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.scene)
def test_a_box_finds_the_other_views_first(library, large, query) -> None:
    ranking = search(library, large, query)
    assert ranking.warnings == ()
    assert ranking.hits[0].document.uri == str(large / query.scene / query.view)
    assert [scene_of(hit) for hit in ranking.hits[:VIEWS]] == [query.scene] * VIEWS
    # Clearly so: the last of them is nearer than the first image of anything else.
    assert ranking.hits[VIEWS - 1].score > ranking.hits[VIEWS].score + 0.05


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.scene)
def test_the_thing_is_found_where_it_is(library, large, query) -> None:
    hit = search(library, large, query).hits[0]
    assert overlap(Box(*query.box), hit.box) > 0.3


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.scene)
def test_every_hit_says_where(library, large, query) -> None:
    for hit in search(library, large, query).hits:
        assert hit.box is not None
        assert 0 <= hit.box.x0 < hit.box.x1 <= hit.document.width
        assert 0 <= hit.box.y0 < hit.box.y1 <= hit.document.height
