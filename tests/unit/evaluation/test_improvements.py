"""Ways to rank beyond the paper: hands by hand, and the default's row is the product's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import torch
from torch.nn import functional

from descriptors.method import Method
from descriptors.settings import RegionSettings
from es_mappings.documents import Document
from evaluation.encoding import encode_photos
from evaluation.galleries import MemoryGallery
from evaluation.improvements.hand import Hand
from evaluation.improvements.rankings import (
    diffused,
    diffused_order,
    expanded,
    expanded_twice,
    fused,
    refined,
    summed_with_neighbours,
)
from evaluation.improvements.scoring import IMPROVEMENTS, score_improvements
from evaluation.ours import fit_whitening
from evaluation.photos import read_trials
from evaluation.scores import Score
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan
from tests.support.tiny_network import tiny_encoder
from tests.unit.evaluation.miniature import make_miniature

if TYPE_CHECKING:
    from pathlib import Path

    from es_mappings.documents import Gallery

DEFAULT = RegionSettings.preset("default")
REGIONS = RegionSettings(n_classes=4, least_side=8)


def fan(*degrees: float) -> torch.Tensor:
    """Unit vectors at these angles from the query."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


@pytest.fixture
def hand() -> Hand:
    """Five photos, of which the first is the query's own; a window of three.

    The regions are those of a photo at 30 degrees, at 10 and at 50.
    """
    return Hand(
        torch.tensor([1.0, 0.0]),
        fan(0, 20, -40, 60, -80),
        torch.tensor([False, True, True, True, True]),
        torch.tensor([1, 2, 3]),
        fan(30, -10, 50),
        fan(20, -40, 60),
    )


class TestHand:
    def test_the_window_comes_first_and_the_rest_keeps_its_order(self, hand: Hand) -> None:
        assert hand.reordered(torch.tensor([0.1, 0.9, 0.5])) == [2, 3, 1, 4]

    def test_the_query_itself_is_no_answer(self, hand: Hand) -> None:
        assert hand.ranked(hand.first) == [1, 2, 3, 4]

    def test_a_second_search_takes_the_better_of_picture_and_region(self, hand: Hand) -> None:
        """Looking at -80: regions at 30, -10 and 50 against pictures at 20, -40 and 60."""
        assert hand.searched_again(fan(-80)[0]) == [4, 2, 1, 3]
        # Looking at 45: the region at 50 before the one at 30, the pictures at 60 and 20.
        assert hand.searched_again(fan(45)[0]) == [3, 1, 2, 4]


class TestRankings:
    def test_fused(self, hand: Hand) -> None:
        """Regions alone put the second first (10 degrees); first scores alone do not."""
        assert fused(0.0)(hand) == [2, 1, 3, 4]
        assert fused(1.0)(hand) == [1, 2, 3, 4]

    def test_expanded_by_hand(self, hand: Hand) -> None:
        """With the best by region, at -40, the query looks at -20: regions at 10 and 30 degrees."""
        assert expanded(1)(hand) == hand.searched_again(fan(-20)[0]) == [2, 1, 4, 3]

    def test_alpha_weighs_by_the_regions_score(self, hand: Hand) -> None:
        weight = fan(10)[0, 0] ** 3
        query = functional.normalize(hand.query + weight * fan(-40)[0], dim=0)
        assert expanded(1, 3.0)(hand) == hand.searched_again(query)

    def test_neighbours_draw_a_hit_along(self) -> None:
        """Two hits as far from the query: the one with another beside it comes first."""
        gallery = torch.cat([fan(10, 40), fan(-45, -80)])
        hand = Hand(fan(0)[0], gallery, torch.ones(4).bool(), torch.arange(4), gallery, gallery)
        for rank in (
            summed_with_neighbours(1, 1),
            refined(2),
            diffused_order(1, DEFAULT.model_copy(update={"expand_neighbours": 1})),
        ):
            order = rank(hand)
            assert order.index(1) < order.index(2)

    def test_twice_goes_on_from_what_the_first_found(self, hand: Hand) -> None:
        assert expanded_twice(1, 1, 0.0)(hand) == expanded(1)(hand)
        assert sorted(expanded_twice(1, 3, 1.0)(hand)) == [1, 2, 3, 4]

    @pytest.mark.parametrize("name", IMPROVEMENTS)
    def test_each_ranks_every_answer_once(self, hand: Hand, name: str) -> None:
        assert sorted(IMPROVEMENTS[name](hand)) == [1, 2, 3, 4]

    def test_without_neighbours_diffusion_is_plain_expansion(self, hand: Hand) -> None:
        paper = RegionSettings(expand_neighbours=0)
        assert diffused(2, paper)(hand) == expanded(2)(hand)


@pytest.mark.slow
def test_the_row_of_the_default_is_the_products_answer(tmp_path: Path) -> None:
    trial = read_trials(make_miniature(tmp_path / "photos"), "full")[0]
    photos = (*trial.gallery, *trial.fit)
    encoded = encode_photos(photos, tiny_encoder(), tmp_path / "maps", lambda *_: None)
    method = Method(encoded.encoder, fit_whitening(trial.fit, encoded))
    documents, described = {}, {}
    for photo in trial.gallery:
        [(_, maps)] = encoded.batches([photo])
        row = method.describe_encoded(maps).descriptors[0].numpy()
        digest = encoded.digests[photo.file]
        documents[photo.path] = Document(photo.path, str(photo.file), digest, *photo.size, row)
        described[photo.path] = method.describe_kept_query(maps, photo.size, REGIONS)
    searcher = Searcher(method, cast("Gallery", MemoryGallery(documents)), encoded.store, REGIONS)
    asked = [(query, described[query.photo.path]) for query in trial.queries]
    scores = score_improvements(asked, documents, searcher.matcher)
    assert len(scores) == len(asked) * len(IMPROVEMENTS)
    for stage, plan in (
        ("R100 region", SearchPlan(len(documents), 100)),
        ("R100 +diffusion 5", SearchPlan(len(documents), 100, expand=5)),
        ("R100 first, no regions +diffusion 5", SearchPlan(len(documents), expand=5)),
    ):
        found = {score.query.name: score for score in scores if score.stage == stage}
        for query, one in asked:
            answer = searcher.search(
                one, SearchPlan(plan.k, plan.window, expand=plan.expand, leave_out=query.leave_out)
            )
            expected = Score.of("OfA", stage, query, [h.document.id for h in answer.hits], 0)
            assert found[query.name].ranks == expected.ranks
    searcher.close()
