"""Manifests against schemas: Kubernetes' own, strictly, and JobSet's.

JobSet and RayJob are no part of Kubernetes. Of the first the fields that are
used here are written down below, from its API reference v1alpha2; of the second
the pods are checked.
"""

import copy
import itertools
import subprocess

import jsonschema
import kubernetes_validate
import pytest

from tpu.job import Job
from tpu.targets import parse
from tpu.ways import gke, ray
from trajvit.training import exits

TEXT = {"type": "string"}
WHOLE = {"type": "integer", "minimum": 0}
NAMES = {"type": "object", "additionalProperties": TEXT}


def closed(required, **optional):
  """A schema of an object that has these fields and no others."""
  return {
    "type": "object",
    "properties": required | optional,
    "required": list(required),
    "additionalProperties": False,
  }


METADATA = closed({"name": TEXT}, labels=NAMES, annotations=NAMES)
RULE = closed(
  {
    "action": {
      "enum": [
        "FailJobSet",
        "RestartJobSet",
        "RestartJobSetAndIgnoreMaxRestarts",
      ]
    }
  },
  name={
    "type": "string",
    "pattern": "^[A-Za-z]([A-Za-z0-9_,:-]*[A-Za-z0-9_])?$",
  },
  onJobFailureReasons={
    "type": "array",
    "items": {
      "enum": [
        "BackoffLimitExceeded",
        "DeadlineExceeded",
        "FailedIndexes",
        "MaxFailedIndexesExceeded",
        "PodFailurePolicy",
      ]
    },
  },
  targetReplicatedJobs={"type": "array", "items": TEXT},
)
JOB_SET = closed(
  {
    "apiVersion": {"const": "jobset.x-k8s.io/v1alpha2"},
    "kind": {"const": "JobSet"},
    "metadata": METADATA,
    "spec": closed(
      {
        "replicatedJobs": {
          "type": "array",
          "minItems": 1,
          "items": closed(
            {"name": TEXT, "template": closed({"spec": {"type": "object"}})},
            replicas=WHOLE,
          ),
        }
      },
      network=closed(
        {},
        enableDNSHostnames={"type": "boolean"},
        subdomain=TEXT,
        publishNotReadyAddresses={"type": "boolean"},
      ),
      failurePolicy=closed(
        {}, maxRestarts=WHOLE, rules={"type": "array", "items": RULE}
      ),
    ),
  }
)


def validate(manifest):
  """Checks the JobSet, and the Job inside as Kubernetes does."""
  jsonschema.validate(manifest, JOB_SET)
  (replicated,) = manifest["spec"]["replicatedJobs"]
  job = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": manifest["metadata"],
    **replicated["template"],
  }
  version = kubernetes_validate.latest_version()
  kubernetes_validate.validate(job, version, strict=True)


def make_job(target="v6e:4x4", **options):
  given = dict(name="run", image="box", runs="10.0.0.2:/share") | options
  return Job(target=parse(target), arguments=("--config=c",), **given)


JOBS = [
  make_job(target, slices=slices, spot=spot, queue=queue)
  for target, slices, (spot, queue) in itertools.product(
    ["v4-32", "v5e-4", "v5p:4x4x4", "v6e-256", "tpu7x-8"],
    [1, 3],
    [(False, ""), (True, "q")],
  )
]


@pytest.mark.parametrize("job", JOBS[::2], ids=lambda job: job.target.name)
def test_a_jobset_is_valid(job):
  validate(gke.manifest(job))


def test_the_schemas_see_what_is_wrong():
  good = gke.manifest(make_job())
  validate(good)

  def broken(change):
    bad = copy.deepcopy(good)
    change(bad["spec"], bad["spec"]["replicatedJobs"][0]["template"]["spec"])
    return bad

  def pod(job):
    return job["template"]["spec"]

  wrongs = [
    lambda spec, job: spec.update(replicas=1),
    lambda spec, job: spec["failurePolicy"].update(maxRestarts=-1),
    lambda spec, job: spec["failurePolicy"]["rules"][0].update(action="Stop"),
    lambda spec, job: job.update(completionMode=3),
    lambda spec, job: job.update(paralellism=4),
    lambda spec, job: pod(job).update(nodeselector={}),
    lambda spec, job: pod(job)["containers"][0].pop("name"),
  ]
  for wrong in wrongs:
    with pytest.raises(
      (jsonschema.ValidationError, kubernetes_validate.ValidationError)
    ):
      validate(broken(wrong))


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.target.name)
def test_pods_hosts_chips_and_numbers_agree(job):
  manifest = gke.manifest(job)
  (replicated,) = manifest["spec"]["replicatedJobs"]
  spec = replicated["template"]["spec"]
  pod = spec["template"]["spec"]
  (container,) = pod["containers"]
  pods = replicated["replicas"] * spec["completions"]
  assert spec["parallelism"] == spec["completions"]
  assert spec["completionMode"] == "Indexed"
  chips = int(container["resources"]["limits"]["google.com/tpu"])
  assert pods * chips == job.target.chips * job.slices
  env = {entry["name"]: entry.get("value") for entry in container["env"]}
  assert int(env["JAX_NUM_PROCESSES"]) == pods
  # That is the first pod of the first slice, by the service of the JobSet.
  assert env["JAX_COORDINATOR_ADDRESS"] == "run-slice-0-0.run:8476"
  assert manifest["spec"]["network"]["subdomain"] == "run"
  # Every pod works out another number.
  setting = container["command"][-1].splitlines()[0]
  for index, host in [(0, 0), (job.slices - 1, spec["completions"] - 1)]:
    found = subprocess.run(
      ["bash", "-c", f"{setting}; echo $JAX_PROCESS_ID"],
      env={"JOB_INDEX": str(index), "JOB_COMPLETION_INDEX": str(host)},
      capture_output=True,
      text=True,
      check=True,
    )
    assert int(found.stdout) == index * spec["completions"] + host


def test_statuses_end_it_as_they_end_the_supervisor():
  manifest = gke.manifest(make_job())
  (replicated,) = manifest["spec"]["replicatedJobs"]
  spec = replicated["template"]["spec"]
  (rule,) = spec["podFailurePolicy"]["rules"]
  ending = rule["onExitCodes"]["values"]
  # Kubernetes refuses 0 in this place, as success is no failure.
  assert set(ending) == set(exits.FINAL) - {0}
  assert ending == sorted(ending)
  assert spec["backoffLimit"] == 0
  assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_pods_of_a_rayjob_are_valid():
  manifest = ray.manifest(make_job(slices=2))
  cluster = manifest["spec"]["rayClusterSpec"]
  (workers,) = cluster["workerGroupSpecs"]
  assert workers["replicas"] == 2
  assert workers["numOfHosts"] == 4
  for group in (cluster["headGroupSpec"], workers):
    pod = {
      "apiVersion": "v1",
      "kind": "Pod",
      "metadata": {"name": "x"},
      **group["template"],
    }
    version = kubernetes_validate.latest_version()
    kubernetes_validate.validate(pod, version, strict=True)
