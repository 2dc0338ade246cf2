"""The search page in Chromium, on `camsearch serve --gallery`."""

from __future__ import annotations

import ast
import os
import re
import shutil
import socket
from pathlib import Path

import pytest

from camsearch.library import ImageLibrary
from indexer.sources import Source
from tests.e2e.conftest import MACHINE
from tests.e2e.photos import QUERY, photo
from tests.e2e.serving import serving
from tests.services.errors import ServiceMissing
from tests.services.installing import BROWSERS
from tests.services.plugin import skip_where_missing
from tests.support.clock import HANG_S

playwright = pytest.importorskip("playwright.sync_api")

pytestmark = pytest.mark.slow

expect = playwright.expect
expect.set_options(timeout=HANG_S * 1000)

HOSTILE = "<img src=x onerror=\"document.title='taken'\">'\"$(id)"
SIZES = {"desktop": {"width": 1280, "height": 860}, "phone": {"width": 390, "height": 780}}


@pytest.fixture(scope="module")
def hostile_gallery(library, gallery_folder, tmp_path_factory):
    """The photos, and one whose id, file and metadata are markup."""
    folder = tmp_path_factory.mktemp("page") / "gallery"
    shutil.copytree(gallery_folder, folder)
    file = folder.with_name("<img src=x onerror=alert(1)>.jpg")
    file.write_bytes(photo("cat", (0, 0, 0.9, 1)))
    with ImageLibrary.open(folder, machine=MACHINE) as opened:
        meta = {"kind": HOSTILE, "<b>x</b>": HOSTILE}
        assert opened.index([Source(HOSTILE, str(file), meta)]).indexed == 1
    return folder


@pytest.fixture(scope="module")
def served(hostile_gallery):
    with serving(hostile_gallery.with_name("log"), "--gallery", str(hostile_gallery)) as one:
        yield one.url


@pytest.fixture(scope="module")
def browser(_service_settings):
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    with skip_where_missing(_service_settings):
        if found is None:
            raise ServiceMissing(f"There is no {' or '.join(BROWSERS)}.")
    # Chromium's sandbox does not start as root; the page is our own.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=found, args=options)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser, served, request, tmp_path):
    """Opens an address of the page; fails on errors of its scripts and on requests elsewhere.

    The environment variable SCREENSHOTS_FOLDER names a folder for pictures of what it ended with.
    """
    contexts, wrong = [], []

    def open_page(query="", size="desktop", url=served, **options):
        context = browser.new_context(viewport=SIZES[size], **options)
        context.set_default_timeout(HANG_S * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda shown: (wrong.append(shown.message), shown.dismiss()))
        page.on(
            "request",
            lambda one: one.url.startswith((url, "data:", "blob:")) or wrong.append(one.url),
        )
        page.goto(f"{url}/_camsearch/{query}")
        return page

    yield open_page
    shots = os.environ.get("SCREENSHOTS_FOLDER")
    for number, context in enumerate(contexts):
        if shots:
            name = re.sub(r"\W+", "-", f"{request.node.name}-{number}") + ".png"
            context.pages[0].screenshot(path=Path(shots) / name)
        context.close()
    assert not wrong


def ids(page):
    return page.locator("#grid a").evaluate_all("all => all.map(one => one.dataset.id)")


def searched(page):
    """The ids of the answers, when they are there."""
    expect(page.locator("#said")).to_have_text(re.compile(r"images in \d+ ms"))
    expect(page.locator("#grid")).not_to_have_class(re.compile("stale"))
    return ids(page)


def draw(page, start, end):
    """Drag over the query; points are fractions of it."""
    expect(page.locator("#stage")).to_be_visible()
    place = page.locator("#stage").bounding_box()
    where = [
        (place["x"] + x * place["width"], place["y"] + y * place["height"]) for x, y in (start, end)
    ]
    page.mouse.move(*where[0])
    page.mouse.down()
    page.mouse.move(*where[1], steps=3)
    page.mouse.up()


def drop(page, name, kind, content):
    """Drop a file anywhere on the page."""
    page.evaluate(
        """([name, type, bytes]) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], name, { type }));
            document.body.dispatchEvent(
                new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: carried }));
        }""",
        [name, kind, list(content)],
    )


def test_from_a_dropped_image_to_a_box_a_hit_another_search_and_back(opened, photos):
    page = opened()
    expect(page.locator("#said")).to_contain_text("16 images")
    drop(page, "query.jpg", "image/jpeg", (photos / QUERY).read_bytes())
    assert searched(page)[0].startswith("cat")
    assert "upload" in page.url

    draw(page, (0.2, 0.1), (0.7, 0.6))
    expect(page.locator("#grid i.found")).not_to_have_count(0)
    with_box, hits = page.url, searched(page)
    box = [int(one) for one in re.search(r"box=([\d%C]+)", with_box)[1].split("%2C")]
    assert box[0] < box[2]
    assert box[1] < box[3]

    page.locator("#grid a").nth(1).click()
    expect(page.locator("#hit .heat")).to_be_visible()
    expect(page.locator("#hit-classes tr")).not_to_have_count(0)
    page.locator("#heat").fill("100")
    expect(page.locator("#hit .heat")).to_have_css("opacity", "1")
    page.get_by_label("regions compared").check()
    expect(page.locator("#hit i.tried")).not_to_have_count(0)

    page.get_by_role("button", name="Search with this").click()
    page.wait_for_url(lambda url: "id=" in url and "hit=" not in url)
    expect(page.locator("#hit")).to_be_hidden()
    again = searched(page)
    assert again[0] == hits[1]

    page.go_back()  # to the hit
    expect(page.locator("#hit .heat")).to_be_visible()
    page.go_back()  # to the answers
    expect(page.locator("#hit")).to_be_hidden()
    assert (page.url, searched(page)) == (with_box, hits)
    page.go_forward()
    page.go_forward()
    page.wait_for_url(lambda url: "id=" in url)
    page.reload()
    assert searched(page) == again


def test_an_address_is_a_whole_search(opened):
    query = "?id=cat-1&box=40,20,200,150&compare=maps&filter=meta.kind%3Danimal&hit=cat-2"
    page = opened(query)
    expect(page.locator("#hit .heat")).to_be_visible()
    expect(page.locator("#hit-meta")).to_contain_text("animal")
    page.keyboard.press("Escape")
    assert set(searched(page)) == {"cat-1", "cat-2", "cat-3"}
    expect(page.locator("#compare")).to_have_value("maps")
    page.get_by_role("button", name="Take off the filter").click()
    page.wait_for_url(lambda url: "filter" not in url)
    assert len(searched(page)) == 16


def test_a_search_is_refined_by_pointing(opened):
    page = opened("?id=cat-1")
    first = searched(page)
    page.locator("#grid a[data-id=cat-3]").click()
    page.get_by_role("button", name="This too").click()
    page.wait_for_url("**also=*")
    searched(page)
    page.locator(f"#grid a[data-id={first[4]}]").click()
    page.get_by_role("button", name="Not this").click()
    page.wait_for_url("**without=*")
    expect(page.locator("#chips button")).to_have_text(
        [re.compile("this too"), re.compile("not this")]
    )
    refined = searched(page)
    assert set(refined[:4]) == set(first[:4])
    assert refined.index(first[4]) > 4
    page.get_by_role("button", name="Show as request").click()
    page.get_by_label("Language").select_option("Python")
    for plain in (False, True):
        page.get_by_label("plain kNN").set_checked(plain)
        program = page.locator("#program").inner_text()
        assert '"images": [{"id": "cat-1"}, {"id": "cat-3"}]' in program
        assert f'"without": [{{"id": "{first[4]}"}}]' in program
        ast.parse(program)
    page.reload()
    assert searched(page) == refined
    page.get_by_role("button", name="Take off not this").click()
    page.wait_for_url(lambda url: "without" not in url)


def test_an_uploaded_image_is_not_in_the_address_and_the_page_says_so(opened):
    page = opened("?upload=&box=1,2,30,40")
    expect(page.locator("#said")).to_contain_text("Choose the image again")


def test_a_search_starts_from_the_gallery_and_narrows_by_filters(opened):
    page = opened()
    page.locator("#filter").fill("meta.kind=thing")
    page.locator("#filter").press("Enter")
    expect(page.locator("#said")).to_contain_text("6 images match")
    page.locator("#filter").fill("meta.number>=3")
    page.locator("#filter").press("Enter")
    expect(page.locator("#said")).to_contain_text("2 images match")
    page.locator("#grid a").first.click()
    assert searched(page) == ["coffee-3", "rocket-3"]
    page.locator("#filter").fill("nothing")
    page.locator("#filter").press("Enter")
    expect(page.locator("#said")).to_contain_text("A filter is a field")


def test_it_is_used_by_keys_alone(opened):
    page = opened("?id=cat-1")
    searched(page)
    page.locator("#add-box").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#box")).to_be_focused()
    page.wait_for_url("**box=*")
    before = page.url
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowDown")
    page.wait_for_url(lambda url: "box=" in url and url != before)
    searched(page)
    page.keyboard.press("Delete")
    page.wait_for_url(lambda url: "box=" not in url)
    searched(page)
    page.locator("#grid a").nth(2).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#hit")).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.locator("#hit-title")).to_contain_text("4.")
    page.keyboard.press("Escape")
    expect(page.locator("#hit")).to_be_hidden()


def test_on_a_phone_nothing_is_wider_than_the_screen(opened):
    page = opened("?id=cat-1", size="phone", has_touch=True, is_mobile=True, color_scheme="dark")
    searched(page)
    expect(page.get_by_role("button", name="Take a photo").locator("visible=true")).to_have_count(1)
    page.locator("#grid a").nth(1).tap()
    expect(page.locator("#hit .heat")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#hit").evaluate("one => one.scrollWidth - one.clientWidth") == 0


def test_names_and_metadata_are_shown_as_text(opened):
    page = opened("?id=cat-1&compare=whole")
    searched(page)
    page.locator("#grid a >> text=<img src=x").click()
    expect(page.locator("#hit-title")).to_contain_text("<img src=x onerror=alert(1)>.jpg")
    expect(page.locator("#hit-meta")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Search with this").click()
    page.wait_for_url(lambda url: "hit=" not in url)
    assert HOSTILE in searched(page)
    page.get_by_role("button", name="Show as request").click()
    expect(page.locator("#program")).to_contain_text("onerror")
    assert page.title().startswith("camsearch")
    assert page.locator("#grid b, #grid script, dialog script").count() == 0


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [("list.pdf", "application/pdf", "is not an image"), ("bad.jpg", "image/jpeg", "image")],
)
def test_a_wrong_file_is_refused_with_a_sentence(opened, name, kind, said):
    page = opened()
    expect(page.locator("#said")).to_contain_text("16 images")
    drop(page, name, kind, b"no image at all")
    expect(page.locator("#said.wrong")).to_contain_text(said)


def test_the_page_waits_for_a_server_that_is_gone(opened, hostile_gallery):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    options = ("--gallery", str(hostile_gallery), "--port", port)
    with serving(hostile_gallery.with_name("log-1"), *options) as one:
        page = opened("?id=cat-1", url=one.url)
        searched(page)
    page.locator("#expand").evaluate("one => one.click()")
    expect(page.locator("#said.wrong")).to_contain_text("The server does not answer")
    with serving(hostile_gallery.with_name("log-2"), *options):
        assert searched(page)[0] == "cat-1"
        page.goto("about:blank")


def test_a_slow_search_says_so_and_can_be_stopped(opened):
    page = opened("?id=cat-1")
    searched(page)
    page.route("**/_search", lambda _: None)  # it is never answered
    draw(page, (0.2, 0.1), (0.7, 0.6))
    expect(page.locator("#said")).to_have_text("Still waiting for the server…")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#said")).to_have_text("Stopped.")
    expect(page.locator("#stop")).to_be_hidden()


def test_an_api_key_goes_with_every_request(opened):
    page, sent = opened("?id=cat-1"), []
    searched(page)
    page.on("request", lambda one: sent.append(one.headers.get("authorization")))
    page.locator("#options summary").click()
    page.get_by_label("API key").fill("abc")
    with page.expect_request("**/_camsearch/thumbnails/**"):
        page.get_by_label("API key").press("Tab")
    assert set(sent) == {"ApiKey abc"}


@pytest.mark.services
def test_values_are_counted_and_chosen_on_elasticsearch(opened, proxy, gallery):
    page = opened("?id=cat-1", url=proxy.url)
    assert len(searched(page)) == 15
    page.locator("#facets summary", has_text="kind").click()
    thing = page.get_by_role("checkbox", name=re.compile("^thing"))
    expect(page.locator("#facets label", has_text="thing")).to_contain_text("6")
    thing.check()
    page.wait_for_url("**filter=meta.kind*")
    page.get_by_role("checkbox", name=re.compile("^animal")).check()
    expect(page.locator("#chips button")).to_have_count(2)
    expect(page.locator("#said")).to_contain_text("9 images")
    page.locator("#grid a").nth(1).click()
    expect(page.locator("#hit .heat")).to_be_visible()
    expect(page.locator("#hit-meta")).to_contain_text("kind")
