"""The grouping evaluator: what it adds up, leaves out and hides."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from fake_loader import FakeLoader, Info

from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.grouping import Grouping, grouping_metrics
from trajvit.evaluators.region_quality import contour_accuracy
from trajvit.evaluators.tubes import MODES, score

FRAMES, GRID, SLOTS = 3, 6, 4


@dataclasses.dataclass
class TrackInfo(Info):
  dropped_tracks: int = 0


class TrackLoader(FakeLoader):
  """Clips whose pixels hold their number, with tracks; None is missing."""

  def __init__(self, truths, *, batch_size=3, frame_mask=None):
    clips = [
      None if x is None else np.full((FRAMES, GRID, GRID, 3), i, np.uint8)
      for i, x in enumerate(truths)
    ]
    super().__init__(clips, batch_size=batch_size)
    self.truths, self.frame_mask = truths, frame_mask

  def batch(self, rows):
    batch, info = super().batch(rows)
    # Rows without a clip hold what would be perfect, so that a leak shows.
    tracks = np.zeros((len(rows), FRAMES, GRID, GRID), np.int32)
    for row, i in enumerate(rows):
      if batch.valid[row]:
        tracks[row] = self.truths[i]
    mask = self.frame_mask
    if mask is not None:
      mask = np.broadcast_to(mask, tracks.shape[:2])
    clip = dataclasses.replace(batch.clip, tracks=tracks, frame_mask=mask)
    info = TrackInfo(info.names, info.skipped, dropped_tracks=1)
    return dataclasses.replace(batch, clip=clip), info


def predict(variables, batch):
  """Looks the assignment of a clip up by its first pixel."""
  assert batch.clip.tracks is None and batch.text is None
  found = variables["assignment"][batch.clip.frames[:, 0, 0, 0, 0]]
  return {"aux": {"tokenizer": {"assignment": found}}}


def data(seed=0, count=7, missing=(2,), **options):
  """Predictions at half the grid of the truth; clip 4 has no object."""
  rng = np.random.default_rng(seed)
  truths = list(rng.integers(-1, 2, (count, FRAMES, GRID, GRID)))
  truths[0][:] = 1  # one object that is everything
  truths[4][:] = -1
  for i in missing:
    truths[i] = None
  half = (count, FRAMES, GRID // 2, GRID // 2)
  predicted = rng.integers(-1, SLOTS, half).astype(np.int32)
  predicted[0] = 2
  variables = {"assignment": jnp.asarray(predicted)}
  return TrackLoader(truths, **options), variables


def pairs(loader, variables):
  predicted = np.asarray(variables["assignment"])
  there = [i for i, x in enumerate(loader.truths) if x is not None]
  return [(predicted[i], loader.truths[i]) for i in there]


def test_adds_up_what_the_clips_score():
  loader, variables = data()
  got = Grouping(loader).run(predict, variables)
  clips = pairs(loader, variables)
  some = [pair for pair in clips if (pair[1] >= 0).any()]
  assert (len(clips), len(some)) == (6, 5)
  for mode in MODES:
    counted = clips if mode == "trajtok_compat" else some
    found = [score(*pair, mode) for pair in counted]
    for name in ("VEQ", "SQ", "RQ", "STQ_EN"):
      expected = np.mean([getattr(x, name.lower()) for x in found])
      assert got[f"{mode}_{name}"] == pytest.approx(expected)
  tokens = [len(set(x.flat) - {-1}) for x, _ in clips]
  assert got["active_tokens_per_clip"] == pytest.approx(np.mean(tokens))
  objects = sum(len(set(truth.flat) - {-1}) for _, truth in clips)
  assert got["n_objects"] == objects
  assert got["objects_per_clip"] == pytest.approx(objects / 6)
  assert got["n_evaluated"] == 6 and got["n_missing"] == 1
  assert got["n_without_objects"] == 1
  assert got["n_dropped_tracks"] == 3  # one a batch
  assert got["J&F"] == pytest.approx((got["J"] + got["F"]) / 2)
  assert 0 < got["coverage"] < 1
  assert all(type(value) is float for value in got.values())
  assert loader.open == 0


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_the_rows_that_fill_a_batch_change_nothing(batch_size):
  loader, variables = data()
  expected = Grouping(loader).run(predict, variables)
  loader, _ = data(batch_size=batch_size)
  got = Grouping(loader).run(predict, variables)
  got["n_dropped_tracks"] = expected["n_dropped_tracks"]
  assert got == expected


def test_score_label_maps_without_a_model():
  loader, variables = data()
  got = Grouping(loader).run(predict, variables)
  del got["n_missing"], got["n_dropped_tracks"]
  assert got == grouping_metrics(iter(pairs(loader, variables)))


def test_the_truth_itself_is_perfect():
  loader, _ = data(missing=())
  got = grouping_metrics([(x, x) for x in loader.truths])
  for name in ("VEQ", "STQ_EN"):
    assert got[f"standard_{name}"] == 1.0
    assert got[f"trajtok_compat_{name}"] < 1.0
  assert got["J"] == got["F"] == got["coverage"] == 1.0


def test_coverage_and_contours_of_one_clip():
  """Object 0 is found but for a column; object 1 has no tube left."""
  truth = np.full((1, 4, 8), -1)
  truth[:, :, :4], truth[:, :2, 6:] = 0, 1
  predicted = np.where(truth == 0, 7, -1)
  predicted[:, :, 3] = -1
  got = grouping_metrics([(predicted, truth)])
  assert got["coverage"] == pytest.approx(12 / 20)
  assert got["J"] == pytest.approx((0.75 + 0) / 2)
  near = contour_accuracy(predicted == 7, truth == 0)[0]
  assert got["F"] == pytest.approx((near + 0) / 2)
  assert got["active_tokens_per_clip"] == 1.0
  less = grouping_metrics([(predicted, truth)], modes=("standard",))
  assert less.items() <= got.items()
  assert "standard_VEQ" in less and "trajtok_compat_VEQ" not in less


def test_padding_frames_take_no_part():
  mask = np.array([True, True, False])
  loader, variables = data(frame_mask=mask)
  got = Grouping(loader).run(predict, variables)
  again, spoilt = data(frame_mask=mask)
  for truth in again.truths:
    if truth is not None:
      truth[2] = 3
  spoilt["assignment"] = spoilt["assignment"].at[:, 2].set(-1)
  assert Grouping(again).run(predict, spoilt) == got


def test_predict_is_compiled_once():
  loader, variables = data()
  traced = []

  def counted(variables, batch):
    traced.append(1)
    return predict(variables, batch)

  for _ in range(2):
    Grouping(loader).run(counted, variables)
  assert len(traced) == 1


def test_says_what_is_missing():
  loader, variables = data()
  with pytest.raises(ValueError, match="this one gives logits"):
    Grouping(loader).run(
      lambda v, b: {"aux": {"tokenizer": {"logits": b.clip.frames}}}, variables
    )
  assert loader.open == 0
  short = {"assignment": variables["assignment"][:, :2]}
  with pytest.raises(ValueError, match=r"B, T = \(3, 3\), got \(3, 2, 3, 3\)"):
    Grouping(loader).run(predict, short)
  plain = FakeLoader(loader.clips)
  plain.batch = lambda rows: (
    FakeLoader.batch(plain, rows)[0],
    TrackInfo((), ()),
  )
  with pytest.raises(ValueError, match="clips with tracks, got none"):
    Grouping(plain).run(predict, variables)
  with pytest.raises(ValueError, match="2 clips have none"):
    grouping_metrics([(np.zeros((1, 2, 2), int), np.full((1, 2, 2), -1))] * 2)
  with pytest.raises(ValueError, match="modes must be of standard"):
    Grouping(loader, modes=("standard", "panoptic"))
  with pytest.raises(ValueError, match="got 'standard'"):
    Grouping(loader, modes="standard")


def test_is_in_the_table():
  loader, _ = data()
  spec = dict(name="grouping", modes=["standard"])
  built = EVALUATORS.build(spec, loader=loader)
  assert (built.loader, built.modes) == (loader, ("standard",))
