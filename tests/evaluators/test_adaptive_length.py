"""Clips that stop early, against a loop over clips."""

import numpy as np
import pytest
from fake_loader import FakeLoader

from trajvit.evaluators import EVALUATORS
from trajvit.types import Tokens

SHAPE, BUDGETS = (2, 16, 16, 3), (1, 2, 4)
LEVELS = (100, 120, 140, 160, 180)


def predict(off, batch):
  """Off by a clip's own level over 100, less the more tokens are read."""
  frames = batch.clip.frames.astype(np.float32) / 127.5 - 1
  level = batch.clip.frames.mean((1, 2, 3, 4)) / 100
  error = off * level / batch.budget
  return {
    "frames": frames + error[:, None, None, None, None],
    "target_frames": frames,
    "tokens": Tokens(
      None, np.arange(8)[None] < 2 * batch.budget[:, None], None, None
    ),
  }


@pytest.fixture
def clips():
  """Five gray clips and one that cannot be read, so that a batch is filled."""
  made = [np.full(SHAPE, level, np.uint8) for level in LEVELS]
  return [*made[:4], None, made[4]]


def evaluate(clips, off=0.4, **options):
  spec = dict(name="adaptive_length", budgets=BUDGETS) | options
  loader = FakeLoader(clips, batch_size=4)
  metrics = EVALUATORS.build(spec, loader=loader).run(predict, off)
  assert not loader.open
  return metrics


def by_hand(threshold, off=0.4):
  tokens, psnrs, good = [], [], 0
  for level in LEVELS:
    pixels = np.float32(level / 127.5 - 1)
    for budget in BUDGETS:
      made = pixels + off * level / 100 / budget
      made = np.round(np.clip(made / 2 + 0.5, 0, 1) * 255) / 255
      error = abs(made - level / 255)
      if error < threshold or budget == BUDGETS[-1]:
        break
    good += error < threshold
    tokens.append(2 * budget)
    psnrs.append(-20 * np.log10(error))
  return np.mean(tokens), np.mean(psnrs), 20 * good


def test_each_clip_stops_at_its_own_budget(clips):
  metrics = evaluate(clips, thresholds=(0.16, 0.07))
  for threshold in (0.16, 0.07):
    tokens, psnr, good = by_hand(threshold)
    assert metrics[f"tokens@{threshold}"] == pytest.approx(tokens)
    assert metrics[f"PSNR_dB@{threshold}"] == pytest.approx(psnr, abs=1e-3)
    assert metrics[f"good_%@{threshold}"] == good
  assert metrics["tokens@0.16"] not in (2, 8)
  assert 0 < metrics["good_%@0.07"] < 100
  assert (metrics["n_evaluated"], metrics["n_missing"]) == (5, 1)


def test_what_cannot_be_is_refused(clips):
  with pytest.raises(ValueError, match="budgets must rise, got"):
    evaluate(clips, budgets=(2, 1))
  with pytest.raises(ValueError, match="needs a threshold, got none"):
    evaluate(clips, thresholds=())
  with pytest.raises(ValueError, match="needs a clip"):
    evaluate([])
  with pytest.raises(FloatingPointError, match="not finite"):
    evaluate(clips, off=np.nan)
