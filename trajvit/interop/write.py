"""Converted models as run directories.

DIRECTORY/README.md            the model card
          origin.json          kind, config, names and shapes; the source's hash
          carried.safetensors  what the model does not read, for the way back
          config.json, packed.json, model.safetensors   see `training.packed`
          vocabulary.*, merges.*   of the text tokenizer, where there is one
"""

import hashlib
import json
from pathlib import Path

import trajvit
from trajvit.export import safetensors
from trajvit.export.about import ORIGIN, origin_rows
from trajvit.export.directory import new_directory
from trajvit.export.markdown import table
from trajvit.interop.convert import Report
from trajvit.interop.kinds import KINDS
from trajvit.interop.load import (
  ConvertedRun,
  plain_config,
  plan_of,
  to_torch,
)
from trajvit.interop.state_dict import write_state_dict
from trajvit.training.packed import write_packed
from trajvit.training.provenance import write_json
from trajvit.training.restore import restore_run
from trajvit.training.vocabulary import keep_files

CARRIED = "carried.safetensors"


def write_converted(
  run: ConvertedRun, report: Report, out: str | Path, *, source: str | Path
) -> None:
  """Writes a run directory that evaluations, exports and warm starts read.

  Args:
    run: of `load_torch`.
    report: likewise.
    out: the directory, which is there in whole or not at all.
    source: the file that the weights were read from.

  Raises:
    ValueError: `out` exists.
    FileNotFoundError: no file of the text tokenizer's vocabulary.
  """
  source = Path(source)
  origin = run.origin | {"source": source.name, "sha256": file_hash(source)}
  record = {
    "command": f"trajvit convert {source.name}",
    "step": run.step,
    "ema": run.ema,
    "meta": run.meta,
    "evals": {},
  }
  with new_directory(out, marker=ORIGIN) as directory:
    config = plain_config(run.plan)
    if run.plan.text is not None:
      config["data"]["text"] = keep_files(run.plan.text, directory)
    write_packed(directory, config, run.variables, record)
    write_json(directory / ORIGIN, origin)
    write_state_dict(directory / CARRIED, run.carried)
    card = model_card(run, report, origin)
    (directory / "README.md").write_text(card, encoding="utf-8")


def read_back(
  workdir: str | Path, like: str | Path | None = None
) -> dict[str, object]:
  """Returns the state dict of a run, for the code that it comes from.

  Args:
    workdir: of a converted run, or of one that was trained from it with the
      same model.
    like: the converted run whose names and unused arrays it gets; None is
      `workdir`.

  Raises:
    FileNotFoundError: no run, or `like` is not a converted one.
    ValueError: the models differ.
  """
  like = Path(workdir if like is None else like)
  if not (like / ORIGIN).exists():
    raise FileNotFoundError(f"{like} is no converted run: no {ORIGIN}")
  origin = json.loads((like / ORIGIN).read_text(encoding="utf-8"))
  plan = plan_of(origin)
  run = restore_run(workdir)
  found, expected = (
    json.loads(json.dumps(x)) for x in (run.config.model, plan.model)
  )
  if found != expected:
    raise ValueError(
      f"{workdir} has the model {found}, but {like} is of {expected}"
    )
  return to_torch(plan, run.variables, safetensors.read(like / CARRIED))


def model_card(run: ConvertedRun, report: Report, origin: dict) -> str:
  """Returns what people need to know of a converted model, in Markdown."""
  rows = [
    *origin_rows(origin),
    ("config given", f"`{json.dumps(origin['config'])}`"),
    ("arrays used", f"{len(report.used)} of {len(origin['shapes'])}"),
    ("written by", f"trajvit {trajvit.__version__}"),
  ]
  lines = [
    f"# {origin['source']}, converted",
    "",
    KINDS[origin["kind"]].summary,
    "",
    *table(("", ""), rows),
    "",
    *(f"- {note}" for note in run.plan.notes),
  ]
  for title, names in {
    "Not read": report.unused,
    "Not in the source: initial values": report.fresh,
    "Unknown, as allowed": dict.fromkeys(report.extra, ""),
    "Missing, as allowed: initial values": dict.fromkeys(report.missing, ""),
  }.items():
    if names:
      lines += ["", f"## {title}", ""]
      lines += [
        f"- `{name}`{': ' if why else ''}{why}" for name, why in names.items()
      ]
  return "\n".join(lines).rstrip() + "\n"


def file_hash(path: str | Path) -> str:
  """Returns the SHA-256 of a file, as 64 hexadecimal digits."""
  with open(path, "rb") as file:
    return hashlib.file_digest(file, "sha256").hexdigest()
