"""What the TPU VMs of Compute Engine and of the Cloud TPU API share.

Nobody logs in to start anything: each VM runs vm_start.sh at every boot, and
finds in its metadata what to run. So a VM that comes back goes on by itself.
"""

from tpu.job import Job, file

SCRIPT = "tpu/vm_start.sh"


def files(job: Job) -> dict[str, str]:
  """Returns the file with the command of a VM."""
  return {f"{job.name}.sh": job.supervised + "\n"}


def metadata(job: Job) -> list[str]:
  """Returns the flags that hand script, command, image and mount to a VM."""
  command = file(f"{job.name}.sh")
  return [
    f"--metadata=trajvit-image={job.image},trajvit-runs={job.runs}",
    f"--metadata-from-file=startup-script={SCRIPT},trajvit-command={command}",
  ]
