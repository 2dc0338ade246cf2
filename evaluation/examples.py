"""Queries by several images on one trial: views of one thing, and a wrong hit as what it is not.

Each query is joined by the queries after it that look for the same. All views, and the wrong hit,
are taken out of the gallery and of the right answers, for the searches with one image, too.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from descriptors.expansion import combined_query
from evaluation.scores import Score
from evaluation.searching import FIRST_STAGES, WINDOW_STAGES, MemoryGallery
from evaluation.trials import Judgement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from descriptors.arrays import QueryDescription
    from evaluation.ours import AskedQuery, PreparedTrial
    from evaluation.searching import Stage, StageSearcher
    from evaluation.trials import DatasetQuery

__all__ = ["EXAMPLES", "LIKE_NEGATIVE", "score_examples"]

_STAGES = (FIRST_STAGES[0], FIRST_STAGES[1], *WINDOW_STAGES)

# The measure of negatives: the share of the first ten hits that is more similar to the wrong hit
# than to the query.
LIKE_NEGATIVE = "like the negative"
_PAGE = 10


class _Bench:
    """A trial's gallery, from which images can be hidden."""

    def __init__(self, prepared: PreparedTrial) -> None:
        self.prepared, self.gallery = prepared, MemoryGallery(prepared.documents)
        self.searcher: StageSearcher = prepared.searcher(self.gallery)

    def ranking(
        self, query: QueryDescription, stage: Stage, hidden: Collection[str]
    ) -> tuple[list[str], float]:
        """Ids of all images but the hidden ones, best first, and milliseconds."""
        self.searcher.next_query()
        self.gallery.hidden = frozenset(hidden)
        hits, took = self.searcher.rank_timed(query, stage.plan(len(self.prepared.documents), None))
        return [hit.key for hit in hits], took

    def cosines(self, query: QueryDescription, stage: Stage) -> dict[str, float]:
        """Of every image, as the stage compares them."""
        windows = self.searcher.compares_windows(stage.plan(1, None))
        search = self.gallery.knn_windows if windows else self.gallery.knn
        self.gallery.hidden = frozenset()
        found = search(query.descriptor.cpu().numpy(), len(self.prepared.documents))
        return {hit.id: hit.cosine for hit in found}


def score_examples(
    prepared: PreparedTrial, stages: Mapping[str, Sequence[Stage]]
) -> Iterator[Score]:
    """Scores of the systems of `EXAMPLES` that are wanted.

    Args:
        prepared: the trial; without windows only whole images are compared.
        stages: of each system that is wanted; others than ours are ignored.
    """
    bench, windows = _Bench(prepared), prepared.method.settings.windows
    for name, score in _SYSTEMS.items():
        for stage in stages.get(name, ()):
            if windows or not bench.searcher.compares_windows(stage.plan(1, None)):
                yield from (replace(one, system=name) for one in score(bench, stage))
    bench.searcher.close()


def _views(bench: _Bench, stage: Stage, count: int) -> Iterator[Score]:
    """All views as one query."""
    for views in _groups(bench.prepared.asked, count):
        hidden = _paths(views)
        asked = _without(views[0].query, hidden)
        query = combined_query([view.described for view in views])
        yield Score.of("", stage.name, asked, *bench.ranking(query, stage, hidden))


def _best_of(bench: _Bench, stage: Stage, count: int) -> Iterator[Score]:
    """The view that alone finds most."""
    for views in _groups(bench.prepared.asked, count):
        hidden = _paths(views)
        asked = _without(views[0].query, hidden)
        rankings = (bench.ranking(view.described, stage, hidden) for view in views)
        scores = [Score.of("", stage.name, asked, *ranking) for ranking in rankings]
        yield max(scores, key=lambda score: score.average_precision)


def _negative(bench: _Bench, stage: Stage, *, told: bool) -> Iterator[Score]:
    """Queries with a wrong hit on the first page, which they are told of or not."""
    for one in bench.prepared.asked:
        own = {one.query.image.path}
        found, _ = bench.ranking(one.described, stage, own)
        right = _relevant(one.query)
        wrong = next((path for path in found[:_PAGE] if path not in right), None)
        if wrong is None:
            continue
        hidden = own | {wrong}
        vector = torch.from_numpy(bench.prepared.documents[wrong].descriptor)
        negative = replace(one.described, descriptor=vector)  # all that is read of it
        query = combined_query([one.described], [negative] if told else [])
        ranking, took = bench.ranking(query, stage, hidden)
        score = Score.of("", stage.name, _without(one.query, hidden), ranking, took)
        near, far = bench.cosines(one.described, stage), bench.cosines(negative, stage)
        like = sum(far[i] > near[i] for i in ranking[:_PAGE]) / _PAGE
        yield replace(score, precision={**score.precision, LIKE_NEGATIVE: like})


def _groups(asked: Sequence[AskedQuery], count: int) -> Iterator[Sequence[AskedQuery]]:
    """Each query with those after it by path that look for the same; the first follow the last.

    Convention:
        Views are of different images, and leave at least one right answer.
    """
    alike: dict[frozenset[str], list[AskedQuery]] = defaultdict(list)
    for one in sorted(asked, key=lambda one: one.query.name):
        alike[_relevant(one.query)].append(one)
    for shown, queries in alike.items():
        for first in range(len(queries)):
            views = [queries[(first + i) % len(queries)] for i in range(count)]
            paths = _paths(views)
            if len(paths) == count and len(shown) > count:
                yield views


def _paths(views: Iterable[AskedQuery]) -> frozenset[str]:
    return frozenset(view.query.image.path for view in views)


def _relevant(query: DatasetQuery) -> frozenset[str]:
    """All images that show what is looked for, and those that are neither right nor wrong."""
    judged = next(iter(query.judgements.values()))
    return judged.positives | judged.junk | {query.image.path}


def _without(query: DatasetQuery, hidden: Collection[str]) -> DatasetQuery:
    """The query without right answers that are hidden; see `_groups` for what is left."""
    judged = {
        name: Judgement(judgement.positives - set(hidden), judgement.junk)
        for name, judgement in query.judgements.items()
    }
    return replace(query, judgements={n: j for n, j in judged.items() if j.positives})


_SYSTEMS: Mapping[str, Callable[[_Bench, Stage], Iterator[Score]]] = MappingProxyType(
    {
        "views 2": partial(_views, count=2),
        "best of 2": partial(_best_of, count=2),
        "views 3": partial(_views, count=3),
        "best of 3": partial(_best_of, count=3),
        "negative": partial(_negative, told=True),
        "no negative": partial(_negative, told=False),
    }
)

# The stages at which each is measured.
EXAMPLES: Mapping[str, Sequence[Stage]] = MappingProxyType(dict.fromkeys(_SYSTEMS, _STAGES))
