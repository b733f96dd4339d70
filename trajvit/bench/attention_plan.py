"""The TPU kernels compiled for TPUs that are not at hand, as a table."""

from collections.abc import Callable, Iterable, Sequence

from trajvit.bench.attention_tpu import STEPS
from trajvit.bench.results import (
  Section,
  as_markdown,
  as_text,
  significant,
)
from trajvit.bench.topology import Job, Report, compile_all, libtpu_reason

CASE = "trajvit.bench.attention_tpu:build"
ABOUT = """\
- Compiled by libtpu for the smallest slice of a generation, on a machine
  without TPU: it shows that a kernel fits and lowers, and nothing of its speed.
- `HBM` is the peak of a device, `VMEM` what the kernel takes of what it was
  allowed, `GFLOP` its cost estimate, which the compiler sums up: for a list
  whose length is known only when it runs, half of the longest."""


def jobs(
  generations: Iterable[str],
  lengths: Iterable[int],
  head_dims: Iterable[int],
  **settings,
) -> list[Job]:
  """Returns a job for each generation, length, head dimension and kernel.

  Args:
    generations: names in `topology.TOPOLOGIES`.
    lengths: tokens in a row.
    head_dims: d.
    **settings: see `attention_tpu.build`.
  """
  return [
    Job(
      CASE,
      dict(step=step, length=length, head_dim=head_dim) | settings,
      generation,
    )
    for generation in generations
    for length in lengths
    for head_dim in head_dims
    for step in STEPS
  ]


def section(
  wanted: Sequence[Job],
  compile_jobs: Callable[[Sequence[Job]], Iterable[Report]] = compile_all,
) -> Section:
  """Compiles the jobs and returns what came of them.

  Args:
    wanted: the jobs.
    compile_jobs: what compiles them.

  Raises:
    ValueError: nothing can be compiled here; it says what to install.
  """
  why_not = libtpu_reason()
  if why_not is not None:
    raise ValueError(
      f"--tpu cannot compile: {why_not}, or install trajvit[plan]"
    )
  rows = [_row(report) for report in compile_jobs(wanted)]
  header = list(_COLUMNS)
  cells = [[cell(row) for cell in _COLUMNS.values()] for row in rows]
  failures = [
    f"{row['generation']}, {row['step']}, {row['length']} x "
    f"{row['head_dim']}: {row['error']}"
    for row in rows
    if row["error"]
  ]
  good = f"{len(rows) - len(failures)} of {len(rows)} compile"
  listed = "\n".join(f"- {line}" for line in [good, *failures])
  return Section(
    "Compiled ahead of time",
    rows,
    "\n".join([as_text(header, cells), good, *failures]),
    f"{as_markdown(header, cells)}\n\n{listed}",
    bool(failures),
  )


def _row(report: Report) -> dict:
  kernels = report.kernels
  return dict(
    generation=report.job.topology,
    **report.job.settings,
    error=report.error,
    seconds=report.seconds,
    memory_bytes=report.memory,
    flops=report.flops,
    kernels=[kernel.name for kernel in kernels],
    vmem_bytes=max((kernel.vmem for kernel in kernels), default=None),
    vmem_limit_bytes=max(
      (kernel.vmem_limit for kernel in kernels), default=None
    ),
    kernel_flops=sum(kernel.flops for kernel in kernels),
  )


def _scaled(key, unit):
  def cell(row):
    return significant(None if row[key] is None else row[key] / unit)

  return cell


_COLUMNS = {
  "generation": lambda row: row["generation"],
  # Its name says whether tiles are resident in VMEM or stream from HBM.
  "kernel": lambda row: ", ".join(row["kernels"] or [row["step"]]),
  "length": lambda row: str(row["length"]),
  "heads x dim": lambda row: f"{row['heads']} x {row['head_dim']}",
  "tile": lambda row: f"{row['block_query']} x {row['block_key']}",
  "compiles": lambda row: "no" if row["error"] else "yes",
  "seconds": _scaled("seconds", 1),
  "HBM MiB": _scaled("memory_bytes", 2**20),
  "VMEM MiB": _scaled("vmem_bytes", 2**20),
  "of MiB": _scaled("vmem_limit_bytes", 2**20),
  "GFLOP": _scaled("kernel_flops", 1e9),
}
