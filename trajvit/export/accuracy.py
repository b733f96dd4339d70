"""What an export lost when it was quantised, in cosines and in evaluations."""

import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from flax import nnx

from trajvit.data import build_loader
from trajvit.data.failures import TooManyBrokenClips
from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.embed import embed
from trajvit.evaluators.features import Features
from trajvit.export.encoder import Encoder
from trajvit.export.load import load
from trajvit.export.parity import random_inputs
from trajvit.export.predict import as_predict
from trajvit.export.programs import flat_weights, model_programs
from trajvit.training.config import RunConfig
from trajvit.training.evaluation import Evaluation, evaluate_all
from trajvit.training.feature_network import load_features
from trajvit.training.metrics_log import reproducible
from trajvit.training.restore import RestoredRun

RANDOM = 16  # clips of noise, and captions
# The smallest cosine allowed between an embedding before and after. Eight bits
# come to 0.9999, four to 0.98, and wrong scales to less; see docs/export.md.
LIMIT = 0.99
# What an export can be asked for, of what evaluators want.
GIVEN = {"video", "text"}


def check_accuracy(
  path: str | Path,
  run: RestoredRun,
  targets: Sequence[str],
  *,
  evaluate: bool,
  limit: float = LIMIT,
) -> dict[str, dict]:
  """Compares a quantised export, read from its files, with the trained model.

  Args:
    path: directory of the export.
    run: the model, not quantised.
    targets: of the export.
    evaluate: whether to run the evaluations of the run besides.
    limit: smallest cosine allowed. Tokens are compared and not judged: one that
      is left out changes the place of all that follow.

  Returns:
    Of each target `limit`; `random`, by program {"mean", "worst", "count"}, the
    cosines of what the two make of noise; and with `evaluate` also `evaluated`,
    the same of the embeddings of the clips and captions that were evaluated;
    `evaluations`, by metric {"before", "after"}; and `not_evaluated`, by
    evaluation the reason.

  Raises:
    ValueError: a cosine is below the limit, or not a number.
  """
  encoders = {target: load(path, target) for target in targets}
  before = _whole(run, encoders[targets[0]])
  if evaluate:
    evaluations, reasons = evaluations_of(run.config)
    try:
      expected = _evaluate(evaluations, before)
    except TooManyBrokenClips as error:
      why = f"the clips of the run cannot be read: {error}"
      reasons |= dict.fromkeys((x.key for x in evaluations), why)
      evaluations, expected = [], ({}, [])
  reports = {}
  for target, after in encoders.items():
    report = {"limit": limit, "random": _on_noise(before, after, target)}
    if evaluate:
      report |= _compared(expected, _evaluate(evaluations, after))
      report["not_evaluated"] = reasons
    _judge(report, target)
    reports[target] = report
  return reports


def cosines(before, after) -> np.ndarray:
  """Returns the cosine of each clip's output before and after, [B] float64.

  Args:
    before: [B, E]; or features [B, N, D] with a mask [B, N], as attributes or
      in a dict, where those of a clip are one long vector.
    after: likewise.
  """
  a, b = (_vectors(jax.device_get(x)) for x in (before, after))
  norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
  same = (a == b).all(-1)  # as of a clip without tokens, which has no norm
  with np.errstate(invalid="ignore"):
    return np.where(same, 1.0, (a * b).sum(-1) / np.where(same, 1.0, norms))


def _vectors(output) -> np.ndarray:
  if isinstance(output, np.ndarray):
    return output.astype(np.float64)
  if not isinstance(output, dict):
    output = {"features": output.features, "mask": output.mask}
  kept = np.where(output["mask"][..., None], output["features"], 0)
  return kept.reshape(len(kept), -1).astype(np.float64)


def _summary(before, after) -> dict:
  found = cosines(before, after)
  return {
    "mean": float(found.mean()),
    "worst": float(found.min()),
    "count": len(found),
  }


def _whole(run: RestoredRun, like: Encoder) -> Encoder:
  """The encoder of a run, of the clips that `like` reads."""
  model = nnx.eval_shape(run.build)
  programs = model_programs(model, like.preprocessing)
  calls = {name: jax.jit(program.call) for name, program in programs.items()}
  weights = flat_weights(run.variables)
  return Encoder(like.config, like.preprocessing, weights, calls)


def _on_noise(before: Encoder, after: Encoder, target: str) -> dict:
  clip, text = random_inputs(RANDOM, after.preprocessing)
  found = {}
  for name in after.config["programs"][target]:
    if name == "encode_text":
      inputs = text.ids, text.mask
    else:
      inputs = clip.frames, clip.tracks
    found[name] = _summary(
      *(getattr(encoder, name)(*inputs) for encoder in (before, after))
    )
  return found


def evaluations_of(config: RunConfig) -> tuple[list[Evaluation], dict]:
  """Returns the evaluations that an export can stand, and why not the others.

  Args:
    config: of the run.

  Returns:
    Those whose data is there and that ask for embeddings alone; and of each
    other one the reason.
  """
  built, reasons = [], {}
  load_split = functools.partial(build_loader, config.data, seed=config.seed)
  for key, setting in config.evals.items():
    try:
      loader = load_split(setting.data)
      evaluator = EVALUATORS.build(
        setting.spec,
        loader=loader,
        build_loader=load_split,
        load_features=load_features,
      )
    except (ImportError, OSError, ValueError) as error:
      reasons[key] = f"its data cannot be read: {error}"
      continue
    wanted = set(getattr(evaluator, "wanted", ()))
    if wanted and wanted <= GIVEN:
      built.append(Evaluation(key, config, loader, evaluator))
    else:
      others = ", ".join(sorted(wanted - GIVEN)) or "the model itself"
      reasons[key] = f"it needs {others}, and an export gives embeddings"
  return built, reasons


def _evaluate(evaluations, encoder) -> tuple[dict, list[Features]]:
  """Metrics of an encoder, and the Features of each pass over clips."""
  passes = []

  def recorded(*args):
    passes.append(embed(*args))
    return passes[-1]

  predict, variables = as_predict(encoder)
  metrics = evaluate_all(
    evaluations,
    predict,
    variables,
    step=encoder.config["step"],
    directory=None,
    embed=recorded,
  )
  return reproducible(metrics), passes


def _compared(before, after) -> dict:
  """What `_evaluate` gave of two encoders, side by side."""
  (metrics, passes), (others, other_passes) = before, after
  embeddings = {}
  for a, b in zip(passes, other_passes, strict=True):
    for name, output in a.outputs.items():
      embeddings.setdefault(name, []).append((output, b.outputs[name]))
  return {
    "evaluated": {
      name: _summary(*map(np.concatenate, zip(*pairs, strict=True)))
      for name, pairs in embeddings.items()
    },
    "evaluations": {
      name: {"before": value, "after": others[name]}
      for name, value in metrics.items()
    },
  }


def _judge(report, target) -> None:
  """Raises ValueError unless all is a number and embeddings are near."""
  found = {**report["random"], **report.get("evaluated", {})}
  for name, cosine in found.items():
    allowed = -np.inf if name == "tokenize" else report["limit"]
    if not cosine["worst"] >= allowed:  # a NaN is not
      raise ValueError(
        f"the quantized export is too far from the model: {target}, {name}, "
        f"cosine {cosine['worst']:.4f} where {report['limit']} is asked for"
      )
