r"""Evaluates a checkpoint, an export, or features that were kept.

  python eval.py --checkpoint=W              # a run, or one of its checkpoints
  python eval.py --checkpoint=W --step=best --evals=retrieval --out=elsewhere
  python eval.py --checkpoint=W --config=configs/protocols.py:names=msrvtt_1k_a
  python eval.py --checkpoint=W --features=F   # keeps them in F, or takes them
  python eval.py --export=E --out=elsewhere
  python eval.py --features=F --out=elsewhere   # no model at hand

Evaluations of the same clips share one pass over them. Writes
<out>/<name>.json, metrics, manifest and missing files, and prints one line of
JSON.
"""

import dataclasses
import functools
import json
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

import trajvit
from trajvit.data import build_loader
from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.embed import embed
from trajvit.evaluators.feature_files import FeatureFiles
from trajvit.export.predict import as_predict
from trajvit.models.feature_net import weight_hash
from trajvit.training.config import (
  MeshConfig,
  RunConfig,
  plain_values,
  read_config,
  read_evals,
)
from trajvit.training.evaluation import Evaluation, evaluate_all
from trajvit.training.feature_network import load_features
from trajvit.training.provenance import write_json
from trajvit.training.restore import restore_run
from trajvit.training.runtime import keep_compiled_programs
from trajvit.training.sharding import build_mesh, make_predict

CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config with other evals, or of a whole run."
)
CHECKPOINT = flags.DEFINE_string(
  "checkpoint", None, "Directory of a run, or of one of its checkpoints."
)
flags.DEFINE_alias("workdir", "checkpoint")
STEP = flags.DEFINE_string("step", None, 'A number, "best", or the newest.')
ALLOW_MISSING = flags.DEFINE_bool(
  "allow_missing", False, "Arrays that the checkpoint lacks are not trained."
)
EXPORT = flags.DEFINE_string("export", None, "Directory of an export.")
FEATURES = flags.DEFINE_string("features", None, "Folder that keeps features.")
EVALS = flags.DEFINE_list("evals", None, "Which evaluations; default: all.")
OUT = flags.DEFINE_string("out", None, "Where to write; default: RUN/eval.")


@dataclasses.dataclass(frozen=True)
class Evaluated:
  """What is evaluated: `predict` is None where there are features alone."""

  config: RunConfig | None = None
  predict: Callable | None = None
  variables: dict | None = None
  step: int = 0
  identity: dict | None = None
  out: Path | None = None


def main(argv):
  """Runs the evaluations of the command line."""
  del argv
  logging.set_verbosity(logging.WARNING)
  evaluated = _evaluated()
  config = _config(evaluated.config)
  out = OUT.value or evaluated.out
  if out is None:
    raise ValueError("--out is needed: without a run there is no place for it")
  keep_compiled_programs(config.compilation_cache)
  chosen = EVALS.value or list(config.evals)
  unknown = sorted(set(chosen) - set(config.evals))
  if unknown or not chosen:
    raise ValueError(
      f"no such evaluation in the config: {', '.join(unknown) or 'none'}; "
      f"known: {', '.join(config.evals) or 'none'}"
    )

  evaluations = []
  eval_loader = functools.partial(build_loader, config.data, seed=config.seed)
  for key in chosen:
    setting = config.evals[key]
    loader = eval_loader(setting.data)
    evaluator = EVALUATORS.build(
      setting.spec,
      loader=loader,
      build_loader=eval_loader,
      load_features=load_features,
    )
    if evaluated.predict is None and not hasattr(evaluator, "wanted"):
      raise ValueError(f"{key} reads no features: it needs a model")
    evaluations.append(Evaluation(key, config, loader, evaluator))
  kept = FEATURES.value and FeatureFiles(FEATURES.value, evaluated.identity)
  if kept and evaluated.config:
    write_json(_kept_config(), plain_values(evaluated.config))
  results = evaluate_all(
    evaluations,
    evaluated.predict,
    evaluated.variables,
    step=evaluated.step,
    directory=out,
    embed=kept or embed,
  )
  print(json.dumps({"step": evaluated.step, **results}))


def _config(own: RunConfig | None) -> RunConfig:
  """The config of what is evaluated, with the evaluations that are asked for.

  One that has nothing but `evals`, as those of configs/protocols.py, leaves all
  else as it was trained.
  """
  values = CONFIG.value.to_dict() if CONFIG.value else None
  if values and set(values) != {"evals"}:
    return read_config(values)
  if own is None:
    if not _kept_config().exists():
      raise ValueError(f"there is no {_kept_config()}: --config is needed")
    own = read_config(json.loads(_kept_config().read_text(encoding="utf-8")))
  if values:
    own = dataclasses.replace(own, evals=read_evals(values["evals"]))
  return own


def _kept_config() -> Path:
  """The config of the model whose features are kept."""
  return Path(FEATURES.value) / "config.json"


def _evaluated() -> Evaluated:
  """What the command line names.

  Raises:
    ValueError: a checkpoint and an export, or nothing at all.
  """
  if bool(CHECKPOINT.value) and bool(EXPORT.value):
    raise ValueError("expected --checkpoint or --export, got both")
  if CHECKPOINT.value:
    return _checkpoint(Path(CHECKPOINT.value))
  if EXPORT.value:
    return _export(EXPORT.value)
  if FEATURES.value:
    return Evaluated()
  raise ValueError("expected --checkpoint, --export or --features, got none")


def _checkpoint(path: Path) -> Evaluated:
  step = STEP.value
  if path.parent.name == "checkpoints" and path.name.isdecimal():
    path, step = path.parent.parent, path.name
  if step is not None and step != "best":
    step = int(step)
  run = restore_run(path, step=step, allow_missing=ALLOW_MISSING.value)
  weights = weight_hash(run.variables["params"])
  return Evaluated(
    config=run.config,
    predict=make_predict(run.apply, build_mesh(MeshConfig())),
    variables=run.variables,
    step=run.step,
    identity={"step": run.step, "weights": weights},
    out=path / "eval",
  )


def _export(path: str) -> Evaluated:
  encoder = trajvit.load(path)
  predict, variables = as_predict(encoder)
  step = encoder.config["step"]
  return Evaluated(
    config=read_config(encoder.config["training"]),
    predict=predict,
    variables=variables,
    step=step,
    identity={"step": step, "weights": weight_hash(variables)},
  )


if __name__ == "__main__":
  app.run(main)
