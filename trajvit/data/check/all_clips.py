"""Checking all clips of a source, in parallel."""

import dataclasses
import functools
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent import futures

from trajvit.data import jobs
from trajvit.data.build import build_source
from trajvit.data.check.clip import ClipCheck, Inspector, Settings
from trajvit.data.example import Source
from trajvit.data.formats import verify_shards
from trajvit.data.formats.folder import INDEX
from trajvit.data.video_files import FileClips

_CLIPS_PER_PART = 64


@dataclasses.dataclass(frozen=True)
class _Part:
  """Some clips of a source.

  Attributes:
    spec: of the source, as JSON.
    settings: see Settings.
    indices: which clips.
    threads: how many are read at once.
  """

  spec: str
  settings: Settings
  indices: tuple[int, ...]
  threads: int


@dataclasses.dataclass(frozen=True)
class _Checked:
  """The ClipChecks of a part, as dicts."""

  rows: list[dict]


def check_source(
  spec: dict,
  settings: Settings,
  *,
  processes: int | None = None,
  threads: int | None = None,
  beam: Sequence[str] | None = None,
  folder: str | None = None,
  progress: Callable = jobs.unchanged,
) -> list[ClipCheck]:
  """Returns what each clip of a source is, in its order.

  Files that several records name are read once for all of them.

  Args:
    spec: of SOURCES, of values that JSON has.
    settings: how clips are looked at.
    processes: how many work at a time, None for one a processor core, but not
      for so few clips that starting them takes longer.
    threads: how many clips a process reads at once; None for one a core if
      there is one process, else 1.
    beam: see `jobs.run_jobs`.
    folder: where a cluster leaves results, which `beam` needs.
    progress: wraps the iterator over parts of the clips; see `jobs.run_jobs`.

  Raises:
    ValueError: a wrong spec, or a number below 1.
  """
  text, source = json.dumps(spec), open_source(spec, settings)
  same = _first_alike(source)
  indices = sorted(set(same))
  parts = [
    tuple(indices[i : i + _CLIPS_PER_PART])
    for i in range(0, len(indices), _CLIPS_PER_PART)
  ]
  if threads is None:
    alone = processes == 1 or len(parts) == 1
    threads = (os.cpu_count() or 1) if alone and beam is None else 1
  if threads < 1:
    raise ValueError(f"threads must be at least 1, got {threads}")
  if beam is not None and folder is None:
    raise ValueError("a cluster needs a folder to leave its results in")
  checked = jobs.run_jobs(
    _check_part,
    [_Part(text, settings, part, threads) for part in parts],
    _Checked,
    folder=folder or tempfile.gettempdir(),
    processes=processes,
    beam=beam,
    progress=progress,
  )
  rows = (ClipCheck(**row) for part in checked for row in part.rows)
  checks = dict(zip(indices, rows, strict=True))
  return [
    dataclasses.replace(checks[first], first=first, **_own(source, index))
    for index, first in enumerate(same)
  ]


def damaged_shards(spec: dict) -> list[str]:
  """Returns a line for every packed file that is not what was packed.

  Args:
    spec: of SOURCES; shards without an index have no sums to compare.
  """
  root = spec.get("root", "")
  packed = spec.get("name") in ("array_record", "webdataset")
  if not packed or not os.path.isfile(os.path.join(root, INDEX)):
    return []
  return verify_shards(root)


def open_source(spec: dict, settings: Settings) -> Source:
  """Returns the source that `check_source` reads.

  Raises:
    ValueError: a wrong spec.
  """
  return _open(json.dumps(spec), settings)


@functools.lru_cache(maxsize=1)  # a process checks many parts of one source
def _open(spec: str, settings: Settings) -> Source:
  return build_source(json.loads(spec), settings.spec)


def _check_part(part: _Part) -> _Checked:
  inspector = Inspector(_open(part.spec, part.settings), part.settings)
  if part.threads == 1:
    checks = map(inspector.check, part.indices)
    return _Checked([dataclasses.asdict(check) for check in checks])
  with futures.ThreadPoolExecutor(part.threads) as pool:
    checks = pool.map(inspector.check, part.indices)
    return _Checked([dataclasses.asdict(check) for check in checks])


def _first_alike(source: Source) -> list[int]:
  """Returns the first clip of the same file and extent, for each clip."""
  if not isinstance(source, FileClips):
    return list(range(len(source)))
  first = {}
  return [
    first.setdefault((r.path, r.start, r.end, r.mask, r.graph), index)
    for index, r in enumerate(source.records)
  ]


def _own(source: Source, index: int) -> dict:
  """What records of one file need not share."""
  if not isinstance(source, FileClips):
    return {}
  record = source.records[index]
  return dict(captions=len(record.captions), label=record.label)
