"""Packing clips in plain files into a few large files.

Each shard is one job. It is written to a file of another name, which gets its
own once it is on the disk; then a note beside it says what is in it. A run that
was stopped skips the shards that have a note. The index comes last.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from trajvit.data import jobs
from trajvit.data.example import BrokenClip
from trajvit.data.formats import array_record, folder, tar
from trajvit.data.formats.make import Options, make_clip
from trajvit.data.manifest import Record, read_manifest
from trajvit.data.video_files import clip_place
from trajvit.data.whole_files import (
  expect,
  read_json,
  replacing,
  sha256,
  write_json,
)

CLIPS_PER_SHARD = 1000


@dataclasses.dataclass(frozen=True)
class Note:
  """What is in a finished shard.

  Attributes:
    plan: what the whole run was to do.
    shard: see folder.Shard, as a dict.
    skipped: {"record", "name", "reason"} of clips that could not be read.
  """

  plan: dict[str, Any]
  shard: dict[str, Any]
  skipped: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class _Job:
  """One shard.

  Attributes:
    number: of the shard, from 0.
    path: where it goes.
    container: "array_record" or "tar".
    records: (number, record, name, clip_id) of each clip.
    options: see Options.
    plan: see Note.
  """

  number: int
  path: str
  container: str
  records: tuple[tuple[int, Record, str, int], ...]
  options: Options
  plan: dict[str, Any]


def pack_records(
  records: Sequence[Record],
  root: str,
  out: str,
  options: Options,
  *,
  container: str = "array_record",
  shards: int | None = None,
  clips_per_shard: int | None = None,
  processes: int | None = None,
  beam: list[str] | None = None,
  progress: Callable = jobs.unchanged,
) -> folder.Index:
  """Packs clips in plain files, in their order.

  Equal files and options give equal shards, byte for byte, whoever makes them.

  Args:
    records: the clips.
    root: the folder from which on clips are named by their paths.
    out: the folder for the shards.
    options: what is done to clips.
    container: "array_record" or "tar".
    shards: how many; the default goes by `clips_per_shard`.
    clips_per_shard: 1000 if neither is given.
    processes: see `jobs.run_jobs`.
    beam: likewise.
    progress: wraps the iterator over the shards; see `jobs.run_jobs`.

  Returns:
    What the index says; clips that cannot be read are skipped, and listed.

  Raises:
    ValueError: an option is wrong, `out` holds shards of other clips or of
      other options, or see `make_clip`.
    OSError: a shard cannot be written.
  """
  if container not in folder.CONTAINERS:
    raise ValueError(
      f"format must be one of {', '.join(folder.CONTAINERS)}, got {container!r}"
    )
  rows = _rows(records, root)
  count = _shard_count(len(rows), shards, clips_per_shard)
  plan = {
    "format": folder.FORMAT,
    "version": folder.VERSION,
    "container": container,
    "options": {**dataclasses.asdict(options), "shards": count},
    "manifest": _hash(rows),
  }
  out = pathlib.Path(os.path.abspath(out))  # a cluster works elsewhere
  out.mkdir(parents=True, exist_ok=True)
  _check_plan(out, plan)
  # Of a run that was killed: a folder is for one run at a time.
  for partial in out.glob(".clips-*.partial"):
    partial.unlink()
  todo = [
    _Job(
      number=i,
      path=str(out / f"clips-{i:05d}-of-{count:05d}.{container}"),
      container=container,
      records=tuple(rows[_edge(i, rows, count) : _edge(i + 1, rows, count)]),
      options=options,
      plan=plan,
    )
    for i in range(count)
  ]
  notes = {job.path: _finished(job) for job in todo}
  made = jobs.run_jobs(
    _pack_shard,
    [job for job in todo if notes[job.path] is None],
    Note,
    folder=out,
    processes=processes,
    beam=beam,
    progress=progress,
  )
  notes |= {str(out / note.shard["file"]): note for note in made}
  in_order = [notes[job.path] for job in todo]
  index = folder.Index(
    container=container,
    options=plan["options"],
    manifest=plan["manifest"],
    shards=tuple(folder.Shard(**note.shard) for note in in_order),
    skipped=tuple(skip for note in in_order for skip in note.skipped),
  )
  folder.write_index(out, index)
  return index


def pack_manifest(
  manifest: str, out: str, options: Options, *, root: str = "", **arguments
) -> folder.Index:
  """Packs the clips of a manifest; `arguments` are those of `pack_records`.

  Args:
    manifest: see `data.manifest`.
    out: see `pack_records`.
    options: likewise.
    root: the folder that relative paths start from; "" is the manifest's own.
    **arguments: likewise.
  """
  base = manifest
  if not os.path.isdir(manifest):
    base = root or os.path.dirname(manifest) or "."
  records = read_manifest(manifest, root)
  return pack_records(records, base, out, options, **arguments)


def _rows(records, root) -> list[tuple[int, Record, str, int]]:
  """Returns number, record, name and clip_id of every clip."""
  places = sorted({clip_place(record) for record in records})
  clip_ids = {place: i for i, place in enumerate(places)}
  rows = []
  for number, record in enumerate(records):
    name = os.fsencode(os.path.relpath(record.path, root))
    paths = {
      key: value and os.path.abspath(value)
      for key in ("path", "mask", "graph")
      for value in [getattr(record, key)]
    }
    record = dataclasses.replace(record, **paths)
    # Names of files need not be Unicode, those of clips must.
    name = name.decode(errors="replace")
    rows.append((number, record, name, clip_ids[clip_place(records[number])]))
  return rows


def _hash(rows) -> str:
  """Returns the hash of a manifest, wherever its files lie."""
  digest = hashlib.sha256()
  for number, record, name, clip_id in rows:
    values = dataclasses.asdict(record)
    for key in ("path", "mask", "graph"):
      named = values.pop(key)
      if named:
        values[key] = os.path.relpath(named, os.path.dirname(record.path))
    row = [number, name, clip_id, values]
    digest.update(json.dumps(row, sort_keys=True).encode())
  return digest.hexdigest()


def _shard_count(clips, shards, clips_per_shard) -> int:
  if shards is not None and clips_per_shard is not None:
    raise ValueError("expected shards or clips per shard, got both")
  for name, value in (("shards", shards), ("clips_per_shard", clips_per_shard)):
    if value is not None and value < 1:
      raise ValueError(f"{name} must be at least 1, got {value}")
  if shards is not None:
    return min(shards, clips)
  return -(-clips // (clips_per_shard or CLIPS_PER_SHARD))


def _edge(shard, rows, count) -> int:
  """Returns the number of the first clip of a shard."""
  return shard * len(rows) // count


def _note_path(path: str) -> pathlib.Path:
  return pathlib.Path(f"{path}.json")


def _check_plan(out, plan) -> None:
  """Raises ValueError if a folder holds shards of another run."""
  for path in sorted(out.glob("clips-*.json")) + sorted(out.glob("index.json")):
    found = read_json(path)
    if path.name == folder.INDEX:
      found = {key: found.get(key) for key in plan}
    else:
      found = found.get("plan")
      expect(path, isinstance(found, dict), "a plan")
    differ = sorted(
      key
      for key in plan.keys() | found.keys()
      if plan.get(key) != found.get(key)
    )
    if differ:
      shown = ", ".join(
        f"{key} {found.get(key)!r:.200} in place of {plan.get(key)!r:.200}"
        for key in differ
      )
      raise ValueError(
        f"{out} holds shards of another run: {shown}; pack into another folder"
      )


def _finished(job) -> Note | None:
  """Returns the note of a shard that is there, or None."""
  path = _note_path(job.path)
  if not path.exists():
    return None
  values = read_json(path)
  shard = folder.read_shard(path, values.get("shard"))
  try:
    size = os.stat(job.path).st_size
  except FileNotFoundError:
    return None
  same = shard.file == os.path.basename(job.path) and shard.bytes == size
  skipped = values.get("skipped")
  if not same or not isinstance(skipped, list):
    return None
  return Note(job.plan, dataclasses.asdict(shard), skipped)


def _pack_shard(job: _Job) -> Note:
  """Writes a shard, and then its note."""
  skipped = []

  def clips():
    for number, record, name, clip_id in job.records:
      try:
        yield make_clip(record, name=name, clip_id=clip_id, options=job.options)
      except BrokenClip as broken:
        # Without the folder: where files lie must change no byte.
        reason = broken.reason.replace(os.path.dirname(record.path) + "/", "")
        skipped.append({"record": number, "name": name, "reason": reason})

  path = pathlib.Path(job.path)
  with replacing(path) as partial:
    if job.container == "tar":
      prefix = f"{job.number:05d}-"  # keys are different in all shards
      records, captioned = tar.write_shard(partial, clips(), prefix)
    else:
      records, captioned = array_record.write_shard(partial, clips())
    digest, size = sha256(partial), os.stat(partial).st_size
  shard = folder.Shard(path.name, records, captioned, size, digest)
  note = Note(job.plan, dataclasses.asdict(shard), skipped)
  write_json(_note_path(job.path), dataclasses.asdict(note))
  return note
