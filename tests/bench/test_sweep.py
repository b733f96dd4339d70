import pytest

from trajvit.bench import programs, stopwatch, sweep
from trajvit.bench.cases import random_tiles
from trajvit.bench.roofline import Ceilings

CEILINGS = Ceilings(flops_per_second=1e9, bytes_per_second=1e9, how="")
# The reference takes lists too, and compiles faster than what walks them.
SETTINGS = dict(
  implementations=("reference",),
  dense=("reference",),
  heads=2,
  head_dim=8,
  rounds=1,
)


def tiles(*densities):
  return [
    random_tiles(32, density, block_query=8, block_key=8, seed=0)
    for density in densities
  ]


def test_rows_say_what_is_computed_and_what_it_takes():
  settings = sweep.Settings(batch=3, **SETTINGS)
  dense, sparse = sweep.sweep(32, tiles(0.25), settings, CEILINGS)
  assert dense["mask"] == "dense"
  assert sparse["mask"] == "random tiles 0.25"
  assert sparse["density"] == sparse["token_density"] == 0.25
  assert sparse["tile_efficiency"] == sparse["full_fraction"] == 1
  for step, flops in (("forward", 4), ("both", 14)):
    logits = 3 * 2 * 32 * 32
    assert dense[f"{step}_gflop"] == pytest.approx(flops * logits * 8 / 1e9)
    assert sparse[f"{step}_gflop"] == dense[f"{step}_gflop"] / 4
    for row in (dense, sparse):
      assert row[f"{step}_ms"] > 0
      assert row[f"{step}_mib"] > 0
      assert row[f"{step}_of_roofline"] > 0
  assert sparse["mask_ms"] > 0
  assert not sparse["errors"] and not sparse["skipped"]


def test_forward_only_times_no_gradients():
  settings = sweep.Settings(backward=False, **SETTINGS)
  for row in sweep.sweep(32, tiles(1.0), settings, CEILINGS):
    assert row["forward_ms"] > 0
    assert "both_ms" not in row


def test_what_needs_more_memory_than_there_is_is_not_run():
  settings = sweep.Settings(memory_bytes=0, **SETTINGS)
  for row in sweep.sweep(32, tiles(1.0), settings, CEILINGS):
    assert row["forward_ms"] is None
    assert "GiB are free" in row["skipped"]["both"]
    assert not row["errors"]


def test_an_implementation_that_fails_leaves_the_others_alone(monkeypatch):
  attention = sweep.attention

  def broken(query, *args, implementation, **kwargs):
    if implementation == "broken":
      raise RuntimeError("no such kernel")
    return attention(query, *args, implementation=implementation, **kwargs)

  monkeypatch.setattr(sweep, "attention", broken)
  options = SETTINGS | dict(implementations=("broken", "reference"))
  rows = sweep.sweep(32, tiles(1.0), sweep.Settings(**options), CEILINGS)
  dense, bad, good = rows
  why = "RuntimeError: no such kernel"
  assert bad["errors"] == {"forward": why, "both": why}
  assert bad["both_ms"] is None
  assert "both_speedup" not in bad
  assert dense["both_ms"] > 0
  assert good["both_speedup"] > 0


def test_masks_of_equal_shape_share_a_program(monkeypatch):
  built = []
  build = stopwatch.build

  def counted(*args):
    built.append(args)
    return build(*args)

  monkeypatch.setattr(programs.stopwatch, "build", counted)
  settings = sweep.Settings(**SETTINGS)
  sweep.sweep(32, tiles(0.25, 0.5, 1.0), settings, CEILINGS)
  # Two steps of each implementation; each case builds its own mask.
  assert len(built) == 2 + 2 + 3


def test_gains_are_ratios_to_the_dense_row():
  dense = dict(forward_ms=8.0, both_ms=40.0, both_mib=30.0)
  row = dict(density=0.1, mask_ms=1.0, both_ms=9.0, both_mib=5.0)
  assert sweep.compare(row, dense) == pytest.approx(
    dict(
      both_speedup=40 / 9,
      both_of_ideal=4 / 9,
      both_less_memory=6.0,
      both_mask_share=0.1,
    )
  )


def test_without_dense_attention_there_are_no_gains():
  dense = dict(forward_ms=None)
  row = dict(density=0.1, mask_ms=1.0, forward_ms=3.0)
  assert sweep.compare(row, dense) == {"forward_mask_share": 0.25}
