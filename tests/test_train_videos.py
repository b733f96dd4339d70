"""TrajViT trains on plain video files, three of which are broken."""

import json

import numpy as np
import pytest

import train
from configs import trajvit_clip
from trajvit.data.decode import write_video
from trajvit.data.failures import TooManyBrokenClips
from trajvit.training.metrics_log import read_rows

GOOD, BROKEN = 3, ("text.mp4", "cut.mp4", "empty.mp4")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
  """A square that moves over noise, three times; and three broken files."""
  folder = tmp_path_factory.mktemp("videos")
  rng = np.random.default_rng(0)
  records = []
  for i in range(GOOD):
    frames = np.tile(
      rng.integers(0, 80, (1, 64, 64, 3), np.uint8), (12, 1, 1, 1)
    )
    for t in range(12):
      frames[t, 20:36, 2 * t + 8 * i : 2 * t + 8 * i + 16] = 230, 30 * i, 40
    write_video(folder / f"good{i}.mp4", frames, fps=8)
    records.append(dict(video=f"good{i}.mp4", caption=f"square number {i}"))
  whole = (folder / "good0.mp4").read_bytes()
  (folder / "text.mp4").write_text("this is no video")
  (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
  (folder / "empty.mp4").write_bytes(b"")
  records += [dict(video=name, caption="broken") for name in BROKEN]
  path = folder / "videos.json"
  path.write_text(json.dumps(records))
  return path


def config(manifest, **loader):
  values = trajvit_clip.get_config("steps=4,batch_size=4,frames=4,size=32")
  values.data.train.manifest = str(manifest)
  values.data.clip.max_tracks = 6
  values.data.loader.update(loader)
  values.model.encoder.update(dict(width=16, depth=1, num_heads=2))
  values.model.text.update(dict(variant="Ti", width=16, depth=1, num_heads=2))
  values.model.tokenizer.appearance_depth = 1
  values.model.dtype = "float32"  # bfloat16 is slow on a CPU
  values.log_every = 1
  return values.to_dict()


def test_broken_files_are_counted_named_and_replaced(
  manifest, tmp_path, caplog
):
  with caplog.at_level("WARNING", logger="absl"):
    train.train(config(manifest), str(tmp_path))
  rows = read_rows(tmp_path / "metrics.jsonl")
  assert [row["step"] for row in rows] == [1, 2, 3, 4]
  assert all(np.isfinite(row["train/loss"]) for row in rows)
  assert all(row["train/tokens_per_clip"] >= 2 for row in rows)
  assert rows[-1]["data/skipped_clips"] > 0
  for name in BROKEN:  # named once, with its reason
    said = [r.getMessage() for r in caplog.records if name in r.getMessage()]
    assert len(said) == 1 and said[0].startswith("skipped "), said


def test_past_the_failure_budget_the_run_ends(manifest, tmp_path):
  with pytest.raises(TooManyBrokenClips) as caught:
    train.train(config(manifest, budget_after=8), str(tmp_path))
  message = str(caught.value)
  assert "budget of 10.0%" in message
  assert any(name in message for name in BROKEN)


def test_without_captions_the_loss_says_what_is_missing(tmp_path, manifest):
  records = [dict(video="good0.mp4")] * 4
  path = manifest.with_name("silent.json")
  path.write_text(json.dumps(records))
  with pytest.raises(ValueError, match="needs captions"):
    train.train(config(path), str(tmp_path / "run"))
