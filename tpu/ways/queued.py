"""Slices as a queued resource of the Cloud TPU API: legacy, for v4 to v6e."""

from tpu.job import Job, Launch
from tpu.ways import vm
from tpu.ways.gcloud import COMPUTE, place

TPUS = (*COMPUTE, "tpus")


def launch(job: Job) -> Launch:
  """Returns the commands for slices of v4, v5e, v5p or v6e."""
  target = job.need_tpu()
  job.need("project", "zone", "image", "runs")
  if not target.family.runtime:
    raise ValueError(
      f"the Cloud TPU API has no {target.chip_name}; --way=gce and --way=gke do"
    )
  if job.reservation:
    raise ValueError("a queued resource takes no reservation by name")
  if job.slices == 1:
    nodes = [f"--node-id={job.name}"]
  else:
    nodes = [f"--node-count={job.slices}", f"--node-prefix={job.name}"]
  create = [
    *[*TPUS, "queued-resources", "create", job.name, *place(job), *nodes],
    f"--accelerator-type={target.accelerator_type}",
    f"--runtime-version={target.family.runtime}",
    *(["--spot"] if job.spot else []),
    *vm.metadata(job),
  ]
  first = job.name if job.slices == 1 else f"{job.name}-0"
  watch = [
    [*TPUS, "queued-resources", "describe", job.name, *place(job)],
    [
      *[*TPUS, "tpu-vm", "ssh", first, *place(job), "--worker=0"],
      "--command=sudo docker logs --follow trajvit",
    ],
  ]
  delete = [*TPUS, "queued-resources", "delete", job.name, *place(job)]
  return Launch([create], watch, [[*delete, "--force"]], vm.files(job))
