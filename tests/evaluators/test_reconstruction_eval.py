"""PSNR, SSIM, bits and the use of codes, against counting by hand."""

import numpy as np
import pytest
from fake_loader import FakeLoader
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from trajvit.evaluators import EVALUATORS
from trajvit.types import Tokens

STEPS, N, SIZES = 2, 4, (5, 3)
SHAPE = (2, 16, 16, 3)


def predict(variables, batch):
  """Frames that are off by more where fewer tokens are read."""
  frames = batch.clip.frames.astype(np.float32) / 127.5 - 1
  batch_size = len(frames)
  kept = np.full(batch_size, N) if batch.budget is None else batch.budget
  mask = np.tile(np.arange(N), STEPS)[None] < kept[:, None]
  indices = np.stack([np.arange(8) % size for size in (4, 2)], -1)
  return {
    "frames": frames + variables / kept[:, None, None, None, None],
    "target_frames": frames,
    "tokens": Tokens(mask * 1.0, mask, None, None),
    "aux": {
      "quantizer": {
        "indices": np.broadcast_to(indices, (batch_size, 8, 2)),
        "sizes": np.array(SIZES),
      }
    },
  }


def make_clips(rng):
  """Six clips, one of which is missing, so that a batch is filled up."""
  clips = list(rng.integers(0, 256, (6, *SHAPE), dtype=np.uint8))
  clips[4] = None
  return clips


def evaluate(clips, variables=0.25, **options):
  loader = FakeLoader(clips, batch_size=4)
  spec = dict(name="reconstruction", **options)
  metrics = EVALUATORS.build(spec, loader=loader).run(predict, variables)
  assert not loader.open
  return metrics


def by_hand(clips, kept):
  psnrs, ssims = [], []
  for clip in clips:
    if clip is None:
      continue
    for frame in clip:
      made = frame / np.float32(127.5) - 1 + np.float32(0.25) / kept
      made = np.round(np.clip(made / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
      psnrs.append(peak_signal_noise_ratio(frame, made))
      ssims.append(
        structural_similarity(
          frame,
          made,
          channel_axis=-1,
          gaussian_weights=True,
          sigma=1.5,
          use_sample_covariance=False,
        )
      )
  return np.mean(psnrs), np.mean(ssims)


def test_it_equals_other_implementations(rng):
  clips = make_clips(rng)
  metrics = evaluate(clips, budgets=(1, 2))
  for at, kept in (("", 4), ("@1", 1), ("@2", 2)):
    psnr, ssim = by_hand(clips, kept)
    assert metrics[f"PSNR_dB{at}"] == pytest.approx(psnr, abs=1e-3)
    assert metrics[f"SSIM{at}"] == pytest.approx(ssim, abs=1e-3)
    assert metrics[f"tokens{at}"] == STEPS * kept
    bits = STEPS * kept * np.log2(15) / (2 * 16 * 16)
    assert metrics[f"bits_per_pixel{at}"] == pytest.approx(bits)
  assert metrics["rising_%"] == 100
  counts = ("n_evaluated", "n_frames", "n_missing")
  assert [metrics[name] for name in counts] == [5, 10, 1]


def test_codes_are_counted_over_all_clips(rng):
  metrics = evaluate(make_clips(rng))
  assert metrics["codebook_usage"] == pytest.approx((4 / 5 + 2 / 3) / 2)
  assert metrics["codebook_entropy_bits"] == pytest.approx(1.5)
  assert "rising_%" not in metrics and "PSNR_dB@1" not in metrics


def test_what_cannot_be_is_named(rng):
  with pytest.raises(ValueError, match="at least 1, got"):
    evaluate(make_clips(rng), budgets=(0, 1))
  with pytest.raises(FloatingPointError, match="from all tokens are not"):
    evaluate(make_clips(rng), variables=np.float32(np.nan))
  loader = FakeLoader(make_clips(rng))
  spec = dict(name="reconstruction")
  with pytest.raises(ValueError, match="makes no frames"):
    EVALUATORS.build(spec, loader=loader).run(lambda v, b: {}, None)
