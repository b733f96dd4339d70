"""A slice as a managed instance group of Compute Engine, today's way.

A workload policy says how the VMs are wired, an instance template what each is,
and the group creates them all or none.
"""

from tpu.job import Job, Launch
from tpu.ways import vm


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
  project = f"--project={job.project}"
  region = f"--region={job.region}"
  policy = f"projects/{job.project}/regions/{job.region}/resourcePolicies/"
  template = [
    *["gcloud", "compute", "instance-templates", "create", job.name, project],
    f"--machine-type={target.machine_type}",
    "--maintenance-policy=TERMINATE",
    f"--image-family={target.family.image}",
    "--image-project=ubuntu-os-accelerator-images",
    "--boot-disk-size=200GB",
    "--scopes=cloud-platform",
    *_provisioning(job),
    *vm.metadata(job),
  ]
  group = [
    *["gcloud", "compute", "instance-groups", "managed", "create", job.name],
    *vm.place(job),
    f"--template={job.name}",
    f"--size={target.hosts}",
  ]
  start, stop = [template, group], []
  groups = ["gcloud", "compute", "instance-groups", "managed"]
  stop.append([*groups, "delete", job.name, *vm.place(job), "--quiet"])
  templates = ["gcloud", "compute", "instance-templates"]
  stop.append([*templates, "delete", job.name, project, "--quiet"])
  if target.hosts > 1:
    policies = ["gcloud", "compute", "resource-policies"]
    create = [
      *[*policies, "create", "workload-policy", job.name, project, region],
      "--type=HIGH_THROUGHPUT",
      f"--accelerator-topology={target.topology}",
    ]
    start.insert(0, create)
    group += [
      f"--workload-policy={policy}{job.name}",
      "--target-size-policy-mode=bulk",
      "--default-action-on-vm-failure=do-nothing",
    ]
    stop.append([*policies, "delete", job.name, project, region, "--quiet"])
  watch = [[*groups, "list-instances", job.name, *vm.place(job)]]
  return Launch(start, watch, stop, vm.files(job))


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
