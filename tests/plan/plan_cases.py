"""A step that has been compiled, with numbers that are easy to check."""

import dataclasses

from trajvit.evaluators.flops import FlopCount
from trajvit.plan.collectives import Collective
from trajvit.plan.memory import Memory
from trajvit.plan.traffic import Traffic
from trajvit.plan.worker import Compiled

STEP = Compiled(
  mesh=dict(data=2, fsdp=2, tensor=1, context=1),
  state_bytes=2**30,
  tokens=10,
  flops=FlopCount(dots=3 * 788 * 10**12, pallas=788 * 10**12),
  model_flops=2 * 788 * 10**12,
  memory=Memory(2**30, 4 * 2**30, 4 * 2**30),
  traffic=Traffic(
    cycles=585 * 10**7,
    bytes=819 * 10**9,
    kernels=1,
    bytes_without_estimate=819 * 10**8,
  ),
  collectives=(Collective("all-gather", 2, 24, 5 * 10**8),),
  seconds=dict(trace=1.0, lower=2.0, compile=30.0),
  versions=dict(python="3.12", jax="1.2.3", libtpu="4.5"),
)


def compiled(**changes) -> Compiled:
  """The step, four devices of v5e, with some of it changed."""
  return dataclasses.replace(STEP, **changes)
