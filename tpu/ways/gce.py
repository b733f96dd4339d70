"""A slice as a managed instance group of Compute Engine, today's way.

A workload policy says how the VMs are wired, an instance template what each is,
and the group creates them all or none.
"""

from tpu.job import Job, Launch
from tpu.ways import vm
from tpu.ways.gcloud import COMPUTE, place, workload_policy

TEMPLATES = (*COMPUTE, "instance-templates")
GROUPS = (*COMPUTE, "instance-groups", "managed")


def launch(job: Job) -> Launch:
  """Returns the commands for one slice of v5p, v6e or tpu7x."""
  target = job.need_tpu()
  job.need("project", "zone", "image", "runs")
  if not target.family.image:
    raise ValueError(
      f"Compute Engine makes no slices of {target.chip_name}; --way=queued does"
    )
  if job.slices > 1:
    raise ValueError(
      "several slices find each other by --way=gke or --way=queued"
    )
  start = [_create_template(job), _create_group(job)]
  stop = [
    [*GROUPS, "delete", job.name, *place(job), "--quiet"],
    [*TEMPLATES, "delete", job.name, f"--project={job.project}", "--quiet"],
  ]
  if target.hosts > 1:
    create, delete = workload_policy(job)
    start.insert(0, create)
    stop.append(delete)
  watch = [[*GROUPS, "list-instances", job.name, *place(job)]]
  return Launch(start, watch, stop, vm.files(job))


def _create_template(job):
  return [
    *[*TEMPLATES, "create", job.name, f"--project={job.project}"],
    f"--machine-type={job.target.machine_type}",
    "--maintenance-policy=TERMINATE",
    f"--image-family={job.target.family.image}",
    "--image-project=ubuntu-os-accelerator-images",
    "--boot-disk-size=200GB",
    "--scopes=cloud-platform",
    *_provisioning(job),
    *vm.metadata(job),
  ]


def _create_group(job):
  create = [
    *[*GROUPS, "create", job.name, *place(job)],
    f"--template={job.name}",
    f"--size={job.target.hosts}",
  ]
  if job.target.hosts == 1:
    return create
  policies = f"projects/{job.project}/regions/{job.region}/resourcePolicies"
  return [
    *create,
    f"--workload-policy={policies}/{job.name}",
    "--target-size-policy-mode=bulk",
    "--default-action-on-vm-failure=do-nothing",
  ]


def _provisioning(job):
  if job.spot:
    return ["--provisioning-model=SPOT", "--instance-termination-action=STOP"]
  if job.reservation:
    return [
      "--provisioning-model=RESERVATION_BOUND",
      "--instance-termination-action=DELETE",
      "--reservation-affinity=specific",
      f"--reservation={job.reservation}",
    ]
  return []
