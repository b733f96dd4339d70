r"""Trains a model: the whole line, from top to bottom.

  python train.py --config=configs/smoke_trajectory.py:steps=30 --workdir=W
  python train.py --config=... --config.optimizer.learning_rate=3e-4 --workdir=W

Started again with the same arguments it goes on from the newest checkpoint, to
the numbers of a run that never stopped. SIGTERM saves and ends it. What the
exit status says is in `trajvit.training.exits`.
"""

import functools
import sys
from pathlib import Path

import jax
import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from trajvit.chips import peak_flops
from trajvit.data import build_loader, data_shapes
from trajvit.evaluators import EVALUATORS
from trajvit.evaluators.embed import embed
from trajvit.plan.model_flops import model_flops
from trajvit.training import provenance
from trajvit.training.build import build_training
from trajvit.training.checkpoint import (
  Checkpoints,
  abstract,
  check_data_record,
)
from trajvit.training.collapse import CollapseAlarm
from trajvit.training.compilations import compilations
from trajvit.training.config import CheckpointConfig, read_config
from trajvit.training.evaluation import Evaluation, evaluate_all
from trajvit.training.exits import FINISHED, STOPPED, exit_by_error
from trajvit.training.feature_network import load_features
from trajvit.training.metrics_log import MetricsLog, reproducible
from trajvit.training.processes import end_all, join_processes
from trajvit.training.profiling import StepTrace
from trajvit.training.progress import Progress
from trajvit.training.runtime import StopRequest, keep_compiled_programs
from trajvit.training.sharding import (
  batch_sharding,
  build_mesh,
  make_predict,
  to_global,
)
from trajvit.training.timing import StepTimer
from trajvit.training.warm_start import warm_start
from trajvit.training.workdir import check_run_config, write_run_config

CONFIG = config_flags.DEFINE_config_file("config", None, "File of the config.")
WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run.")
PROFILE = flags.DEFINE_string("profile", None, "FIRST:LAST, steps to trace.")


def main(argv):
  """Runs the config of the command line; returns the exit status."""
  del argv
  logging.set_verbosity(logging.WARNING)
  with exit_by_error(end_all):
    join_processes()
    finished = train(CONFIG.value.to_dict(), WORKDIR.value, PROFILE.value)
  return FINISHED if finished else STOPPED


def train(raw: dict, workdir: str, profile: str | None = None) -> bool:
  """Trains from plain nested values, from the start or the newest checkpoint.

  Returns whether it came to the end, rather than to a signal.

  Args:
    raw: the config, see `training.config.RunConfig`.
    workdir: the run directory.
    profile: steps to trace into its profile/, see `training.profiling`.

  Raises:
    ValueError: something in the config that nobody reads or cannot be, or a
      directory that holds another run.
    FloatingPointError: a loss or gradient that is not finite.
  """
  # ---------------------------------------------------------------- config
  config = read_config(raw)
  first_process = jax.process_index() == 0
  workdir = Path(workdir).expanduser().resolve()
  check_run_config(workdir, raw)
  keep_compiled_programs(config.compilation_cache)
  compilations()  # counts from here on
  stop_requested = StopRequest()
  trace = StepTrace(profile, workdir / "profile", write=first_process)

  # ------------------------------------------------------------------ data
  mesh = build_mesh(config.mesh)
  loader = build_loader(
    config.data,
    config.data["train"],
    seed=config.seed,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  data_record = {
    "seed": config.seed,
    "batch_size": config.data["batch_size"],
    "fingerprint": loader.fingerprint(),
  }
  evaluations = []
  eval_loader = functools.partial(build_loader, config.data, seed=config.seed)
  for key, setting in config.evals.items():
    clips = eval_loader(setting.data)
    evaluator = EVALUATORS.build(
      setting.spec,
      loader=clips,
      build_loader=eval_loader,
      load_features=load_features,
    )
    evaluations.append(Evaluation(key, config, clips, evaluator))

  # ------------------------------------------------------- model and step
  training = build_training(config, mesh, loader.model_context())
  predict = make_predict(training.apply, mesh)

  # --------------------------------------------------- restore, or start
  checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint)
  start = checkpoints.latest_step() or 0
  if start:
    like = abstract(training.shapes, training.shardings)
    state, saved_record, _ = checkpoints.restore(like, step=start)
    check_data_record(saved_record, data_record)
  else:
    state = training.start()
    for run in config.warm_start:
      state = warm_start(state, run)
  meta = {
    "model_context": loader.model_context(),
    "commit": provenance.commit(),
    "versions": provenance.versions(),
  }
  if first_process:
    write_run_config(workdir, raw)

  # -------------------------------------------------------------- the loop
  metrics_log = MetricsLog(
    workdir / "metrics.jsonl", step=start, write=first_process
  )
  timings_log = MetricsLog(
    workdir / "timings.jsonl", step=start, write=first_process
  )
  progress = Progress(config.total_steps, start)
  peak = peak_flops(device.device_kind for device in jax.devices())
  flops = model_flops(raw, mesh, *data_shapes(config.data)) if peak else 0
  timer = StepTimer(config.data["batch_size"], flops=flops, peak=peak)
  collapsed = CollapseAlarm()
  run_key = jax.random.key(config.seed)
  batches = loader.train(start)
  unread = None  # the newest step, while the device still works on it
  stopping = False

  def read(step, metrics, info):
    """Waits for a step, checks that it is finite, and logs it."""
    metrics = jax.device_get(metrics)
    loss, norm = metrics["train/loss"], metrics["train/grad_norm"]
    if not (np.isfinite(loss) and np.isfinite(norm)):
      # The state has halted: it is still the one from before this step.
      halted = Checkpoints(workdir / "halted", CheckpointConfig(every=1))
      record = {"step": step - 1, **data_record}
      halted.save(step - 1, state, data=record, meta=meta)
      halted.close()
      raise FloatingPointError(
        f"step {step}: loss {loss}, gradient norm {norm}; the state before it "
        f"is in {workdir / 'halted'}; its clips: {', '.join(info.names)}"
      )
    timings = timer.lap()
    progress.update(metrics, timings)
    if step % config.log_every == 0 or step == config.total_steps:
      counts = {
        "data/skipped_clips": len(info.skipped),
        "data/dropped_tracks": info.dropped_tracks,
        "data/captions_shortened": info.captions_shortened,
      }
      metrics_log.write(step, metrics | counts)
      compiled = {"compilations": compilations()}
      timings_log.write(step, timings | compiled)
      for name in collapsed(metrics):
        progress.say(f"step {step}: {name} uses hardly any of its codes")

  for step in range(start + 1, config.total_steps + 1):
    trace(step)
    # The device still computes the last step while this one is prepared.
    batch, info = timer.next(batches)
    batch = to_global(batch, batch_sharding(mesh))
    state, metrics = training.step(state, batch, run_key)
    if unread:
      read(*unread)
    unread = step, metrics, info

    stopping = stop_requested(checkpoints, step)
    ending = stopping or step == config.total_steps
    saving = ending or step % config.checkpoint.every == 0
    evaluating = [x for x in evaluations if x.due(step)]
    if not (saving or evaluating):
      continue

    # ---------------------------------------------- evaluate, and save
    read(*unread)
    unread = None
    results = evaluate_all(
      evaluating,
      predict,
      state.variables,
      step=step,
      directory=workdir / "eval" if first_process else None,
      embed=embed,
    )
    if results:
      metrics_log.write(step, reproducible(results))
    if saving:
      checkpoints.save(
        step,
        state,
        data={"step": step, **data_record},
        meta=meta,
        metrics=results,
      )
    timer.resume()
    if stopping:
      progress.say(
        f"stopped after step {step}; to go on: python {' '.join(sys.argv)}"
      )
      break

  # --------------------------------------------------------------- the end
  batches.close()
  trace.close()
  if loader.failures.failures:
    progress.say(loader.failures.summary())
  checkpoints.close()
  progress.close()
  metrics_log.close()
  timings_log.close()
  return not stopping or step == config.total_steps


if __name__ == "__main__":
  flags.mark_flags_as_required(["config", "workdir"])
  app.run(main)
