"""What a person reads after a check, and the files that it leaves."""

import json
import os
import pathlib
from collections.abc import Sequence

from trajvit.data.check.clip import ClipCheck
from trajvit.data.check.histogram import Histogram, table
from trajvit.data.manifest import Record


def summary(checks: Sequence[ClipCheck]) -> str:
  """Returns counts over all clips, and every broken one with its reason."""
  good = [check for check in checks if check.reason is None]
  names = {check.name for check in checks}
  lines = [
    f"clips      {len(checks)} of {len(names)} files",
    f"ok         {len(good)}",
    f"broken     {len(checks) - len(good)}",
    f"captions   {sum(check.captions for check in checks)}, "
    f"for {sum(check.captions > 0 for check in checks)} clips",
    _labels(checks),
    f"tracks     stored for {sum(c.stored_tracks for c in checks)} clips, "
    f"valid for {sum(c.stored_tracks for c in good)}",
  ]
  area = sorted((c.height * c.width, c.width, c.height) for c in good)
  area = [x for x in area if x[0]]
  if area:
    least, most = (f"{w}x{h}" for _, w, h in (area[0], area[-1]))
    lines.append(f"pixels     {least} to {most}")
  seconds = sorted(c.seconds for c in good if c.seconds is not None)
  if seconds:
    once = {(c.name, c.first): c.seconds or 0 for c in good}
    hours = sum(once.values()) / 3600
    lines.append(
      f"duration   {seconds[0]:.2f} to {seconds[-1]:.2f} s, "
      f"{hours:.2f} h in all"
    )
  return "\n".join(lines)


def bad_list(checks: Sequence[ClipCheck]) -> list[tuple[str, str]]:
  """Returns (name, reason) of every broken clip, each once."""
  broken = [(c.name, c.reason) for c in checks if c.reason is not None]
  return list(dict.fromkeys(broken))


def good_manifest(
  records: Sequence[Record], checks: Sequence[ClipCheck], root: str
) -> list[dict]:
  """Returns the records that can be read, as `read_manifest` reads them.

  Args:
    records: of a manifest.
    checks: of the same clips.
    root: the folder that the new manifest is read with.

  Returns:
    Objects with paths from `root`; classes are numbers.
  """
  return [
    _object(record, root)
    for record, check in zip(records, checks, strict=True)
    if check.reason is None
  ]


def write_lists(
  folder: str | os.PathLike,
  checks: Sequence[ClipCheck],
  manifests: Sequence[list[dict]],
) -> list[str]:
  """Writes `bad.txt`, and a manifest of the good clips of each source.

  A line of `bad.txt` is a name, a tab, and the reason.

  Args:
    folder: where to; it is made if need be.
    checks: of all clips.
    manifests: what `good_manifest` returned: one becomes `good.json`, several
      `good_1.json` and so on.

  Returns:
    The paths of those.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  bad = "".join(f"{name}\t{reason}\n" for name, reason in bad_list(checks))
  (folder / "bad.txt").write_text(bad, encoding="utf-8")
  names = ["good.json"]
  if len(manifests) != 1:
    names = [f"good_{i}.json" for i in range(1, len(manifests) + 1)]
  for name, objects in zip(names, manifests, strict=True):
    text = json.dumps(objects, indent=0, ensure_ascii=False)
    (folder / name).write_text(text + "\n", encoding="utf-8")
  return [str(folder / name) for name in names]


def write_histograms(
  folder: str | os.PathLike, found: Sequence[Histogram]
) -> None:
  """Writes `histograms.csv` and, if there are any, `histograms.png`."""
  folder = pathlib.Path(folder)
  (folder / "histograms.csv").write_text(table(found), encoding="utf-8")
  if found:
    from trajvit.data.check.figure import draw  # noqa: PLC0415 (slow)

    draw(found, folder / "histograms.png")


def _labels(checks) -> str:
  labels = {check.label for check in checks} - {-1}
  if not labels:
    return "labels     none"
  labelled = sum(check.label >= 0 for check in checks)
  return (
    f"labels     {len(labels)} classes from {min(labels)} to {max(labels)}, "
    f"for {labelled} clips"
  )


def _object(record: Record, root: str) -> dict:
  """A record as an object of a manifest."""
  kind = "image" if record.is_image else "video"
  values = {kind: os.path.relpath(record.path, root)}
  for key in ("mask", "graph"):
    if getattr(record, key):
      values[key] = os.path.relpath(getattr(record, key), root)
  if record.captions:
    values["caption"] = list(record.captions)
  if record.label >= 0:
    values["label"] = record.label
  if record.labels:
    values["labels"] = list(record.labels)
  if record.start:
    values["start"] = record.start
  if record.end is not None:
    values["end"] = record.end
  return values
