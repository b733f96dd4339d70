"""GPUs by Slurm: a process a GPU, started again by requeueing."""

from tpu.job import Job, Launch
from tpu.targets import GpuNodes

SCRIPT = "tpu/slurm.sh"


def launch(job: Job) -> Launch:
  """Returns the commands for nodes of GPUs that share a file system."""
  target = job.target
  if not isinstance(target, GpuNodes):
    raise ValueError(f"Slurm is for GPUs, and {target.name} is a TPU")
  submit = [
    *["sbatch", f"--job-name={job.name}", f"--nodes={target.hosts}"],
    f"--ntasks-per-node={target.chips_per_host}",
    f"--gpus-per-node={target.chips_per_host}",
    *[SCRIPT, *job.words],
  ]
  return Launch(
    start=[submit],
    watch=[["squeue", f"--name={job.name}"]],
    stop=[["scancel", f"--name={job.name}"]],
  )
