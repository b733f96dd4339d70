"""The processes of a run: how they find each other, and how all end as one.

They run one program in step. When one of them ends, the others would wait for
it in their next exchange of numbers, so the first error ends all of them, with
its status and its words: it is left with the service that they found each other
by, and every process looks for it there. One that is killed can leave nothing;
it is missed by its heartbeat, and then JAX ends the others.
"""

import atexit
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

import jax

from trajvit.compat import coordination_service
from trajvit.training import exits

PORT = 8476  # of the first process, where the environment names none
# Seconds, unless the environment or the caller has others.
JOIN = "TRAJVIT_JOIN_SECONDS", 300
HEARTBEAT = "TRAJVIT_HEARTBEAT_SECONDS", 100

FAILURE = "trajvit/failure"  # the key that the first to fail writes to
LOOK_EVERY = 1.0  # seconds
GRACE = 4.0  # seconds for others to read it, and to end by themselves


@dataclasses.dataclass(frozen=True)
class Environment:
  """A way in which a cluster tells a process of its peers.

  Attributes:
    name: what it is called.
    needs: the variables that it is known by.
    read: from all variables to arguments of `jax.distributed.initialize`; what
      is None there JAX finds out itself.
  """

  name: str
  needs: tuple[str, ...]
  read: Callable[[Mapping[str, str]], dict]


def _by_name(env):
  return dict(
    num_processes=_number(env, "JAX_NUM_PROCESSES"),
    process_id=_number(env, "JAX_PROCESS_ID"),
  )


def _indexed_job(env):
  # The index is that of the pod; how many there are no variable tells.
  return dict(
    num_processes=_number(env, "JAX_NUM_PROCESSES"),
    process_id=_number(env, "JOB_COMPLETION_INDEX"),
  )


def _tpu_pod(env):
  hosts = env["TPU_WORKER_HOSTNAMES"].split(",")
  slices = _number(env, "MEGASCALE_NUM_SLICES") or 1
  place = _number(env, "MEGASCALE_SLICE_ID") or 0
  first = env.get("MEGASCALE_COORDINATOR_ADDRESS", hosts[0]).split(":")[0]
  return dict(
    coordinator_address=f"{first}:{PORT}",
    num_processes=slices * len(hosts),
    process_id=place * len(hosts) + _number(env, "TPU_WORKER_ID"),
  )


def _torchrun(env):
  # torchrun itself listens at MASTER_PORT. It starts a process for every GPU,
  # or a single one that has them all.
  port = (_number(env, "MASTER_PORT") or PORT - 1) + 1
  local = _number(env, "LOCAL_RANK")
  alone = _number(env, "LOCAL_WORLD_SIZE") in (None, 1)
  return dict(
    coordinator_address=f"{env['MASTER_ADDR']}:{port}",
    num_processes=_number(env, "WORLD_SIZE"),
    process_id=_number(env, "RANK"),
    local_device_ids=None if alone or local is None else [local],
  )


def _slurm(env):
  # JAX makes the address from the list of nodes, and gives a process its GPU.
  return dict(
    num_processes=_number(env, "SLURM_NTASKS"),
    process_id=_number(env, "SLURM_PROCID"),
  )


ADDRESS = "JAX_COORDINATOR_ADDRESS"
# The first whose variables are all there is taken. ADDRESS goes before an
# address that a row makes.
ENVIRONMENTS = (
  Environment(
    "JAX's own variables",
    (ADDRESS, "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"),
    _by_name,
  ),
  Environment(
    "an indexed job of Kubernetes",
    (ADDRESS, "JAX_NUM_PROCESSES", "JOB_COMPLETION_INDEX"),
    _indexed_job,
  ),
  Environment("torchrun", ("MASTER_ADDR", "WORLD_SIZE", "RANK"), _torchrun),
  Environment(
    "Slurm",
    # Those that JAX knows it by: in the batch script itself one is missing.
    (
      "SLURM_JOB_ID",
      "SLURM_STEP_NODELIST",
      "SLURM_NTASKS",
      "SLURM_PROCID",
      "SLURM_LOCALID",
    ),
    _slurm,
  ),
  Environment("TPU hosts", ("TPU_WORKER_HOSTNAMES", "TPU_WORKER_ID"), _tpu_pod),
  Environment("a cluster that JAX knows", (ADDRESS,), _by_name),
)


def find_peers(env: Mapping[str, str]) -> dict | None:
  """Returns arguments of `jax.distributed.initialize`, or None for no peers.

  Args:
    env: the environment variables of the process.

  Raises:
    ValueError: a variable that should be a number is none, or the number of
      the process is not below their count.
  """
  for environment in ENVIRONMENTS:
    if not all(env.get(name) for name in environment.needs):
      continue
    found = environment.read(env)
    if env.get(ADDRESS):
      found["coordinator_address"] = env[ADDRESS]
    found = {name: x for name, x in found.items() if x is not None}
    count, index = found.get("num_processes"), found.get("process_id")
    if None not in (count, index) and not 0 <= index < count:
      raise ValueError(
        f"{environment.name}: the number of a process must be in [0, {count})"
        f", the count of them, got {index}"
      )
    return None if count == 1 else found
  return None


def join_processes(
  *, join_seconds: int | None = None, heartbeat_seconds: int | None = None
) -> None:
  """Joins the other processes of the run, where the environment names them.

  To be called before anything else of JAX. Ends the process, with a sentence,
  if the others do not come.

  Args:
    join_seconds: how long to wait for them; None = TRAJVIT_JOIN_SECONDS, or
      300.
    heartbeat_seconds: after how long one that is not heard of is taken for
      dead; None = TRAJVIT_HEARTBEAT_SECONDS, or 100.

  Raises:
    ValueError: an environment that makes no sense, see `find_peers`.
  """
  peers = find_peers(os.environ)
  if peers is None:
    return
  waited = _seconds(JOIN, join_seconds)
  stopped = threading.Event()
  # JAX would abort, with a stack of C++.
  timer = threading.Timer(waited, _give_up, [peers, waited])
  timer.daemon = True
  timer.start()
  jax.distributed.initialize(
    **peers,
    initialization_timeout=waited + 60,
    heartbeat_timeout_seconds=_seconds(HEARTBEAT, heartbeat_seconds),
  )
  timer.cancel()
  watcher = threading.Thread(target=_watch, args=[stopped], daemon=True)
  watcher.start()
  # Before JAX's own way out, which was registered when it was imported.
  atexit.register(lambda: (stopped.set(), watcher.join()))


def end_all(status: int, error: Exception) -> NoReturn:
  """Ends this process with `status`, and with it those that it has joined.

  Where another one has failed before, this error may follow from that, and the
  status is that of the other.

  Args:
    status: see `training.exits`.
    error: what happened; the others show it.
  """
  service = coordination_service()
  if service is None:
    sys.exit(status)
  client, index = service
  words = " ".join(f"{type(error).__name__}: {error}".split())
  failed = [{"process": index, "status": status, "words": words}]

  def tell():
    try:
      client.key_value_set(FAILURE, json.dumps(failed[0]))
    except jax.errors.JaxRuntimeError:
      # Another one was first, or the service has gone with the first process.
      failed.append(_failure(client) or failed[0])

  # It may not answer any more.
  telling = threading.Thread(target=tell, daemon=True)
  telling.start()
  telling.join(GRACE)
  _leave(failed[-1], index)


def _watch(stopped):
  """Ends this process once another one has failed."""
  client, index = coordination_service()
  while not stopped.wait(LOOK_EVERY):
    failed = _failure(client)
    if failed and failed["process"] != index:
      time.sleep(GRACE)  # the same error may be on its way here
      _leave(failed, index)


def _failure(client) -> dict | None:
  """What the first to fail left, or None."""
  try:
    return json.loads(client.key_value_try_get(FAILURE))
  except jax.errors.JaxRuntimeError:
    return None


def _leave(failed, index):
  """Ends this process without JAX's way out, which waits for all others."""
  print(
    f"process {index} ends all, or is ended: process {failed['process']} was "
    f"the first to fail ({exits.meaning(failed['status'])}): {failed['words']}",
    file=sys.stderr,
  )
  sys.stdout.flush()
  sys.stderr.flush()
  if index == 0:  # its end is that of the service
    time.sleep(GRACE)
  os._exit(failed["status"])


def _give_up(peers, waited):
  where = peers.get("coordinator_address", "an address that JAX found")
  print(
    f"process {peers.get('process_id', '?')} of "
    f"{peers.get('num_processes', '?')} has waited {waited} s for the others "
    f"at {where}: not all have been started, or they do not reach each other",
    file=sys.stderr,
    flush=True,
  )
  os._exit(exits.FAILED)


def _number(env, name):
  text = env.get(name)
  if not text:
    return None
  if not text.isdecimal():
    raise ValueError(f"{name} must be a whole number, got {text!r}")
  return int(text)


def _seconds(variable, given):
  name, default = variable
  if given is None:
    given = _number(os.environ, name)
  seconds = default if given is None else given
  if seconds < 1:
    raise ValueError(f"{name} must be at least 1, got {seconds}")
  return seconds
