import importlib.metadata
import pathlib

import jax
import jax.numpy as jnp
import pytest

from trajvit.bench.topology import Job, compile_all, libtpu_reason
from trajvit.ops.attention.pallas_tpu import vmem

CASE = "trajvit.bench.attention_tpu:build"
SMALL = dict(length=1024, head_dim=64, bias=True)
STEPS = ("forward", "query_gradient", "key_gradients")

needs_libtpu = pytest.mark.skipif(
  libtpu_reason() is not None, reason=str(libtpu_reason())
)


def kernel_jobs(generation, **settings):
  steps = STEPS if "step" not in settings else (settings["step"],)
  return [
    Job(CASE, SMALL | dict(step=step) | settings, generation) for step in steps
  ]


def check(reports):
  """All compile, to one kernel that fits and whose FLOPs are counted."""
  for report in reports:
    assert report.error is None, report
    (kernel,) = report.kernels
    assert kernel.name.startswith(f"attention_{report.job.settings['step']}")
    assert 0 < kernel.vmem <= kernel.vmem_limit
    # Half of the tiles, for two heads; beside it XLA counts little.
    products = {"forward": 2, "query_gradient": 3, "key_gradients": 2}
    pairs = 2 * 1024 * 1024 // 2
    flops = 2 * products[report.job.settings["step"]] * pairs * 64
    assert kernel.flops == flops
    assert flops <= report.flops < 1.1 * flops
    assert report.memory > 0 and report.seconds > 0


@needs_libtpu
def test_kernels_compile_for_a_tpu_that_is_not_here():
  jobs = [
    *kernel_jobs("v5e"),
    *kernel_jobs("v5e", vmem_budget=0),
    *kernel_jobs("v5e", step="forward", tile_max=True, skip_below=0.1),
  ]
  reports = list(compile_all(jobs))
  check(reports)
  variants = [report.kernels[0].name.rsplit("_")[-1] for report in reports]
  assert variants == ["resident"] * 3 + ["streaming"] * 3 + ["resident"]


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("generation", ["v5p", "v6e", "tpu7x"])
@pytest.mark.parametrize("vmem_budget", [vmem.BUDGET, 0])
def test_kernels_compile_for_every_generation(generation, vmem_budget):
  check(compile_all(kernel_jobs(generation, vmem_budget=vmem_budget)))


def add(length):
  """A program without kernels."""
  number = jax.ShapeDtypeStruct((1, length), jnp.float32)
  return (lambda first, second: first + second), [number, number]


def die():
  """What libtpu does now and then."""
  raise SystemExit(3)


@needs_libtpu
def test_what_fails_is_reported_and_the_rest_goes_on(monkeypatch):
  monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent))
  here = "test_topology"
  jobs = [
    Job(f"{here}:add", dict(length=8), "v5e"),
    Job(f"{here}:die", {}, "v5e"),
    Job(f"{here}:add", dict(length=8), "no such TPU"),
    Job(f"{here}:add", dict(length=16), "v5e"),
  ]
  reports = list(compile_all(jobs))
  assert [report.job for report in reports] == jobs
  errors = [report.error for report in reports]
  assert errors[0] is None and errors[3] is None
  assert errors[1] == "the compiler died with status 3"
  assert "no such TPU" in errors[2]
  assert reports[0].kernels == ()


@pytest.mark.parametrize(
  "found, reason",
  [
    (None, "is not installed: pip install 'libtpu==1.2.*'"),
    ("1.3.0", "needs another libtpu than 1.3.0: pip install 'libtpu==1.2.*'"),
    ("1.2.7", None),
  ],
)
def test_says_why_nothing_can_be_compiled(monkeypatch, found, reason):
  def version(name):
    if name == "libtpu" and found is None:
      raise importlib.metadata.PackageNotFoundError
    return {"jax": "9.9", "libtpu": found}[name]

  needs = ["numpy", 'libtpu==1.2.*; extra == "tpu"']
  monkeypatch.setattr(importlib.metadata, "version", version)
  monkeypatch.setattr(importlib.metadata, "requires", lambda name: needs)
  got = libtpu_reason()
  assert got is None if reason is None else got.endswith(reason)
  if reason is not None:
    with pytest.raises(RuntimeError, match="libtpu"):
      next(compile_all([Job("any:thing", {}, "v5e")]))
