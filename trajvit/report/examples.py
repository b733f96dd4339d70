"""Retrieval by a run, looked at: a caption and the clips it finds first."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trajvit.data import build_loader
from trajvit.data.overlay import evenly_spaced
from trajvit.evaluators.embed import embed
from trajvit.report.clips import choose_evaluation
from trajvit.training.config import MeshConfig
from trajvit.training.restore import restore_run
from trajvit.training.runtime import keep_compiled_programs
from trajvit.training.sharding import build_mesh, make_predict

EVALUATOR = "retrieval"
TOP = 5


@dataclasses.dataclass(frozen=True)
class Hit:
  """A clip that a caption has found.

  Attributes:
    name: of the clip.
    score: the product of the two embeddings.
    right: whether the caption belongs to it.
    frame: [H, W, 3] uint8, the middle one.
  """

  name: str
  score: float
  right: bool
  frame: np.ndarray


@dataclasses.dataclass(frozen=True)
class Query:
  """A caption, and what a run finds by it.

  Attributes:
    run: name of the run's directory.
    evaluation: key of the evaluation.
    caption: what is asked for.
    rank: of the best right clip, from 1; ties count against it.
    among: how many clips there are.
    hits: the first TOP, best first.
  """

  run: str
  evaluation: str
  caption: str
  rank: int
  among: int
  hits: tuple[Hit, ...]


def find_examples(
  workdir: str | Path, evaluation: str | None, count: int
) -> list[Query]:
  """Returns what a run finds by captions of an evaluation, evenly chosen.

  The newest checkpoint embeds all of its clips. Runs with the same data are
  asked the same captions.

  Args:
    workdir: of the run.
    evaluation: its key in the config; None = the first of retrieval.
    count: how many captions; fewer come where there are fewer.

  Raises:
    FileNotFoundError: no run, or one without a checkpoint.
    ValueError: no such evaluation, `count` below 1, or a model without
      embeddings of clips and captions.
  """
  name = Path(workdir).resolve().name
  if count < 1:
    raise ValueError(f"the number of captions must be at least 1, got {count}")
  try:
    restored = restore_run(workdir)
    config = restored.config
    keep_compiled_programs(config.compilation_cache)
    key = choose_evaluation(config, evaluation, EVALUATOR)
    loader = build_loader(
      dict(config.data, packing=None), config.evals[key].data, seed=config.seed
    )
    predict = make_predict(restored.apply, build_mesh(MeshConfig()))
    features = embed(loader, predict, restored.variables, ("video", "text"))
    videos, texts = features.finite("video"), features.finite("text")
  except ValueError as error:
    raise ValueError(f"{name}: {error}") from error

  found = []
  for row in evenly_spaced(len(texts), count):
    owner = features.caption_clip[row]
    right = features.clip_id == features.clip_id[owner]
    scores = videos @ texts[row]
    places, rank = best(scores, right)
    hits = [
      Hit(
        features.names[i],
        float(scores[i]),
        bool(right[i]),
        _middle_frame(loader.source, int(features.place[i])),
      )
      for i in places
    ]
    source = loader.source.example(int(features.place[owner]), None)
    first = int(np.flatnonzero(features.caption_clip == owner)[0])
    caption = source.captions[row - first]
    found.append(Query(name, key, caption, rank, len(videos), tuple(hits)))
  return found


def best(
  scores: np.ndarray, right: np.ndarray, top: int = TOP
) -> tuple[Sequence[int], int]:
  """Returns the first `top` clips of a ranking, and the rank of the right one.

  Where a right and a wrong clip score the same, the wrong one comes first.

  Args:
    scores: [n] floats.
    right: [n] bool, at least one True.
    top: how many; fewer come where there are fewer.

  Returns:
    Indices, best first, and the rank of the best right clip from 1.
  """
  order = np.lexsort((right, -scores))
  rank = int(np.flatnonzero(right[order])[0]) + 1
  return order[:top].tolist(), rank


def _middle_frame(source, place) -> np.ndarray:
  frames = source.example(place, None).frames
  return np.asarray(frames[len(frames) // 2])
