"""What is to be trained where, and what a way to launch makes of it."""

import dataclasses
import re
import shlex

from tpu.targets import GpuNodes, TpuSlice

# Where the processes of a run find each other.
PORT = 8476
# Where every host sees the run directories.
RUNS = "/runs"
# Seconds from the notice that a machine goes away to its end, to save in.
GRACE_SECONDS = 300
# Restarts of a host in a row without a checkpoint: each may be spent on waiting
# for another host that is being replaced.
TRIES = 20


@dataclasses.dataclass(frozen=True)
class Job:
  """A run of train.py, or of the health check, on a target.

  Attributes:
    name: of everything that is created for it.
    target: one slice of TPUs, or all nodes of GPUs.
    arguments: of what is run.
    slices: how many slices of TPUs, joined by the data-centre network.
    project: of Google Cloud.
    zone: of the machines, such as us-east5-a.
    image: of a container that has the project, see tpu/Dockerfile.
    runs: NFS export "server:/path", mounted at RUNS on every host.
    cluster: of GKE, whose node pools are to be created; "" if there are some.
    queue: of Kueue, or "".
    reservation: to take the machines from, or "".
    spot: machines that are cheap and may be taken away.
    health: check the machines rather than train.
  """

  name: str
  target: TpuSlice | GpuNodes
  arguments: tuple[str, ...]
  slices: int = 1
  project: str = ""
  zone: str = ""
  image: str = ""
  runs: str = ""
  cluster: str = ""
  queue: str = ""
  reservation: str = ""
  spot: bool = False
  health: bool = False

  def __post_init__(self):
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", self.name):
      raise ValueError(
        "a name must be up to 40 of a-z, 0-9 and -, from a letter on, got "
        f"{self.name!r}"
      )
    if self.slices < 1:
      raise ValueError(f"slices must be at least 1, got {self.slices}")
    if self.slices > 1 and isinstance(self.target, GpuNodes):
      raise ValueError("GPUs come in nodes, not in slices: name more of them")
    if self.spot and self.reservation:
      raise ValueError("machines are either spot or from a reservation")

  @property
  def hosts(self) -> int:
    """Machines in all slices."""
    return self.slices * self.target.hosts

  @property
  def region(self) -> str:
    """Where the zone is."""
    return self.zone.rpartition("-")[0]

  @property
  def words(self) -> list[str]:
    """What Python is to run in each process, and its arguments."""
    program = ["-m", "tpu.health"] if self.health else ["train.py"]
    return [*program, *self.arguments]

  @property
  def command(self) -> str:
    """The command of a process, as a line of shell."""
    return shlex.join(["python", *self.words])

  @property
  def supervised(self) -> str:
    """The same under the supervisor, where nothing else starts it again."""
    if self.health:
      return self.command
    options = f"--restarts={TRIES} --grace={GRACE_SECONDS}"
    return f"python -m tpu.supervise {options} -- {self.command}"

  def need(self, *names: str) -> None:
    """Checks that these are set.

    Raises:
      ValueError: one is not.
    """
    missing = [f"--{name}" for name in names if not getattr(self, name)]
    if missing:
      raise ValueError(f"this way needs {', '.join(missing)}")

  def need_tpu(self) -> TpuSlice:
    """Returns the target.

    Raises:
      ValueError: it is no TPU.
    """
    if isinstance(self.target, TpuSlice):
      return self.target
    raise ValueError(f"this way is for TPUs, and {self.target.name} is none")


@dataclasses.dataclass(frozen=True)
class Launch:
  """What a way does for a job.

  Attributes:
    start: commands, in order.
    watch: commands that show how it goes.
    stop: commands that give back what `start` took, in order.
    files: name -> text, written before; commands name them as `file(name)`.
  """

  start: list[list[str]]
  watch: list[list[str]]
  stop: list[list[str]]
  files: dict[str, str] = dataclasses.field(default_factory=dict)


def file(name: str) -> str:
  """Returns the path of a file of `Launch.files`, from the project's root."""
  return f"runs/launch/{name}"
