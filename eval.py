r"""Evaluates a checkpoint as its config says, or otherwise where told to.

  python eval.py --workdir=W
  python eval.py --workdir=W --step=best --evals=retrieval --out=elsewhere
  python eval.py --workdir=W --config=configs/other.py  # its `evals` and `data`

Writes <out>/<name>.json, metrics and manifest, and prints one line of JSON.
"""

import json
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from trajvit.data import build_loader
from trajvit.evaluators import EVALUATORS
from trajvit.training.config import MeshConfig, read_config
from trajvit.training.evaluation import Evaluation
from trajvit.training.feature_network import load_features
from trajvit.training.restore import restore_run
from trajvit.training.runtime import keep_compiled_programs
from trajvit.training.sharding import build_mesh, make_predict

CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Config to take evals and data from; default: the run's own."
)
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
STEP = flags.DEFINE_string("step", None, 'A number, "best", or the newest.')
EVALS = flags.DEFINE_list("evals", None, "Which evaluations; default: all.")
OUT = flags.DEFINE_string("out", None, "Where to write; default: WORKDIR/eval.")


def main(argv):
  """Runs the evaluations of the command line."""
  del argv
  logging.set_verbosity(logging.WARNING)
  step = STEP.value
  if step is not None and step != "best":
    step = int(step)
  run = restore_run(WORKDIR.value, step=step)
  config = read_config(CONFIG.value.to_dict()) if CONFIG.value else run.config
  keep_compiled_programs(config.compilation_cache)
  chosen = EVALS.value or list(config.evals)
  unknown = sorted(set(chosen) - set(config.evals))
  if unknown or not chosen:
    raise ValueError(
      f"no such evaluation in the config: {', '.join(unknown) or 'none'}; "
      f"known: {', '.join(config.evals) or 'none'}"
    )

  predict = make_predict(run.apply, build_mesh(MeshConfig()))
  results = {}
  for key in chosen:
    setting = config.evals[key]
    loader = build_loader(config.data, setting.data, seed=config.seed)
    evaluator = EVALUATORS.build(
      setting.spec, loader=loader, load_features=load_features
    )
    results |= Evaluation(key, config, loader, evaluator).run(
      predict,
      run.variables,
      step=run.step,
      directory=OUT.value or Path(WORKDIR.value) / "eval",
    )
  print(json.dumps({"step": run.step, **results}))


if __name__ == "__main__":
  flags.mark_flags_as_required(["workdir"])
  app.run(main)
