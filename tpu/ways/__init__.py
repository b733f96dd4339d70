"""Ways to launch a job: what is written and run, without doing it."""

from tpu.ways import gce, gke, queued, ray, skypilot, slurm
from trajvit.table import Table

# name -> Job to Launch; each raises ValueError for what it cannot do.
WAYS = Table(
  "way",
  {
    "gce": gce.launch,
    "gke": gke.launch,
    "queued": queued.launch,
    "ray": ray.launch,
    "skypilot": skypilot.launch,
    "slurm": slurm.launch,
  },
)
