"""Logs: exact numbers, and no seam where a run was restarted."""

import json

import numpy as np

from trajvit.training.metrics_log import MetricsLog, read_rows, reproducible


def write(path, start, stop):
  log = MetricsLog(path, step=start)
  rng = np.random.default_rng(0)
  values = rng.normal(size=100).astype(np.float32)
  for step in range(start + 1, stop + 1):
    log.write(step, {"train/loss": values[step], "n": 3})
  log.close()


def test_numbers_read_back_exactly(tmp_path):
  path = tmp_path / "metrics.jsonl"
  value = np.float32(0.1)
  log = MetricsLog(path, step=0)
  log.write(1, {"a": value, "b": np.float32("nan"), "c": 2})
  log.close()
  (row,) = read_rows(path)
  assert np.float32(row["a"]) == value and row["a"] == float(value)
  assert row["b"] is None and row["c"] == 2 and row["step"] == 1


def test_a_restarted_log_equals_an_unbroken_one(tmp_path):
  whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
  write(whole, 0, 20)
  write(broken, 0, 13)
  with open(broken, "a", encoding="utf-8") as file:
    file.write('{"step": 14, "train/lo')  # killed while it wrote
  write(broken, 10, 20)
  assert whole.read_bytes() == broken.read_bytes()


def test_cut_keeps_all_rows_of_the_step_restored(tmp_path):
  path = tmp_path / "metrics.jsonl"
  log = MetricsLog(path, step=0)
  for step, name in [(1, "a"), (2, "a"), (2, "eval"), (3, "a")]:
    log.write(step, {name: 1.0})
  log.close()
  MetricsLog(path, step=2).close()
  assert [row["step"] for row in read_rows(path)] == [1, 2, 2]


def test_other_processes_write_nothing(tmp_path):
  path = tmp_path / "metrics.jsonl"
  log = MetricsLog(path, step=0, write=False)
  log.write(1, {"a": 1.0})
  log.close()
  assert not path.exists()


def test_rows_are_json_that_any_reader_takes(tmp_path):
  path = tmp_path / "metrics.jsonl"
  log = MetricsLog(path, step=0)
  log.write(1, {"a": float("inf")})

  def refuse(name):
    raise AssertionError(name)

  json.loads(path.read_text(), parse_constant=refuse)


def test_times_are_told_by_their_unit():
  clock = {"cost/encode_ms": 1, "cost/clips_per_second_with_decoding": 2}
  kept = {"cost/GFLOPs_per_clip": 3, "cost/tokens_msrvtt": 4}
  assert reproducible(clock | kept) == kept
