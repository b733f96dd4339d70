"""Compiling for TPUs that are not at hand: what fits, before one is rented.

libtpu holds the compiler, and compiles for a topology that it is told of. It
takes the whole process down on some errors, so all of it happens in another
process, `python -m trajvit.bench.topology`, which reads jobs as lines of JSON
and answers each with one.
"""

import dataclasses
import fnmatch
import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trajvit.bench import mosaic

# The smallest that libtpu knows of each generation, all on one host.
TOPOLOGIES = {
  "v5e": "v5e:2x2",
  "v5p": "v5p:2x2x1",
  "v6e": "v6e:2x2",
  "tpu7x": "tpu7x:2x2x1",
}
# Without it libtpu asks the network which machine this is, and takes a lock
# that is for one process only. Nothing may run on a TPU that is at hand.
ENVIRONMENT = {
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "JAX_PLATFORMS": "cpu",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
}
_AXIS = "data"


@dataclasses.dataclass(frozen=True)
class Job:
  """What to compile.

  Attributes:
    case: "module:function"; `function(**settings)` returns (program,
      arguments): a function of arrays and their ShapeDtypeStructs on one
      device. They have an axis of clips first, over which devices divide them.
    settings: plain values.
    topology: a name in TOPOLOGIES, or one of libtpu's such as "v5e:4x4".
  """

  case: str
  settings: dict
  topology: str


@dataclasses.dataclass(frozen=True)
class Report:
  """What came of a job.

  Attributes:
    job: the job.
    error: why it failed, one line; None if it compiled.
    seconds: of tracing, lowering and compiling; None if it failed, as what
      follows.
    memory: peak bytes of HBM on a device.
    flops: of the program on a device as the compiler counts them: loops once,
      kernels by their cost estimates.
    kernels: the Pallas kernels in it.
  """

  job: Job
  error: str | None
  seconds: float | None = None
  memory: int | None = None
  flops: float | None = None
  kernels: tuple[mosaic.Kernel, ...] = ()


def libtpu_reason() -> str | None:
  """Returns why nothing can be compiled for TPUs here, or None if it can."""
  wanted = [
    match[1]
    for line in importlib.metadata.requires("jax") or ()
    if (match := re.match(r"libtpu\s*==\s*([\w.*]+)", line))
  ]
  jax_version = importlib.metadata.version("jax")
  pattern = wanted[0] if wanted else "*"
  install = f"pip install 'libtpu=={pattern}'"
  try:
    found = importlib.metadata.version("libtpu")
  except importlib.metadata.PackageNotFoundError:
    return f"libtpu, the compiler, is not installed: {install}"
  if not fnmatch.fnmatch(found, pattern):
    return f"jax {jax_version} needs another libtpu than {found}: {install}"
  return None


def compile_all(jobs: Sequence[Job]) -> Iterator[Report]:
  """Yields a report for each job, in order, from another process.

  If that dies, the job at hand has failed and the next one gets a new process.

  Raises:
    RuntimeError: see `libtpu_reason`.
  """
  reason = libtpu_reason()
  if reason is not None:
    raise RuntimeError(reason)
  waiting = list(jobs)
  while waiting:
    with _start(waiting) as process:
      try:
        for line in process.stdout:
          if line.startswith("{"):  # libtpu prints too
            waiting.pop(0)
            yield _parse(line)
        process.wait()
      finally:
        process.kill()
    if waiting:
      fate = f"the compiler died with status {process.returncode}"
      yield Report(waiting.pop(0), fate)


def compile_for(
  program: Callable, arguments: Sequence, topology: str
) -> tuple[jax.stages.Compiled, float]:
  """Returns a program compiled for a topology, and the seconds that took.

  To be called in a process with ENVIRONMENT; others call `compile_all`.

  Args:
    program: function of arrays, with what it returns all of clips too.
    arguments: pytrees of ShapeDtypeStructs, those of one device; axis 0 is
      that of clips.
    topology: see Job.
  """
  description = topologies.get_topology_desc(
    platform="tpu", topology_name=TOPOLOGIES.get(topology, topology)
  )
  mesh = Mesh(np.array(description.devices).reshape(-1), (_AXIS,))
  clips = PartitionSpec(_AXIS)

  def everywhere(each):
    shape = each.shape[0] * mesh.size, *each.shape[1:]
    sharding = NamedSharding(mesh, clips)
    return jax.ShapeDtypeStruct(shape, each.dtype, sharding=sharding)

  start = time.perf_counter()
  divided = jax.shard_map(program, mesh=mesh, in_specs=clips, out_specs=clips)
  traced = jax.jit(divided).trace(*jax.tree.map(everywhere, arguments))
  compiled = traced.lower(lowering_platforms=("tpu",)).compile()
  return compiled, time.perf_counter() - start


def _start(jobs):
  """A process that has the jobs to read, and writes reports."""
  process = subprocess.Popen(
    [sys.executable, "-m", "trajvit.bench.topology"],
    env=os.environ | ENVIRONMENT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  for job in jobs:
    process.stdin.write(json.dumps(dataclasses.asdict(job)) + "\n")
  process.stdin.close()
  return process


def _parse(line):
  fields = json.loads(line)
  fields["job"] = Job(**fields["job"])
  fields["kernels"] = tuple(mosaic.Kernel(**each) for each in fields["kernels"])
  return Report(**fields)


def _report(job):
  module, function = job.case.split(":")
  try:
    build = getattr(importlib.import_module(module), function)
    compiled, seconds = compile_for(*build(**job.settings), job.topology)
  except Exception as error:  # whatever the compiler says is the result
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Report(job, text[:500])
  return Report(
    job,
    None,
    seconds,
    memory=compiled.memory_analysis().peak_memory_in_bytes,
    flops=compiled.cost_analysis().get("flops"),
    kernels=mosaic.kernels(compiled),
  )


if __name__ == "__main__":
  for text in sys.stdin:
    report = _report(Job(**json.loads(text)))
    print(json.dumps(dataclasses.asdict(report)), flush=True)
