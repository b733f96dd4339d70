"""The benchmark of encoders: counts by hand, and rows that say what is left."""

import argparse
import csv
import json
import types

import jax
import jax.numpy as jnp
import pytest

from trajvit import cli
from trajvit.bench import encoder_bench, encoders
from trajvit.bench.encoder_bench import EncoderBench
from trajvit.bench.encoder_cases import ENCODERS_COMPARED, Case, model_spec
from trajvit.bench.encoder_clips import CAPTION_BYTES, known
from trajvit.bench.encoder_programs import EncoderPrograms, TooLong
from trajvit.data import data_shapes
from trajvit.layers.sizes import SIZES, Size

WIDTH, MLP = 16, 32
TINY = Size(width=WIDTH, depth=1, num_heads=2, mlp_dim=MLP)


def by_hand(patches):
  """FLOPs from pixels to embedding, of one block over patches and a class."""
  tokens = patches + 1
  linear = 2 * tokens * WIDTH * (4 * WIDTH + 2 * MLP)
  attention = 2 * 2 * tokens**2 * WIDTH
  return _embed(patches) + linear + attention + 2 * WIDTH * 256


def _embed(patches):
  return 2 * patches * 2 * 16 * 16 * 3 * WIDTH


@pytest.fixture
def bench(monkeypatch, tmp_path):
  """Runs the command on tiny encoders; returns its rows."""
  monkeypatch.setattr(encoders, "SIZES_COMPARED", {"tiny": TINY})

  def run(*options):
    parser = argparse.ArgumentParser()
    encoders.add_arguments(parser)
    command = ["--encoders", "run_length_mean", "--sizes", "tiny"]
    command += ["--frames", "2", "--pixels", "32", "--clips", "2"]
    command += ["--rounds", "1", "--figure", str(tmp_path / "e.png")]
    for option, end in (("out", "json"), ("csv", "csv"), ("markdown", "md")):
      command += [f"--{option}", str(tmp_path / f"docs/e.{end}")]
    assert encoders.run(parser.parse_args([*command, *options])) == 0
    document = json.loads((tmp_path / "docs/e.json").read_text())
    (rows,) = document["sections"].values()
    return rows

  return run


def test_a_run_writes_the_same_numbers_everywhere(bench, tmp_path, capsys):
  rows = bench("--time-limit", "0", "--no-memory")
  whole, runs = rows
  assert [row["encoder"] for row in rows] == ["vit3d", "run_length_mean"]
  # The only layer of tubelets is the first one, of which all patches stay.
  for row in rows:
    assert row["slots"] == row["tokens"] == 4
    assert row["step_gflops"] > 2 * row["gflops"] and row["exact"]
    assert row["notes"]["step"] == "not run, the time limit is 0"
    assert "step_mib" not in row
  assert whole["gflops"] == by_hand(4) / 1e9
  assert whole["tokenizer_gflops"] == _embed(4) / 1e9
  assert runs["gflops_ratio"] == pytest.approx(1)

  page, printed = (tmp_path / "docs/e.md").read_text(), capsys.readouterr().out
  assert "## tiny, 2 frames" in page and "\ntiny, 2 frames\n" in printed
  for row in rows:
    assert f"| {row['encoder']} | 4 | 4 |" in page
  assert "moving sprites of 32 x 32 pixels" in page
  # Columns in which nothing is known are left out.
  assert "GFLOPs" in page.split("How to")[0] and "| step ms" not in page
  with open(tmp_path / "docs/e.csv", newline="") as file:
    header, *lines = csv.reader(file)
  assert header[2:-1] == list(encoders.HEADER)
  assert [line[:3] for line in lines] == [
    ["tiny", "2", "vit3d"],
    ["tiny", "2", "run_length_mean"],
  ]
  # What many have in common is said once.
  left = "not run, the time limit is 0: all"
  assert f"\n- forward {left}\n- step {left}\n" in page
  assert lines[0][-1].startswith("forward not run, the time limit is 0; step")
  assert (tmp_path / "e.png").stat().st_size > 1000


@pytest.mark.slow
def test_programs_are_run_in_turns(bench):
  whole, runs = bench()
  for row in (whole, runs):
    assert row["step_mib"] > row["forward_mib"] > 0
    assert row["forward_ms"] > 0 and row["step_ms"] > 0 and not row["notes"]
  assert runs["forward_ratio"] > 0 and runs["step_ratio"] > 0


def test_an_unknown_encoder_lists_the_known(capsys):
  assert cli.main(["bench", "encoders", "--encoders", "vit4d"]) == 2
  assert "no encoder vit4d to compare; known: vit3d," in capsys.readouterr().err


class Programs:
  """Stands in for EncoderPrograms: costs that the spec tells."""

  ran = []

  def __init__(self, spec, context, batch):
    self.gflops = spec["gflops"]
    if self.gflops is None:
      raise ValueError("no such tokenizer")

  def costs(self):
    told = dict(slots=4, gflops=self.gflops, step_gflops=3 * self.gflops)
    return types.SimpleNamespace(**told)

  def compile(self, name):
    return self.gflops

  def call(self, name, limit):
    def run(batch):
      self.ran.append((self.gflops, name))
      if self.gflops == 5:
        raise TooLong("a run took 99 s")

    return run

  def free(self):
    pass


@pytest.fixture
def rows(monkeypatch):
  """Rows of encoders that cost so many GFLOPs, a second each."""

  def measure(*gflops, **options):
    names = ["vit3d", *"abc"][: len(gflops)]
    Programs.ran.clear()
    monkeypatch.setattr(encoder_bench, "EncoderPrograms", Programs)
    monkeypatch.setattr(
      encoder_bench, "model_spec", lambda case, *_, **__: {"gflops": case.about}
    )

    def alternate(calls, inputs, *, rounds):
      seconds, errors = {}, {}
      for key, call in calls.items():
        try:
          call(*inputs(0))
          seconds[key] = Programs.ran[-1][0] * (3 if key[1] == "step" else 1)
        except TooLong as error:
          errors[key] = f"TooLong: {error}"
      return seconds, errors

    monkeypatch.setattr(encoder_bench.stopwatch, "alternate", alternate)
    clips = types.SimpleNamespace(
      batches=[None], batch_size=1, context=dict(clip_shape=(2, 32, 32))
    )
    bench = EncoderBench(dtype="float32", **options)
    cases = {
      name: Case(about, dict(name="tubelet"))
      for name, about in zip(names, gflops, strict=True)
    }
    return list(bench.rows(cases, {}, TINY, clips))

  return measure


def test_what_would_take_too_long_is_not_run(rows):
  whole, long, longer = rows(1, 2, 4, limit=3.5)
  assert whole["forward_ms"] == 1000 and whole["step_ms"] == 3000
  assert long["forward_ratio"] == 2 and long["step_ratio"] is None
  assert long["notes"] == {"step": "not run, about 6 s expected"}
  assert longer["notes"]["forward"] == "not run, about 4 s expected"
  assert longer["gflops_ratio"] == 4 and longer["step_mib"] == 4
  # The baseline is not run again where there is nothing to compare it with.
  assert Programs.ran.count((1, "forward")) == 2
  assert Programs.ran.count((1, "step")) == 1


def test_nothing_is_run_where_nothing_is_to_be(rows):
  for row in rows(1, 2, limit=0):
    assert set(row["notes"]) == {"forward", "step"}
    assert "step_mib" in row
  assert not Programs.ran
  for row in rows(1, 2, limit=0, memory=False):
    assert "step_mib" not in row


def test_what_fails_has_a_reason_and_the_rest_goes_on(rows):
  whole, failed, slow, fine = rows(1, None, 5, 1)
  assert failed["notes"] == {"failed": "ValueError: no such tokenizer"}
  assert slow["notes"]["forward"] == "TooLong: a run took 99 s"
  assert "forward_ms" not in slow
  assert fine["forward_ratio"] == 1 and not fine["notes"]
  assert not whole["notes"]


def test_what_does_not_fit_into_the_memory_is_not_run(rows):
  whole, large = rows(1, 2, memory_bytes=1.5 * 2**20)
  assert whole["forward_ms"] and "forward_ms" not in large
  assert large["notes"]["forward"] == "not run, needs 0.0 GiB, 0.0 GiB are free"


def test_all_trunks_are_equal():
  for case in ENCODERS_COMPARED.values():
    encoder = model_spec(case, SIZES["S"], (16, 224, 224))["encoder"]
    assert (encoder["width"], encoder["depth"]) == (384, 12)
    assert sum(encoder.get("stages", (12,))) == 12


@pytest.mark.slow
@pytest.mark.parametrize("name", ENCODERS_COMPARED)
def test_every_encoder_is_traced_at_full_size(name):
  frames, size = 16, 224
  context, batch = data_shapes(
    dict(
      batch_size=2,
      clip=dict(frames=frames, size=size, track_grid=56, max_tracks=128),
      text=dict(name="bytes", length=CAPTION_BYTES),
      train=dict(name="moving_sprites"),
    )
  )
  case = known([name])[name]
  slots = 100 if case.mean_slots else None
  spec = model_spec(case, SIZES["S"], (frames, size, size), slots=slots)
  batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
  costs = EncoderPrograms(spec, context, batch).costs()
  assert costs.tokenizer_gflops < costs.gflops < costs.step_gflops
  assert costs.exact
  assert jnp.isfinite(costs.parameters)
