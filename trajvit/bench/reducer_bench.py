"""Measuring an encoder with reducers inside, on clips that are read once."""

import contextlib
import functools

import jax
import numpy as np

from trajvit.bench import reducer_scores, stopwatch
from trajvit.bench.reduced_run import (
  ReducedRun,
  token_grid,
  trained_for,
  with_reducer,
)
from trajvit.bench.reducer_cases import Case
from trajvit.data import build_loader
from trajvit.evaluators.flops import count_flops
from trajvit.training.restore import restore_run

# A motion is told from others in groups of so many clips on moving sprites.
GROUP = 8


class ReducerBench:
  """The runs, their clips, and the encoder without a reducer."""

  def __init__(self, args):
    """Restores the runs and reads the clips; `args` are of the command."""
    self.args = args
    self.runs = [restore_run(path) for path in args.runs]
    first = self.runs[0]
    self.config, self.grid = first.config, token_grid(first)
    evals = self.config.evals
    for name in (args.eval, args.hard):
      if name not in evals:
        raise ValueError(
          f"no such evaluation in the config: {name}; known: {', '.join(evals)}"
        )
    read = functools.partial(reducer_scores.read_gallery, self.config)
    self.gallery = read(evals[args.eval].data, args.clips)
    self.hard = read(evals[args.hard].data, args.clips)
    self.train = read(self.config.data["train"], args.probe_clips)
    self.batch = self.gallery.batches[0]

    def encode_text(apply, variables, batch):
      return apply(variables, batch)["text_embedding"]

    self.captions = []
    for run in self.runs:
      encode = jax.jit(functools.partial(encode_text, run.apply))
      self.captions.append(
        [
          reducer_scores.caption_embeddings(encode, run.variables, gallery)
          for gallery in (self.gallery, self.hard)
        ]
      )
    whole = ReducedRun(first.apply, first.variables)
    self.whole_embed = self._compile(whole)
    self.whole_step = None
    if args.step_at:
      self.whole_step = self._compile_step(whole)

  def dense(self) -> dict:
    """Returns the row of the encoder without a reducer."""
    scores = [
      self._scores(i, self.whole_embed, run.variables)
      for i, run in enumerate(self.runs)
    ]
    whole = ReducedRun(self.runs[0].apply, self.runs[0].variables)
    row = dict(reducer="none", place="", kept=1.0, latency=1.0, step=1.0)
    count = float(np.prod(self.grid)) + 1
    return row | _joined(scores) | self._flops(whole) | dict(tokens=count)

  def measure(self, case: Case, kept: float) -> dict:
    """Returns the row of a reducer at a kept share of the patches."""
    patches = int(np.prod(self.grid))
    k = max(1, round(kept * patches)) + (case.place != "input")
    spec = case.spec(k, self.grid)
    reduced = [with_reducer(run, case, spec) for run in self.runs]
    if self.args.train_steps:
      reduced = [
        self._trained(r, run.config.seed)
        for r, run in zip(reduced, self.runs, strict=True)
      ]
    embed = self._compile(reduced[0])
    scores = [
      self._scores(i, embed, r.variables) for i, r in enumerate(reduced)
    ]
    row = dict(reducer=case.name, place=case.place, kept=kept)
    row |= _joined(scores) | self._flops(reduced[0])
    row["tokens"] += case.place == "input"  # the class token comes after it
    row["latency"] = self._ratio(
      self.whole_embed,
      embed,
      reduced[0].variables,
      (reducer_scores.without_text(self.batch),),
    )
    if kept == self.args.step_at:
      row["step"] = self._ratio(
        self.whole_step,
        self._compile_step(reduced[0]),
        reduced[0].variables,
        (self._training_batch(), jax.random.key(0)),
      )
    return row

  def _compile(self, reduced):
    batch = reducer_scores.without_text(self.batch)
    return jax.jit(reduced.embed).lower(reduced.variables, batch).compile()

  def _compile_step(self, reduced):
    step = jax.jit(reduced.loss_and_gradient)
    args = reduced.variables, self._training_batch(), jax.random.key(0)
    return step.lower(*args).compile()

  def _training_batch(self):
    with self._training_batches() as batches:
      return next(batches)[0]

  def _training_batches(self):
    loader = build_loader(
      self.config.data, self.config.data["train"], seed=self.config.seed
    )
    return contextlib.closing(loader.train(0))

  def _trained(self, reduced, seed):
    with self._training_batches() as batches:
      return trained_for(reduced, batches, self.args.train_steps, seed)

  def _scores(self, number, embed, variables):
    """What run `number` scores, by name."""
    find = functools.partial(reducer_scores.embeddings, embed, variables)
    clips, told = find(self.gallery)
    hard, _ = find(self.hard)
    train, _ = find(self.train)
    captions, hard_captions = self.captions[number]
    told = {name.split("/")[-1]: x for name, x in told.items()}
    return {
      "R@5": reducer_scores.recall(captions, clips, self.gallery.ids, 5),
      "choice": reducer_scores.choice(
        hard, hard_captions, self.hard.ids, GROUP
      ),
      "probe": reducer_scores.probe(
        (train, self.train.labels), (clips, self.gallery.labels)
      ),
      "tokens": told.get("tokens_out"),
      "changed": told.get("changed"),
      "overflow": told.get("overflow"),
    }

  def _flops(self, reduced):
    batch = reducer_scores.without_text(self.batch)
    count = count_flops(reduced.embed, reduced.variables, batch)
    return {
      "GFLOPs": count.total / len(batch.clip.frames) / 1e9,
      "unbounded_loops": count.unbounded_loops,
    }

  def _ratio(self, whole, reduced, variables, inputs):
    """Time of the reduced program over that of the whole one."""
    calls = {
      "whole": functools.partial(whole, self.runs[0].variables),
      "reduced": functools.partial(reduced, variables),
    }
    times, errors = stopwatch.alternate(
      calls, lambda turn: inputs, rounds=self.args.rounds
    )
    if errors:
      raise RuntimeError(f"a program could not be timed: {errors}")
    return times["reduced"] / times["whole"]


def _joined(scores):
  """Mean and half the distance between the extremes, over runs."""
  joined = {}
  for name in scores[0]:
    values = [score[name] for score in scores]
    if None in values:
      joined[name] = None
    elif name in ("R@5", "choice", "probe"):
      joined[name] = (np.mean(values), (max(values) - min(values)) / 2)
    else:
      joined[name] = float(np.mean(values))
  return joined
