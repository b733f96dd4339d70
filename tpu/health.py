r"""Checks every chip and the wires between them, before a long run trusts them.

  python -m tpu.health                                # on every host of a pod
  JAX_PLATFORMS=cpu python -m tpu.health --size=64    # anywhere

Each chip multiplies matrices of small integers, of which the product is known
to the last bit, several times. Then each tells all others a number, and all add
them up. Names what is wrong, and ends with 1; waits for hosts that do not come.
"""

import argparse
import functools
import socket
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from trajvit.training.processes import join_processes


def name_of(device) -> str:
  """Returns what a person needs to find a chip: host, number, place."""
  place = getattr(device, "coords", None)
  where = f" at {tuple(place)}" if place else ""
  return (
    f"chip {device.id} ({device.device_kind}{where}) of host "
    f"{device.process_index}"
  )


def matrices(size: int, seed: int):
  """Returns (a, b, a @ b), each [size, size] float32 and whole numbers.

  They are below 3, so that products of up to 2**20 terms are exact, however the
  sum is ordered and though the factors are rounded to bfloat16.
  """
  rng = np.random.default_rng(seed)
  a, b = rng.integers(-2, 3, (2, size, size)).astype(np.float32)
  return a, b, a @ b


@jax.jit
def multiply(a, b):
  """Returns the product of [N, N] and [N, N], as trained models multiply."""
  a, b = a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)
  return jnp.matmul(a, b, preferred_element_type=jnp.float32)


def check_products(devices, *, size=1024, repeats=8, product=multiply) -> list:
  """Returns a sentence for each of `devices` that multiplies wrongly."""
  wrong = []
  for device in devices:
    a, b, expected = matrices(size, seed=device.id)
    on_device = jax.device_put((a, b), device)
    for trial in range(repeats):
      found = np.asarray(product(*on_device))
      bad = int((found != expected).sum())
      if bad:
        wrong.append(
          f"{name_of(device)} multiplies wrongly: {bad} of {size * size} "
          f"numbers, at trial {trial + 1}"
        )
        break
  return wrong


def exchange(devices) -> list[tuple]:
  """Makes every device tell its number to all, and add up those of all.

  Args:
    devices: of all hosts; each host calls this.

  Returns:
    (device, numbers [N], their sum) for each device of this host, as the device
    has them: number i is what came from device i.
  """
  mesh = Mesh(np.array(devices), ("all",))
  split = NamedSharding(mesh, PartitionSpec("all"))
  whole = NamedSharding(mesh, PartitionSpec())
  numbers = expected_numbers(len(devices))
  given = jax.make_array_from_callback(
    numbers.shape, split, lambda index: numbers[index]
  )
  collect = functools.partial(jax.jit, out_shardings=whole)
  gathered = collect(lambda x: x)(given)
  added = collect(lambda x: x.sum())(given)
  return [
    (one.device, np.asarray(one.data), float(np.asarray(total.data)))
    for one, total in zip(
      gathered.addressable_shards, added.addressable_shards, strict=True
    )
  ]


def expected_numbers(count: int) -> np.ndarray:
  """Returns what each device tells, [count] float32.

  Small whole numbers, so that the sum is exact for 2**16 devices too.
  """
  return 2.0 ** (np.arange(count, dtype=np.float32) % 8)


def check_exchange(devices, received) -> list[str]:
  """Returns a sentence for each device that told or heard something wrong.

  Args:
    devices: of all hosts.
    received: of `exchange`.
  """
  expected = expected_numbers(len(devices))
  wrong = []
  for device, numbers, total in received:
    for index in np.flatnonzero(numbers != expected):
      wrong.append(
        f"{name_of(device)} got {numbers[index]} from "
        f"{name_of(devices[index])} in place of {expected[index]}"
      )
    if total != expected.sum():
      wrong.append(
        f"{name_of(device)} adds up to {total} in place of {expected.sum()}"
      )
  return wrong


def main(argv: list[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tpu.health",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--size", type=int, default=1024, help="of the matrices")
  parser.add_argument("--repeats", type=int, default=8)
  parser.add_argument("--dry-run", action="store_true")
  args = parser.parse_args(argv)
  if args.dry_run:
    print(
      f"would multiply {args.repeats} x two [{args.size}, {args.size}] on each "
      "chip of this host, and exchange numbers between all chips of all hosts"
    )
    return 0
  join_processes()
  host = f"host {jax.process_index()} ({socket.gethostname()})"
  mine, all_of_them = jax.local_devices(), jax.devices()
  wrong = check_products(mine, size=args.size, repeats=args.repeats)
  print(f"{host}: {len(mine)} chips have multiplied", flush=True)
  wrong += check_exchange(all_of_them, exchange(all_of_them))
  for sentence in wrong:
    print(f"{host}: {sentence}")
  verdict = f"{len(wrong)} faults" if wrong else "healthy"
  print(f"{host}: {len(mine)} of {len(all_of_them)} chips are here; {verdict}")
  return 1 if wrong else 0


if __name__ == "__main__":
  sys.exit(main())
