"""Compiles one training step for devices that are not here.

A process of its own, `python -m trajvit.plan.worker`: compilers take theirs
down with them on some errors. It reads a job as JSON and prints what came of
it as one line of JSON.
"""

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import jax

from trajvit.bench.machine import describe
from trajvit.data import data_shapes
from trajvit.evaluators.flops import FlopCount, count_jaxpr
from trajvit.plan.collectives import Collective, collectives
from trajvit.plan.devices import ENVIRONMENT, described_devices
from trajvit.plan.hlo import parse
from trajvit.plan.memory import Memory, OutOfMemory, read_out_of_memory
from trajvit.plan.model_flops import model_flops
from trajvit.plan.target import Target
from trajvit.plan.traffic import Traffic, traffic
from trajvit.training.build import Training, build_training
from trajvit.training.config import read_config
from trajvit.training.sharding import build_mesh


@dataclasses.dataclass(frozen=True)
class Job:
  """What to compile.

  Attributes:
    config: of the run, plain nested values.
    target: for what.
    effort: optimization level of XLA, "O0" to "O3"; "" is its own.
    program: file to write the compiled program to; "" is none.
  """

  config: dict
  target: Target
  effort: str = "O0"
  program: str = ""


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What came of a job.

  Attributes:
    mesh: devices along each axis.
    state_bytes: of the training state on a device.
    tokens: slots of a clip, as the tokenizer fills them.
    flops: of a step on all devices, recomputation included.
    model_flops: of a step on all devices, nothing computed twice.
    memory: on a device; None if the step does not fit, as what follows.
    out_of_memory: what the compiler says if the step does not fit.
    traffic: of a device.
    collectives: of a device.
    seconds: of tracing, lowering and compiling.
    versions: of the packages that compiled it.
  """

  mesh: dict[str, int]
  state_bytes: int
  tokens: int
  flops: FlopCount
  model_flops: int
  memory: Memory | None = None
  out_of_memory: OutOfMemory | None = None
  traffic: Traffic | None = None
  collectives: tuple[Collective, ...] = ()
  seconds: dict[str, float] = dataclasses.field(default_factory=dict)
  versions: dict[str, str] = dataclasses.field(default_factory=dict)


def compile_elsewhere(job: Job) -> Compiled:
  """Returns what came of a job, done in another process.

  Raises:
    ValueError: the config cannot be, the compiler refused it, or took its
      process down.
  """
  done = subprocess.run(
    [sys.executable, "-m", "trajvit.plan.worker"],
    input=json.dumps(dataclasses.asdict(job)),
    env=os.environ | ENVIRONMENT,
    capture_output=True,
    text=True,
  )
  answers = [line for line in done.stdout.splitlines() if line[:1] == "{"]
  if not answers:
    last = "\n".join(done.stderr.strip().splitlines()[-8:])
    raise ValueError(
      f"the compiler died with status {done.returncode}, which it does where "
      f"its version does not go with jax or the chip is too new for it:\n{last}"
    )
  answer = json.loads(answers[-1])
  if "error" in answer:
    raise ValueError(answer["error"])
  return _decode(answer)


def compile_here(job: Job) -> Compiled:
  """Returns what came of a job, in a process with ENVIRONMENT."""
  raw = job.config
  config = read_config(raw)
  mesh = build_mesh(config.mesh, described_devices(job.target))
  platform = "tpu" if job.target.chip.is_tpu else "cuda"
  context, batch = data_shapes(config.data)
  training = build_training(config, mesh, context)

  start = time.perf_counter()
  traced = training.trace(batch)
  known = Compiled(
    mesh=dict(mesh.shape),
    state_bytes=_bytes_of_device(training),
    tokens=_tokens(training, batch),
    flops=count_jaxpr(traced.jaxpr.jaxpr, platform),
    model_flops=model_flops(raw, mesh, context, batch, platform),
    versions=describe()["versions"],
  )
  seconds = {"trace": time.perf_counter() - start}

  start = time.perf_counter()
  lowered = traced.lower(lowering_platforms=(platform,))
  seconds["lower"] = time.perf_counter() - start
  start = time.perf_counter()
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    found = read_out_of_memory(str(error))
    if found is None:
      raise
    seconds["compile"] = time.perf_counter() - start
    return dataclasses.replace(known, out_of_memory=found, seconds=seconds)
  seconds["compile"] = time.perf_counter() - start
  text = compiled.as_text()
  if job.program:
    Path(job.program).write_text(text)
  program = parse(text)
  return dataclasses.replace(
    known,
    memory=Memory.of(compiled),
    traffic=traffic(program),
    collectives=tuple(collectives(program)),
    seconds=seconds,
  )


def _bytes_of_device(training: Training) -> int:
  """Bytes of the state on one device."""

  def size(x, sharding):
    return math.prod(sharding.shard_shape(x.shape)) * x.dtype.itemsize

  sizes = jax.tree.map(size, training.shapes, training.shardings)
  return sum(jax.tree.leaves(sizes))


def _tokens(training: Training, batch) -> int:
  """Slots for the tokens of a clip."""
  outputs = jax.eval_shape(training.apply, training.shapes.variables, batch)
  return outputs["tokens"].mask.shape[1]


def _decode(answer) -> Compiled:
  """A Compiled from what JSON has made of it."""
  values = dict(answer)
  values["flops"] = FlopCount(**values["flops"])
  listed = values["collectives"]
  values["collectives"] = tuple(Collective(**each) for each in listed)
  kinds = dict(memory=Memory, out_of_memory=OutOfMemory, traffic=Traffic)
  for name, kind in kinds.items():
    if values[name] is not None:
      values[name] = kind(**values[name])
  return Compiled(**values)


def main() -> None:
  """Does the job that comes in; what it refuses is an answer, too."""
  job = json.load(sys.stdin)
  job["target"]["shape"] = tuple(job["target"]["shape"])
  job = Job(**job | {"target": Target(**job["target"])})
  if job.effort:
    jax.config.update("jax_optimization_level", job.effort)
  try:
    answer = dataclasses.asdict(compile_here(job))
  except Exception as error:  # whatever it is, it is for the one who asked
    plain = isinstance(error, (ValueError, NotImplementedError))
    answer = {"error": (str(error) if plain else repr(error))[:2000]}
  print(json.dumps(answer), flush=True)


if __name__ == "__main__":
  main()
