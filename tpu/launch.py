r"""Starts train.py on a pod, on a cluster, or as several processes right here.

  python -m tpu.launch --target=v6e:16x16 --way=gke --dry-run \
    --image=... --runs=10.0.0.2:/runs -- --config=... --workdir=/runs/mine
  python -m tpu.launch --local=2 -- --config=... --workdir=runs/mine

What stands behind the lone -- are the arguments of train.py. --dry-run shows
all files and commands and does nothing; --health checks the machines in place
of training; --stop gives back what a launch took. Run it from the project's
root.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from tpu import local
from tpu.job import Job, Launch, file
from tpu.targets import describe, parse
from tpu.ways import WAYS
from trajvit.training import exits

ROOT = Path(__file__).resolve().parent.parent


def show(launch: Launch) -> str:
  """Returns all that a launch would write and run, as text."""
  parts = []
  for name, text in launch.files.items():
    parts.append(f"--- {file(name)}\n{text.rstrip()}")
  for title in ("start", "watch", "stop"):
    lines = [shlex.join(words) for words in getattr(launch, title)]
    parts.append("\n".join([f"--- {title}", *lines]))
  return "\n".join(parts)


def do(launch: Launch, title: str) -> int:
  """Writes the files, and runs the commands of `title` up to one that fails.

  Returns its exit status, or 0. To stop, all are run: some may be gone already.
  """
  for name, text in launch.files.items():
    path = ROOT / file(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  failed = exits.FINISHED
  for words in getattr(launch, title):
    print(f"+ {shlex.join(words)}", flush=True)
    try:
      status = exits.shell_status(subprocess.run(words, cwd=ROOT).returncode)
    except FileNotFoundError:
      print(f"{words[0]} is not installed here", file=sys.stderr)
      status = exits.NOT_FOUND
    failed = failed or status
    if status and title == "start":
      break
  return failed


def start_here(words: list[str], count: int, dry_run: bool) -> int:
  """Runs `count` processes of Python on this machine; returns a status."""
  command = [sys.executable, *words]
  if not dry_run:
    return local.run(command, count)
  for environment in local.environments(count, local.free_port()):
    words = [f"{name}={value}" for name, value in environment.items()]
    print(shlex.join([*words, *command]))
  return exits.FINISHED


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = _parser()
  args = parser.parse_args(argv)
  try:
    if not (args.arguments or args.stop or args.health):
      raise ValueError("the arguments of train.py are missing, after --")
    if args.local is not None:
      program = ["-m", "tpu.health"] if args.health else ["train.py"]
      return start_here([*program, *args.arguments], args.local, args.dry_run)
    if not args.target or not args.way:
      raise ValueError("--target and --way are needed, or --local")
    job = Job(
      name=args.name,
      target=parse(args.target),
      arguments=tuple(args.arguments),
      slices=args.slices,
      project=args.project,
      zone=args.zone,
      image=args.image,
      runs=args.runs,
      cluster=args.cluster,
      queue=args.queue,
      reservation=args.reservation,
      spot=args.spot,
      health=args.health,
    )
    launch = WAYS[args.way](job)
  except ValueError as error:
    parser.error(str(error))
  for name, value in describe(job.target, job.slices).items():
    print(f"{name:17} {value}", file=sys.stderr)
  if args.dry_run:
    print(show(launch))
    return exits.FINISHED
  status = do(launch, "stop" if args.stop else "start")
  if not args.stop and not status:
    print("to see how it goes:")
    print("\n".join(shlex.join(words) for words in launch.watch))
  return status


def _parser():
  parser = argparse.ArgumentParser(
    prog="python -m tpu.launch",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  add = parser.add_argument
  add("--local", type=int, help="so many processes on this machine's CPU")
  add("--target", help="such as v5e:16x16; see python -m tpu.targets")
  add("--way", help=", ".join(sorted(WAYS)))
  add("--slices", type=int, default=1)
  add("--name", default="trajvit", help="of all that is created")
  add("--project", default="", help="of Google Cloud")
  add("--zone", default="", help="such as us-east5-a")
  add("--image", default="", help="container, see tpu/Dockerfile")
  add("--runs", default="", help="NFS export to mount at /runs, server:/path")
  add("--cluster", default="", help="of GKE, to create node pools in")
  add("--queue", default="", help="of Kueue")
  add("--reservation", default="")
  add("--spot", action="store_true")
  add("--health", action="store_true", help="run tpu.health, not train.py")
  add("--stop", action="store_true", help="give back what a launch took")
  add("--dry-run", action="store_true", help="show it, do nothing")
  add("arguments", nargs="*", help="of train.py")
  return parser


if __name__ == "__main__":
  sys.exit(main())
