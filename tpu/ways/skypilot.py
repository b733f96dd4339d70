"""A SkyPilot task: TPUs or GPUs of whatever cloud has them, recovered by it.

The file is JSON, which every reader of YAML reads.
Source: SkyPilot's pages on its YAML, on TPUs and on distributed jobs.
"""

import json

from tpu.job import PORT, RUNS, Job, Launch, file
from tpu.targets import TpuSlice
from trajvit.training import exits

# After errors; it cannot tell a user's from others. Machines that were taken
# away are replaced without counting.
RESTARTS = 3
# SkyPilot's names of GPUs.
GPUS = {
  "a100-40": "A100",
  "a100-80": "A100-80GB",
  "h100": "H100",
  "h200": "H200",
  "b200": "B200",
}


def launch(job: Job) -> Launch:
  """Returns the task, and the commands for it."""
  if job.slices > 1:
    raise ValueError("a SkyPilot task has one slice")
  name = f"{job.name}.yaml"
  jobs = ["sky", "jobs"]
  return Launch(
    start=[[*jobs, "launch", "--yes", f"--name={job.name}", file(name)]],
    watch=[[*jobs, "queue"], [*jobs, "logs", f"--name={job.name}"]],
    stop=[[*jobs, "cancel", "--yes", f"--name={job.name}"]],
    files={name: json.dumps(task(job), indent=2) + "\n"},
  )


def task(job: Job) -> dict:
  """Returns the task.

  Raises:
    ValueError: SkyPilot gets this TPU by no API that is written here.
  """
  target = job.target
  # JAX asks a TPU VM how many hosts there are and which it is, and gets one
  # process a host; SkyPilot tells both of nodes of GPUs.
  if isinstance(target, TpuSlice):
    if not target.family.runtime:
      raise ValueError(f"SkyPilot gets no {target.chip_name} by the TPU API")
    extra = "tpu"
    nodes = 1  # to SkyPilot a slice is one, and it runs on all hosts of it
    hardware = {
      "accelerators": f"tpu-{target.accelerator_type}",
      "accelerator_args": {"runtime_version": target.family.runtime},
    }
    numbers = ""
  else:
    extra = "cuda"
    nodes = target.hosts
    gpus = f"{GPUS[target.chip_name]}:{target.chips_per_host}"
    hardware = {"accelerators": gpus}
    numbers = (
      'export JAX_NUM_PROCESSES="$SKYPILOT_NUM_NODES"\n'
      'export JAX_PROCESS_ID="$SKYPILOT_NODE_RANK"\n'
    )
  mount = ""
  if job.runs:
    mount = (
      "sudo apt-get install --yes nfs-common\n"
      f"sudo mkdir -p {RUNS}\n"
      f"mountpoint -q {RUNS} || sudo mount -t nfs {job.runs} {RUNS}\n"
    )
  first = '$(head -n1 <<< "$SKYPILOT_NODE_IPS")'
  return {
    "name": job.name,
    "workdir": ".",
    "num_nodes": nodes,
    "resources": {
      **hardware,
      "use_spot": job.spot,
      "job_recovery": {
        "recover_on_exit_codes": [exits.STOPPED],
        "max_restarts_on_errors": RESTARTS,
      },
    },
    "setup": (
      f"{mount}"
      "pip install uv\n"
      "uv venv --allow-existing --python=3.12 .venv\n"
      "source .venv/bin/activate\n"
      f'uv pip install --constraints=constraints.txt --editable=".[{extra}]"\n'
    ),
    "run": (
      "source .venv/bin/activate\n"
      f"{numbers}"
      f'export JAX_COORDINATOR_ADDRESS="{first}:{PORT}"\n'
      f"exec {job.command}\n"
    ),
  }
