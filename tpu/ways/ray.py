"""A RayJob for KubeRay on GKE, whose entry point is tpu/ray_train.py.

Source: Ray's pages on TPUs with KubeRay and on JaxTrainer.
"""

import json
import shlex

from tpu.job import Job, Launch, file
from tpu.ways import gke

RAY_VERSION = "2.55.0"


def launch(job: Job) -> Launch:
  """Returns the manifest, and the commands for it.

  The container needs Ray beside the project, of the version named here.
  """
  job.need_tpu()
  job.need("image", "runs")
  if job.health:
    raise ValueError("Ray runs training only; check the slice by --way=gke")
  name = f"{job.name}-ray.json"
  return Launch(
    start=[["kubectl", "apply", f"--filename={file(name)}"]],
    watch=[["kubectl", "get", "rayjob", job.name]],
    stop=[["kubectl", "delete", "rayjob", job.name]],
    files={name: json.dumps(manifest(job), indent=2) + "\n"},
  )


def manifest(job: Job) -> dict:
  """Returns the RayJob: a head, and workers, of which a replica is a slice."""
  target = job.target
  entry = [
    *["python", "-m", "tpu.ray_train", f"--target={target.name}"],
    *[f"--slices={job.slices}", "--", *job.arguments],
  ]
  pod = gke.pod(job)
  (worker,) = pod["containers"]
  worker = {
    key: worker[key] for key in ("image", "resources", "volumeMounts")
  } | {"name": "ray-worker"}
  head = {
    "name": "ray-head",
    "image": job.image,
    "resources": {"limits": {"cpu": "4", "memory": "16Gi"}},
  }
  # KubeRay restarts and addresses the pods in its own way.
  group = {
    key: pod[key] for key in ("nodeSelector", "tolerations", "volumes")
  } | {"containers": [worker]}
  return {
    "apiVersion": "ray.io/v1",
    "kind": "RayJob",
    "metadata": {"name": job.name},
    "spec": {
      "entrypoint": shlex.join(entry),
      "shutdownAfterJobFinishes": True,
      "rayClusterSpec": {
        "rayVersion": RAY_VERSION,
        "headGroupSpec": {
          "rayStartParams": {},
          "template": {"spec": {"containers": [head]}},
        },
        "workerGroupSpecs": [
          {
            "groupName": "slices",
            "replicas": job.slices,
            "minReplicas": job.slices,
            "maxReplicas": job.slices,
            "numOfHosts": target.hosts,
            "rayStartParams": {},
            "template": {"spec": group},
          }
        ],
      },
    },
  }
