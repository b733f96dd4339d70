"""Pictures for the page: who stands beside whom, and who is left out."""

import io

import numpy as np
import pytest
from handmade_runs import make_run
from PIL import Image

from trajvit.report import draw, masks, reconstruct, sections
from trajvit.report.clips import RunClips
from trajvit.types import Batch, Clip

FRAMES, SIDE = 2, 8


def clips(name, kind=RunClips, names=("clip",), **more):
  """What a run shows of one clip that is there in memory."""
  clip = Clip(
    frames=np.zeros((1, FRAMES, SIDE, SIDE, 3), np.uint8),
    times=np.arange(FRAMES, dtype=np.float32)[None],
    tracks=np.zeros((1, FRAMES, 4, 4), np.int32),
  )
  batch = Batch(clip=clip, valid=np.ones(1, bool))
  return kind(name, 7, "objects", names, batch, **more)


@pytest.fixture
def drawn(monkeypatch):
  """Runs a, b and c of which b cannot be drawn and c sees another clip."""

  def group(path, evaluation, count):
    if path.name == "b":
      raise ValueError("b: gives no assignment")
    names = ("another",) if path.name == "c" else ("clip",)
    owner = np.zeros((1, FRAMES, 4, 4), int)
    return clips(path.name, draw.GroupedClips, names, assignment=owner)

  monkeypatch.setattr(draw, "group_clips", group)
  monkeypatch.setattr(masks, "masks_of", lambda path: {})
  return lambda *runs: sections.drawn_sections(list(runs), 1)


def size(picture):
  return Image.open(io.BytesIO(picture.data)).size


def test_runs_that_see_the_same_share_a_picture(drawn):
  runs = [make_run(name, {}) for name in ("a", "aa", "b", "c")]
  (section,) = drawn(*runs)
  assert section.heading == "Trajectories"
  assert section.notes == ["Left out: b: gives no assignment."]
  assert [x.caption for x in section.pictures] == [
    "clip: which token owns what, a, aa",
    "another: which token owns what, c",
  ]
  tall, short = (size(picture)[1] for picture in section.pictures)
  assert tall > short


def test_tracks_that_tokens_are_made_of_are_drawn(drawn, monkeypatch):
  ours = make_run("ours", {}, tokenizer="trajectory_light")
  monkeypatch.setattr(sections, "_as_read", lambda run, n: clips(run.name))
  (section,) = drawn(ours)
  assert section.notes == ["Tokens are the tracks of the data: ours."]
  (picture,) = section.pictures
  assert picture.caption == "clip: which token owns what, ours"
  # Beside a run that groups by itself, the tracks are in its picture.
  (section,) = drawn(ours, make_run("a", {}))
  assert len(section.pictures) == 1 and "owns what, a" in (
    section.pictures[0].caption
  )


def test_equal_masks_are_drawn_once(drawn, monkeypatch):
  halves = {"a": np.eye(2, dtype=bool), "aa": np.eye(2, dtype=bool)}
  found = halves | {"c": np.ones((2, 2), bool)}
  monkeypatch.setattr(masks, "masks_of", lambda path: {"row": found[path.name]})
  section = drawn(*[make_run(name, {}) for name in found])[1]
  assert [x.caption for x in section.pictures] == [
    "a, aa: row, 2 tokens; 50% of pairs meet",
    "c: row, 2 tokens; 100% of pairs meet",
  ]


def test_a_run_with_fewer_budgets_leaves_room(drawn, monkeypatch):
  made = np.ones((1, FRAMES, SIDE, SIDE, 3), np.uint8)
  budgets = {"a": {None: made}, "aa": {1: made, 2: made}}

  def remake(path, evaluation, count):
    tokens = dict.fromkeys(budgets[path.name], 1.0)
    more = dict(made=budgets[path.name], tokens=tokens)
    return clips(path.name, reconstruct.RemadeClips, **more)

  monkeypatch.setattr(reconstruct, "remake_clips", remake)
  evaluator = dict(name="reconstruction")
  runs = [make_run(x, dict(r={}), evaluator=evaluator) for x in budgets]
  section = drawn(*runs)[-1]
  assert section.heading == "Reconstructions"
  still, moving = section.pictures
  assert still.name.endswith(".png") and moving.name.endswith(".gif")
  alone = drawn(runs[0])[-1].pictures[0]
  assert size(still)[0] > size(alone)[0] and size(still)[1] > size(alone)[1]
  with Image.open(io.BytesIO(moving.data)) as animation:
    assert animation.size == size(still)
