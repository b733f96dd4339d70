"""Clips damaged in ten ways: none stops a run, each is told of once."""

import collections
import json
import os
import shutil

import jax.numpy as jnp
import numpy as np
import pytest
from damage import FRAMES, SIZE, WAYS, copy_clip, write_clip

from trajvit import cli
from trajvit.data import BrokenClip, build_loader
from trajvit.data.manifest import read_manifest
from trajvit.data.tracks import sidecar_paths
from trajvit.evaluators import EVALUATORS

DISTINCT = 20  # good clips that are not copies of others


def make_folder(folder, clips, per_way):
  """Writes `clips` clips, the damaged ones spread evenly among them.

  Returns:
    The manifest, and {path: way} of the damaged clips.
  """
  store = folder / "store"
  store.mkdir()
  for seed in range(DISTINCT):
    write_clip(store / f"{seed}.mp4", seed)
  bad = np.linspace(0, clips - 1, per_way * len(WAYS)).astype(int).tolist()
  damaged, records = {}, []
  for i in range(clips):
    path, good = folder / f"{i:04d}.mp4", store / f"{i % DISTINCT}.mp4"
    if i in bad:
      way = list(WAYS)[bad.index(i) % len(WAYS)]
      copy_clip(good, path)
      way(path)
      damaged[str(path)] = way
    else:
      for old, new in zip(
        (good, *sidecar_paths(good)), (path, *sidecar_paths(path)), strict=True
      ):
        os.link(old, new)
    records.append({"video": path.name, "caption": f"clip {i}", "label": i % 3})
  manifest = folder / "clips.json"
  manifest.write_text(json.dumps(records))
  assert len(damaged) == len(bad) == per_way * len(WAYS)
  return str(manifest), damaged


@pytest.fixture(
  scope="module",
  params=[(60, 1), pytest.param((1000, 5), marks=pytest.mark.slow)],
  ids=["60", "1000"],
)
def clips(request, tmp_path_factory):
  """Number of clips, the manifest, and the damaged ones."""
  folder = tmp_path_factory.mktemp("damaged")
  count, per_way = request.param
  yield count, *make_folder(folder, count, per_way)
  shutil.rmtree(folder)


def loader_of(manifest, **options):
  data = {
    "batch_size": 8,
    "clip": dict(frames=8, size=32, track_grid=8, max_tracks=6),
    "text": {"name": "bytes", "length": 12},
    "loader": {"failure_budget": 0.1, **options},
  }
  return build_loader(data, {"manifest": manifest, "tracks": "sidecar"}, seed=3)


def test_every_way_is_a_broken_clip_with_its_reason(clips):
  _, manifest, damaged = clips
  source = loader_of(manifest).source
  index = {record.path: i for i, record in enumerate(source.records)}
  for path, way in damaged.items():
    with pytest.raises(BrokenClip) as caught:
      source.example(index[path], None)
    assert caught.value.name == path
    assert WAYS[way] in caught.value.reason, way.__name__


def test_training_goes_on_and_names_each_once(clips, caplog):
  count, manifest, damaged = clips
  loader = loader_of(manifest)
  read = collections.Counter()
  with caplog.at_level("WARNING", logger="absl"), loader.train() as batches:
    for _ in range(-(-2 * count // 8)):  # every clip at least twice
      batch, info = next(batches)
      assert batch.clip.frames.any((1, 2, 3, 4)).all()
      read.update(info.names)
  files = loader.failures.files
  assert set(files) == set(damaged) and min(files.values()) >= 2
  assert set(read) == {r.path for r in loader.source.records} - set(damaged)
  assert loader.failures.attempts == read.total() + files.total()
  said = collections.Counter(
    record.getMessage().split(": ")[0].removeprefix("skipped ")
    for record in caplog.records
    if record.getMessage().startswith("skipped ")
  )
  assert said == dict.fromkeys(damaged, 1)


def test_an_evaluation_counts_what_it_could_read(clips):
  count, manifest, damaged = clips
  loader = loader_of(manifest)
  valid, skipped = [], []
  for batch, info in loader.evaluate():
    valid += [
      name for name, real in zip(info.names, batch.valid, strict=True) if real
    ]
    assert not batch.clip.frames[~batch.valid].any()
    skipped += info.skipped
  records = [record.path for record in loader.source.records]
  assert valid == [path for path in records if path not in damaged]
  assert [name for name, _ in skipped] == list(damaged)

  evaluator = EVALUATORS.build({"name": "classification"}, loader=loader)

  def predict(variables, batch):
    """Finds the class of every second class, whatever the clip shows."""
    chosen = jnp.where(batch.label == 2, 0, batch.label)
    return {"logits": jnp.eye(8)[chosen] + variables["bias"]}

  metrics = evaluator.run(predict, {"bias": jnp.zeros(())})
  assert metrics["n_evaluated"] == count - len(damaged)
  assert metrics["n_missing"] == len(damaged)
  right = [r for r in loader.source.records if r.label != 2]
  right = [r for r in right if r.path not in damaged]
  assert metrics["top1"] == pytest.approx(
    100 * len(right) / (count - len(damaged))
  )


def test_check_lists_the_same_files(clips, tmp_path, capsys):
  count, manifest, damaged = clips
  out = tmp_path / "checked"
  # Two processes where there are clips for both.
  command = ["data", "check", manifest, "--out", str(out), "--frames", "8"]
  assert cli.main([*command, "--processes", "2"]) == 1
  printed = capsys.readouterr().out
  assert f"clips      {count} of {count} files\n" in printed
  assert f"ok         {count - len(damaged)}\n" in printed
  assert f"broken     {len(damaged)}\n" in printed
  lines = (out / "bad.txt").read_text().splitlines()
  listed = dict(line.split("\t") for line in lines)
  assert len(lines) == len(listed) and list(listed) == list(damaged)
  for path, way in damaged.items():
    assert WAYS[way] in listed[path]

  whole = read_manifest(manifest)
  root = os.path.dirname(manifest)
  good = read_manifest(out / "good.json", root)
  assert good == [r for r in whole if r.path not in damaged]
  rows = [
    row.split(",")
    for row in (out / "histograms.csv").read_text().splitlines()[1:]
  ]
  totals = collections.Counter()
  for name, _, _, _, clips_in_bin in rows:
    totals[name] += int(clips_in_bin)
  assert set(totals.values()) == {count - len(damaged)}
  assert len(totals) == 5
  sizes = {(row[0], float(row[2])) for row in rows if int(row[4])}
  assert {("frames", FRAMES), ("short side", SIZE), ("frame rate", 8)} <= sizes
