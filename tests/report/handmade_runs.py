"""Runs with the numbers that a test gives them, made without training."""

import json
from pathlib import Path

from trajvit.report.runs import Run

MANIFEST = dict(
  step=4,
  evaluator=dict(name="retrieval"),
  data=dict(name="moving_sprites", split="static", tracks="exact"),
  data_hash="d",
  tracks_are_ground_truth=True,
  frames=16,
  size=64,
  sampling="middle",
  device="cpu x 1",
  commit="c",
  versions={"jax": "1"},
)


def make_run(name, evals, *, tokenizer="tubelet", reducers=(), **changed):
  """A run whose evaluations have these metrics.

  Args:
    name: of its directory.
    evals: {key: metrics}.
    tokenizer: its name.
    reducers: names of reducers.
    **changed: fields of all manifests.
  """
  model = dict(
    tokenizer=dict(name=tokenizer),
    encoder=dict(reducers=[dict(name=reducer) for reducer in reducers]),
  )
  return Run(
    name=name.split("-seed")[0],
    path=Path(name),
    config=dict(model=model, data=dict(batch_size=2), total_steps=4),
    metrics=[
      {"step": i, "train/loss": 1 / i, "static/t2v_R@5": 10.0 * i}
      for i in range(1, 5)
    ],
    timings=[{"step": 1, "time/step_ms": 500.0}],
    evals={
      key: dict(metrics=metrics, manifest=MANIFEST | changed)
      for key, metrics in evals.items()
    },
  )


def gallery(score, **more):
  """Metrics of retrieval among 100 clips."""
  ranks = {f"{way}_R@{k}": score for way in ("t2v", "v2t") for k in (1, 5)}
  return ranks | dict(n_evaluated=100.0, n_captions=100.0) | more


def cost(tokens, gflops, speed=100.0, memory=50.0):
  """Metrics of a cost evaluation."""
  return dict(
    tokens_per_clip_mean=tokens,
    GFLOPs_per_clip=gflops,
    clips_per_second_model=speed,
    peak_memory_MiB=memory,
    batch_size=8.0,
  )


def write_run(run, path):
  """Writes a run to the directory `path` as training would; returns it."""
  path.mkdir(parents=True)
  (path / "config.json").write_text(json.dumps(run.config))
  for name in ("metrics", "timings"):
    rows = "".join(json.dumps(row) + "\n" for row in getattr(run, name))
    (path / f"{name}.jsonl").write_text(rows)
  (path / "eval").mkdir()
  for key, result in run.evals.items():
    (path / "eval" / f"{key}.json").write_text(json.dumps(result))
  return path
