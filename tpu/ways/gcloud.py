"""Commands of gcloud that more than one way needs."""

from tpu.job import Job

COMPUTE = ("gcloud", "compute")


def place(job: Job) -> list[str]:
  """Returns the flags that say in which project and zone."""
  return [f"--project={job.project}", f"--zone={job.zone}"]


def workload_policy(job: Job) -> tuple[list[str], list[str]]:
  """Returns the commands that make and delete what wires VMs to a slice."""
  policies = [*COMPUTE, "resource-policies"]
  where = [f"--project={job.project}", f"--region={job.region}"]
  create = [
    *[*policies, "create", "workload-policy", job.name, *where],
    "--type=HIGH_THROUGHPUT",
    f"--accelerator-topology={job.target.topology}",
  ]
  return create, [*policies, "delete", job.name, *where, "--quiet"]
