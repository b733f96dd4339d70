"""A JobSet on GKE: one Job a slice, one pod a host.

The JobSet makes the headless service by whose names the pods find each other,
and starts all of them again when one is lost. Exit statuses that would come
again, of a user's error or a loss that diverged, end it instead.
Source: the JobSet API v1alpha2, and GKE's pages on TPUs and Multislice.
"""

import json

from tpu.job import GRACE_SECONDS, PORT, RUNS, Job, Launch, file
from tpu.ways.gcloud import workload_policy
from trajvit.training import exits

MOST_RESTARTS = 50
CONTAINER = "train"
SLICE = "slice"
POOLS = ("gcloud", "container", "node-pools")


def launch(job: Job) -> Launch:
  """Returns the manifest, and the commands for it."""
  job.need_tpu()
  job.need("image", "runs")
  name = f"{job.name}.json"
  text = json.dumps(manifest(job), indent=2) + "\n"
  pools, no_pools = _node_pools(job) if job.cluster else ([], [])
  return Launch(
    start=[*pools, ["kubectl", "apply", f"--filename={file(name)}"]],
    watch=[
      ["kubectl", "get", "jobset", job.name],
      ["kubectl", "logs", "--follow", f"job/{job.name}-{SLICE}-0"],
    ],
    stop=[["kubectl", "delete", "jobset", job.name], *no_pools],
    files={name: text},
  )


def manifest(job: Job) -> dict:
  """Returns the JobSet."""
  hosts = job.target.hosts
  labels = {"kueue.x-k8s.io/queue-name": job.queue} if job.queue else {}
  by_status = {
    "action": "FailJob",
    "onExitCodes": {
      "containerName": CONTAINER,
      "operator": "In",
      "values": [status for status in exits.FINAL if status],
    },
  }
  return {
    "apiVersion": "jobset.x-k8s.io/v1alpha2",
    "kind": "JobSet",
    "metadata": {
      "name": job.name,
      "labels": labels,
      # A slice is a node pool, and no two jobs share one.
      "annotations": {
        "alpha.jobset.sigs.k8s.io/exclusive-topology": (
          "cloud.google.com/gke-nodepool"
        )
      },
    },
    "spec": {
      "network": {
        "enableDNSHostnames": True,
        "subdomain": job.name,
        "publishNotReadyAddresses": True,
      },
      "failurePolicy": {
        "maxRestarts": MOST_RESTARTS,
        "rules": [
          {
            "name": "another-try-would-not-help",
            "action": "FailJobSet",
            "onJobFailureReasons": ["PodFailurePolicy"],
          }
        ],
      },
      "replicatedJobs": [
        {
          "name": SLICE,
          "replicas": job.slices,
          "template": {
            "spec": {
              "completionMode": "Indexed",
              "completions": hosts,
              "parallelism": hosts,
              "backoffLimit": 0,
              "podFailurePolicy": {"rules": [by_status]},
              "template": {"spec": pod(job)},
            }
          },
        }
      ],
    },
  }


def pod(job: Job) -> dict:
  """Returns the pod of a host."""
  target = job.target
  server, _, path = job.runs.partition(":")
  chips = {"google.com/tpu": str(target.chips_per_host)}
  selector = {
    "cloud.google.com/gke-tpu-accelerator": target.family.node_label,
    "cloud.google.com/gke-tpu-topology": target.topology,
  }
  tolerated = ["google.com/tpu"]
  if job.spot:
    selector["cloud.google.com/gke-spot"] = "true"
    tolerated.append("cloud.google.com/gke-spot")
  # The job controller sets JOB_COMPLETION_INDEX, the host within its slice.
  number = f"JOB_INDEX * {target.hosts} + JOB_COMPLETION_INDEX"
  script = f"export JAX_PROCESS_ID=$(({number}))\nexec {job.command}"
  container = {
    "name": CONTAINER,
    "image": job.image,
    "command": ["bash", "-c", script],
    "env": [
      {
        "name": "JOB_INDEX",
        "valueFrom": {
          "fieldRef": {
            "fieldPath": "metadata.annotations['jobset.sigs.k8s.io/job-index']"
          }
        },
      },
      {
        "name": "JAX_COORDINATOR_ADDRESS",
        "value": f"{job.name}-{SLICE}-0-0.{job.name}:{PORT}",
      },
      {"name": "JAX_NUM_PROCESSES", "value": str(job.hosts)},
    ],
    "ports": [{"containerPort": PORT}],
    "resources": {"limits": chips, "requests": chips},
    "volumeMounts": [{"name": "runs", "mountPath": RUNS}],
  }
  return {
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": GRACE_SECONDS,
    "nodeSelector": selector,
    "tolerations": [{"key": x, "operator": "Exists"} for x in tolerated],
    "containers": [container],
    "volumes": [{"name": "runs", "nfs": {"server": server, "path": path}}],
  }


def _node_pools(job):
  """Returns the commands that make and delete node pools, one a slice."""
  job.need("project", "zone")
  where = [
    f"--cluster={job.cluster}",
    f"--project={job.project}",
    f"--location={job.region}",
  ]
  create, delete, wired = [], [], []
  if job.target.hosts > 1:
    wired = [f"--tpu-topology={job.target.topology}"]
  by_policy = job.target.hosts > 1 and job.target.chip_name == "tpu7x"
  if by_policy:
    wired = [f"--placement-policy={job.name}"]
    create.append(workload_policy(job)[0])
  for index in range(job.slices):
    name = f"{job.name}-{index}"
    pool = [
      *[*POOLS, "create", name, *where, f"--node-locations={job.zone}"],
      f"--machine-type={job.target.machine_type}",
      f"--num-nodes={job.target.hosts}",
      *wired,
      *(["--spot"] if job.spot else []),
      *_reserved(job),
    ]
    create.append(pool)
    delete.append([*POOLS, "delete", name, *where, "--quiet"])
  if by_policy:
    delete.append(workload_policy(job)[1])
  return create, delete


def _reserved(job):
  if not job.reservation:
    return []
  return ["--reservation-affinity=specific", f"--reservation={job.reservation}"]
