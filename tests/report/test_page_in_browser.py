"""The page in a real browser: nothing fetched, all seen, wide and narrow.

Needs Chromium: the program in CHROMIUM, or `chromium` on the path.
"""

import os
import shutil

import numpy as np
import pytest
from handmade_runs import cost, gallery, make_run
from PIL import Image

from trajvit.report.examples import Hit, Query
from trajvit.report.page import Picture, Section, write_page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = pytest.mark.skipif(
  CHROMIUM is None,
  reason="no Chromium: install it, or set CHROMIUM to the program",
)
WIDTHS = (1280, 400)
FLAGS = (
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
  "--no-sandbox",
)
# Every drawing and picture that has no size, or that reaches out of the page
# without a box around it that scrolls.
UNSEEN = """() => [...document.querySelectorAll("figure, .panel svg, img")]
  .filter((one) => {
    const box = one.getBoundingClientRect();
    const small = box.width < 40 || box.height < 40;
    const blank = one.tagName === "IMG" && !one.naturalWidth;
    const out = box.right > innerWidth + 1 && !one.closest(".scroll");
    return small || blank || out;
  }).map((one) => one.outerHTML.slice(0, 120))"""
LETTERS = """() => Math.min(...[...document.querySelectorAll(".panel svg text")]
  .map((one) => one.getBoundingClientRect().height))"""
OVERFLOW = "() => document.documentElement.scrollWidth - innerWidth"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
  """A page with every kind of part."""
  folder = tmp_path_factory.mktemp("page")
  runs = []
  for i, name in enumerate(["ours-seed0", "ours-seed1", "patches", "random"]):
    reducers = ["random_k"] if name == "random" else []
    evals = {
      "static": gallery(50.0 - 7 * i, **{"t2v_R@5_low": 1, "t2v_R@5_high": 60}),
      "cost": cost(8.0 * (i + 1), 1.0 + i, memory=300.0 - i),
    }
    runs.append(make_run(name, evals, reducers=reducers))
  runs[2].evals["cost"]["details"] = dict(
    tokens_per_clip=dict(edges=[0.5, 1.5, 2.5], clips=[1, 2])
  )
  runs.append(
    make_run("elsewhere", dict(static=gallery(9.0)), sampling="uniform")
  )
  drawn = folder / "wide.png"
  Image.fromarray(np.zeros((200, 1500, 3), np.uint8)).save(drawn)
  hit = Hit("clip", 0.5, True, np.zeros((64, 64, 3), np.uint8))
  return write_page(
    folder / "index.html",
    runs,
    title="Runs",
    sections=[
      Section("Trajectories", [Picture("wide.png", "c", drawn.read_bytes())])
    ],
    queries=[Query("ours-seed0", "static", "a red ball", 1, 9, (hit,) * 5)],
  )


@pytest.fixture(scope="module")
def browser():
  api = pytest.importorskip("playwright.sync_api")
  with api.sync_playwright() as player:
    started = player.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
    yield started
    started.close()


@pytest.fixture(params=WIDTHS)
def page(request, browser, page_file):
  """The page as opened at a width, and what the browser complained of."""
  opened = browser.new_page(viewport=dict(width=request.param, height=900))
  opened.set_default_timeout(10_000)
  opened.said, opened.asked = [], []
  opened.on("console", lambda message: opened.said.append(message.text))
  opened.on("pageerror", lambda error: opened.said.append(str(error)))
  opened.on("request", lambda request: opened.asked.append(request.url))
  opened.goto(page_file.as_uri())
  yield opened
  assert opened.said == []
  fetched = [url for url in opened.asked if not url.startswith("data:")]
  assert fetched == [page_file.as_uri()]
  opened.close()


def test_everything_is_seen_and_the_page_is_no_wider_than_the_screen(page):
  assert page.evaluate(UNSEEN) == []
  assert page.evaluate(OVERFLOW) <= 0
  assert page.evaluate(LETTERS) >= 9
  assert page.locator(".panel svg").count() >= 8
  assert page.locator("figure img").count() == 1
  assert page.locator(".hits img").count() == 5


def test_a_table_sorts_by_click_and_by_key(page):
  table = page.locator("table.sortable").first
  head = table.locator("th", has_text="static, middle t2v R@5")
  names = table.locator("tbody th")
  head.locator("button").click()
  assert head.get_attribute("aria-sort") == "descending"
  first = ["ours", "patches", "random", "elsewhere"]
  assert names.all_inner_texts() == first
  head.locator("button").press("Enter")
  assert head.get_attribute("aria-sort") == "ascending"
  # Rows without a value stay below.
  assert names.all_inner_texts() == ["random", "patches", "ours", "elsewhere"]
  method = table.locator("thead th").first
  method.locator("button").press("Space")
  assert names.all_inner_texts() == sorted(first)
  assert head.get_attribute("aria-sort") == "none"


def test_marks_tell_what_they_are_and_files_can_be_saved(page, page_file):
  mark = page.locator(".mark[data-tip^=patches]").first
  mark.locator(".reach").hover()
  assert page.locator("#tip").inner_text().startswith("patches\nt2v R@5")
  page.keyboard.press("Escape")
  assert page.locator("#tip").is_hidden()
  mark.focus()
  assert page.locator("#tip").is_visible()

  beside = page_file.parent / "index_files"
  for name in ("pareto_GFLOPs_per_clip.csv", "curves.png", "wide.png"):
    with page.expect_download() as saved:
      page.locator(f'a[download="{name}"]').click()
    assert saved.value.suggested_filename == name
    with open(saved.value.path(), "rb") as file:
      assert file.read() == (beside / name).read_bytes()
