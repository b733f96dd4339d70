"""The same work on many items: here, by processes, or on a cluster by Beam.

Whoever does it, results come back in the order of the items. Work on an item
must leave the same behind however often it is begun, since a cluster may try
twice.
"""

import argparse
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, TypeVar

from trajvit.data.whole_files import read_json, write_json

Result = TypeVar("Result")


def unchanged(results, total):
  """Shows no progress; see `run_jobs`."""
  del total
  return results


def run_jobs(
  work: Callable[[Any], Result],
  items: Sequence,
  result: type[Result],
  *,
  folder: str | os.PathLike,
  processes: int | None = None,
  beam: Sequence[str] | None = None,
  progress: Callable = unchanged,
) -> list[Result]:
  """Returns `work(item)` of every item, in their order.

  Args:
    work: a function that can be pickled, and then finds itself by its name.
    items: what it is given, which can be pickled, too.
    result: the dataclass that it returns, of values that JSON has.
    folder: where machines of a cluster leave results for this one, in a folder
      that goes away; nothing is written there without `beam`.
    processes: how many work at a time, None for one a processor core; 1 works
      in this process.
    beam: arguments of an Apache Beam pipeline, which then does the work.
    progress: wraps the iterator over the results, of which it is told how
      many.

  Raises:
    ValueError: of the first item whose work raised it; `processes` is below 1,
      or Beam is missing or does not know an argument.
  """
  if beam is not None:
    results = _run_beam(work, items, result, pathlib.Path(folder), beam)
    return list(progress(results, len(items)))
  processes = os.cpu_count() if processes is None else processes
  if processes < 1:
    raise ValueError(f"processes must be at least 1, got {processes}")
  if processes == 1 or len(items) < 2:
    return list(progress(map(work, items), len(items)))
  # Forked copies of a process that runs threads, as jax does, can hang.
  context = multiprocessing.get_context("spawn")
  processes = min(processes, len(items))
  with futures.ProcessPoolExecutor(processes, mp_context=context) as pool:
    return list(progress(pool.map(work, items), len(items)))


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Declares who does the work."""
  parser.add_argument("--processes", type=int, help="one a core by default")
  parser.add_argument(
    "--beam",
    nargs=argparse.REMAINDER,
    metavar="ARGUMENT",
    help="Apache Beam does the work: all that follows is for its pipeline, "
    "such as --runner DirectRunner; needs `pip install 'trajvit[beam]'`",
  )


def _run_beam(work, items, result, folder, arguments) -> list:
  """Like `run_jobs`; a run on a cluster returns nothing, so it writes files."""
  try:
    # Seconds to import, and missing without the extra.
    import apache_beam  # noqa: PLC0415
    from apache_beam.options import pipeline_options  # noqa: PLC0415
  except ImportError as error:
    raise ValueError(
      f"--beam needs `pip install 'trajvit[beam]'`: {error}"
    ) from error
  options = pipeline_options.PipelineOptions(list(arguments))
  known = options.get_all_options()
  given = options.get_all_options(retain_unknown_options=True)
  unknown = sorted(set(given) - set(known))
  if unknown:
    raise ValueError(f"Beam knows no argument {', '.join(unknown)}")
  if not items:
    return []
  folder.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(prefix=".jobs-", dir=folder) as name:
    results = pathlib.Path(os.path.abspath(name))
    job = functools.partial(_job, work=work, folder=results)
    with apache_beam.Pipeline(options=options) as pipeline:
      numbered = pipeline | apache_beam.Create(list(enumerate(items)))
      # Each item may go to another machine than its neighbour.
      _ = numbered | apache_beam.Reshuffle() | apache_beam.Map(job)
    return [
      _result(results / f"{number}.json", result)
      for number in range(len(items))
    ]


def _job(numbered, work, folder) -> None:
  """Does the work on one item, whose result becomes a file.

  A ValueError is a result: trying again would not help. Other errors are for
  Beam, which may try again.
  """
  number, item = numbered
  try:
    values = {"result": dataclasses.asdict(work(item))}
  except ValueError as error:
    values = {"error": str(error)}
  write_json(folder / f"{number}.json", values)


def _result(path, result):
  values = read_json(path)
  if "error" in values:
    raise ValueError(values["error"])
  return result(**values["result"])
