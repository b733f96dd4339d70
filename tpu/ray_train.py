r"""Runs train.py on every host of slices of TPUs that a Ray cluster has.

  python -m tpu.ray_train --target=v6e:4x4 -- --config=... --workdir=...

Ray Train starts a worker a host, makes the processes find each other, and
starts all of them again after a failure.
"""

import argparse
import sys

from tpu.targets import TpuSlice, parse

# Ray counts a user's error like a machine that was taken away.
MOST_FAILURES = 10


def train(words: list[str]) -> None:
  """Runs train.py inside a worker, where Ray has joined the processes already.

  Raises:
    RuntimeError: it was stopped before its end, so that Ray starts it again.
  """
  # What imports jax must not be imported before the worker has its chips.
  from absl import flags  # noqa: PLC0415

  import train as script  # noqa: PLC0415

  flags.FLAGS(["train.py", *words])
  config = script.CONFIG.value.to_dict()
  if not script.train(config, script.WORKDIR.value):
    raise RuntimeError("the run was stopped before its end")


def scaling(target: TpuSlice, slices: int) -> dict:
  """Returns the arguments of Ray's ScalingConfig."""
  version = target.family.accelerator.replace("tpu7x", "v7x")
  config = {
    "use_tpu": True,
    "num_workers": slices * target.hosts,
    "resources_per_worker": {"TPU": target.chips_per_host},
    "accelerator_type": f"TPU-{version.upper()}",
  }
  if target.hosts > 1:
    config["topology"] = target.topology
  return config


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tpu.ray_train",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--target", required=True)
  parser.add_argument("--slices", type=int, default=1)
  parser.add_argument("--dry-run", action="store_true")
  parser.add_argument("arguments", nargs="+", help="of train.py")
  args = parser.parse_args(argv)
  try:
    config = scaling(parse(args.target), args.slices)
  except ValueError as error:
    parser.error(str(error))
  if args.dry_run:
    print(f"would train on {config}: {args.arguments}")
    return 0
  from ray.train import FailureConfig, RunConfig, ScalingConfig  # noqa: PLC0415
  from ray.train.v2.jax import JaxTrainer  # noqa: PLC0415

  JaxTrainer(
    train,
    train_loop_config=args.arguments,
    scaling_config=ScalingConfig(**config),
    run_config=RunConfig(
      failure_config=FailureConfig(max_failures=MOST_FAILURES)
    ),
  ).fit()
  return 0


if __name__ == "__main__":
  sys.exit(main())
