"""A report shows every hit, needs nothing from elsewhere, and is drawn even where images lack."""

from __future__ import annotations

import pytest

from camsearch.report import write_report
from camsearch.search_report import (
    HitImage,
    move_after,
    move_before,
    plan_words,
    right_words,
    stages,
)
from descriptors.errors import RequestError
from reranker.ranking import Ranking, SearchPlan
from tests.unit.camsearch.reports import Page, heat, hit, report


def read(folder, *reports, note=""):
    path = folder / "report.html"
    write_report(path, reports, note=note)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    return page


class TestPage:
    def test_every_hit_of_both_orders_is_there_with_its_place(self, tmp_path):
        page = read(tmp_path, report())
        anchors = {a["id"] for tag, a in page.tags if tag == "li" and "id" in a}
        orders = [f"search-1-{order}-{n}" for order in ("before", "after") for n in (1, 2, 3)]
        assert anchors == set(orders)
        assert {"a", "b", "c", "d"} <= set(page.text().split())
        assert "3 → 1" in page.text()
        assert "1 → 2" in page.text()
        assert "left the list" in page.text()
        assert "0.470 → , then 0.890" in page.text()

    def test_names_are_unique_and_every_reference_leads_somewhere(self, tmp_path):
        page = read(tmp_path, report(), report("Find the pagoda"))
        names = page.all("id")
        assert len(names) == len(set(names))
        links = [link[1:] for link in page.all("href") if link.startswith("#")]
        assert links
        assert set(links) <= set(names)

    def test_nothing_comes_from_elsewhere(self, tmp_path):
        """Addresses of hits stand there as text; only data and places in the page are loaded."""
        there = hit("https://example.org/a.jpg", 1, 1)
        ranking = Ranking((there,), (there,))
        page = read(tmp_path, report(ranking=ranking, images={}))
        assert "https://example.org/a.jpg" in page.text()
        for link in page.all("href") + page.all("src"):
            assert link.startswith(("#", "data:image/"))
        assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "img", "base"}
        style = (tmp_path / "report.html").read_text().split("<style>")[1].split("</style>")[0]
        assert "url(" not in style
        assert "@import" not in style

    def test_ids_and_metadata_are_escaped(self, tmp_path):
        evil = "<script>alert(1)</script>"
        quoted = hit('" onload="alert(2)', 2, 2, meta={evil: evil, "n": {"deep": [1, None]}})
        ranking = Ranking((hit(evil, 1, 1), quoted), (), warnings=(evil,))
        page = read(tmp_path, report(evil, ranking=ranking, classes=(evil,)), note=evil)
        assert not [tag for tag, a in page.tags if tag == "script" or "onload" in a]
        assert evil in page.text()
        assert '{"deep": [1, null]}' in page.text()

    def test_images_have_words_and_boxes_their_place(self, tmp_path):
        page = read(tmp_path, report())
        images = [a for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
        assert len(images) == 7
        assert all(a["aria-label"] for a in images)
        assert any("Hit 1, right" in (a["aria-label"] or "") for a in images)
        lines = [a for tag, a in page.tags if tag == "rect" and a.get("class") == "line"]
        assert {(a["x"], a["y"], a["width"], a["height"]) for a in lines} == {
            ("100", "100", "400", "300"),
            ("40", "30", "160", "120"),
        }

    def test_an_image_that_cannot_be_read_has_a_placeholder(self, tmp_path):
        page = read(tmp_path, report(images={"a": HitImage(None, heat(), right=True)}))
        assert page.text().count("image cannot be read") == 6

    def test_several_searches_have_a_table_of_contents(self, tmp_path):
        several = read(tmp_path, report(), report("Find the pagoda"))
        assert {"#search-1", "#search-2"} <= set(several.all("href"))
        assert "nav" in {tag for tag, _ in several.tags}
        assert "nav" not in {tag for tag, _ in read(tmp_path, report()).tags}

    def test_a_plain_search_has_one_order(self, tmp_path):
        ranking = Ranking((hit("a", 1, 1),), (hit("a", 1, 1),))
        page = read(tmp_path, report(ranking=ranking, plan=SearchPlan(k=3)))
        assert [a["id"] for tag, a in page.tags if tag == "li" and "id" in a] == [
            "search-1-after-1"
        ]
        assert "→" not in page.text()

    def test_a_search_without_hits_says_so(self, tmp_path):
        page = read(tmp_path, report(ranking=Ranking((), ()), box=None, query_heat=None))
        assert page.text().count("No image found.") == 2


class TestRefusals:
    @pytest.mark.parametrize("name", ["report.png", "report"])
    def test_another_suffix_is_refused(self, tmp_path, name):
        with pytest.raises(RequestError, match=r"its name must end in \.html"):
            write_report(tmp_path / name, [report()])
        assert list(tmp_path.iterdir()) == []

    def test_no_search_is_refused(self, tmp_path):
        with pytest.raises(RequestError, match="no search"):
            write_report(tmp_path / "report.html", [])

    def test_a_place_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(RequestError, match="choose another path"):
            write_report(tmp_path / "file" / "report.html", [report()])


class TestWords:
    def test_moves(self):
        ranking = report().ranking
        assert [(m.kind, m.before, m.after) for m in map(move_after, ranking.hits)] == [
            ("up", 3, 1),
            ("down", 1, 2),
            ("new", None, 3),
        ]
        before = [move_before(h, ranking) for h in ranking.first]
        assert [(m.kind, m.before, m.after) for m in before] == [
            ("down", 1, 2),
            ("out", 2, None),
            ("up", 3, 1),
        ]
        assert move_after(hit("a", 4, 4)).kind == "same"

    def test_plan(self):
        assert plan_words(SearchPlan(k=5)) == "First search for 5 hits."
        words = plan_words(SearchPlan(150, 100, "maps", expand=3, alpha=2))
        assert "the first 100 re-ranked by their best regions (R = 100)" in words
        assert "the best 3 hits (n = 3, \N{GREEK SMALL LETTER ALPHA} = 2)" in words
        words = plan_words(SearchPlan(5, 1000, "windows"))
        assert "all re-ranked by their most similar windows (R = 1000)" in words
        assert "as whole images" in plan_words(SearchPlan(5, 100, "images"))

    def test_right_hits_are_counted_only_where_all_are_known(self):
        assert right_words(report()) == "2 right among the first 3 (before: 1)"
        assert right_words(report(plan=SearchPlan(k=3))) == "2 right among the first 3"
        assert right_words(report(images={})) == ""

    def test_stages_share_the_whole(self):
        shown = stages(report().ranking)
        assert [stage.name for stage in shown] == ["first search", "re-ranking"]
        assert sum(stage.share for stage in shown) == pytest.approx(1)
        assert stages(Ranking((), (), {"warm_up": 0.0}))[0].name == "warm up"
