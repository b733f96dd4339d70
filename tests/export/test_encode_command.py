"""`trajvit encode`: every clip once, whatever stops it and whoever shares."""

import json

import numpy as np
import pytest
from tiny_runs import exported_run

import trajvit
from trajvit import cli
from trajvit.data.decode import write_video
from trajvit.data.tracks import sidecar_paths, write_sidecars
from trajvit.export.feature_shards import SHARD_FORMATS

CLIPS = 7


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory):
  """A manifest of seven clips with tracks, of which the third is empty."""
  path = tmp_path_factory.mktemp("videos")
  rng = np.random.default_rng(0)
  for i in range(CLIPS):
    frames = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    write_video(path / f"{i}.mp4", frames, 8)
    labels = np.broadcast_to(np.arange(32) // 16, (8, 32, 32)).astype(np.int32)
    write_sidecars(*sidecar_paths(path / f"{i}.mp4"), labels)
  (path / "2.mp4").write_bytes(b"")
  rows = [{"video": f"{i}.mp4", "label": i % 3} for i in range(CLIPS)]
  (path / "clips.json").write_text(json.dumps(rows))
  return path


def encode(folder, out, *words):
  encoder = exported_run() / "export"
  arguments = [
    *("encode", folder / "clips.json", out, "--encoder", encoder),
    *("--clips-per-shard", 3, "--batch-size", 2, *words),
  ]
  return cli.main(list(map(str, arguments)))


def rows(out, kind):
  _, read = SHARD_FORMATS[kind]
  shards = [read(path) for path in sorted(out.glob(f"features-*.{kind}"))]
  return {
    name: np.concatenate([shard[name] for shard in shards])
    for name in shards[0]
  }


@pytest.mark.parametrize("kind", SHARD_FORMATS)
def test_every_clip_that_can_be_read_is_there(folder, tmp_path, capsys, kind):
  assert encode(folder, tmp_path, "--format", kind) == 1
  said = capsys.readouterr().out
  assert "6 clips in 3 shards, 1 missing" in said and "2.mp4: the file" in said
  found = rows(tmp_path, kind)
  there = [i for i in range(CLIPS) if i != 2]
  assert found["name"].tolist() == [str(folder / f"{i}.mp4") for i in there]
  assert found["label"].tolist() == [i % 3 for i in there]
  assert found["clip_id"].tolist() == there
  assert found["embedding"].dtype == np.float32
  encoder = trajvit.load(exported_run() / "export")
  tracks = np.broadcast_to(np.arange(32) // 16, (4, 32, 32)).astype(np.int32)
  expected = encoder.encode(folder / "5.mp4", tracks)
  np.testing.assert_allclose(found["embedding"][4], expected, atol=1e-5)
  index = json.loads((tmp_path / "index.json").read_text())
  assert index["clips"] == 6 and len(index["shards"]) == 3


def test_processes_share_it_and_what_is_whole_stays(folder, tmp_path):
  whole, shared = tmp_path / "whole", tmp_path / "shared"
  encode(folder, whole)
  for i in (1, 0):
    words = ("--process-index", i, "--process-count", 2)
    encode(folder, shared, *words)
    assert (shared / "index.json").exists() == (i == 0)
  for path in sorted(whole.iterdir()):
    if path.suffix == ".npz":
      one, two = np.load(path), np.load(shared / path.name)
      for name in one.files:
        np.testing.assert_array_equal(one[name], two[name])
  paths = sorted(shared.glob("*.npz"))
  times = [path.stat().st_mtime_ns for path in paths]
  paths[1].write_bytes(paths[1].read_bytes()[:-1])  # half a file
  encode(folder, shared)
  again = [path.stat().st_mtime_ns for path in paths]
  assert (again[0], again[2]) == (times[0], times[2]) and again[1] > times[1]


def test_a_folder_of_other_embeddings_is_refused(folder, tmp_path, capsys):
  encode(folder, tmp_path)
  assert encode(folder, tmp_path, "--format", "parquet") == 2
  assert "format was 'npz' and is 'parquet'" in capsys.readouterr().err
  assert encode(folder, tmp_path, "--process-index", 3) == 2
  assert "process_index must be in [0, 1)" in capsys.readouterr().err
