"""The model card of an export: README.md, as the Hugging Face Hub reads it."""

import json

from trajvit.export.about import (
  About,
  data_name,
  model_index,
  origin_rows,
  scores,
  tracks_of,
)
from trajvit.export.accuracy_table import quantisation_lines
from trajvit.export.markdown import table
from trajvit.export.targets import TARGETS, preprocessing_of

CALLS = {
  "encode": "encoder.encode({})",
  "tokenize": "encoder.tokenize({})",
  "encode_text": 'encoder.encode_text(["a red square moves left"])',
}


def model_card(
  config: dict, preprocessing: dict, parity: dict, about: About
) -> str:
  """Returns what people need to know of an export, in Markdown.

  Args:
    config: what config.json holds.
    preprocessing: what preprocessor_config.json holds.
    parity: what parity.json holds.
    about: the run.
  """
  first, programs = next(iter(config["programs"].items()))
  tracks = "" if preprocessing["tracks"] is None else ", tracks"
  calls = [CALLS[name].format("video" + tracks) for name in programs]
  lines = [
    "---",
    *yaml_lines(_front_matter(config, about)),
    "---",
    "",
    f"# {about.name}",
    "",
    f"An encoder of {' and '.join(_reads(config))}, exported with trajvit.",
    "",
    *table(("", ""), _what_it_is(config, about)),
    "",
    "## What goes in",
    "",
    *_inputs(config, preprocessing_of(first, preprocessing)),
    "",
    "## With trajvit",
    "",
    *_code(["import trajvit", "", "encoder = trajvit.load(directory)", *calls]),
    "",
    "## Without trajvit",
    "",
    *_code(TARGETS[first].usage(programs).splitlines()),
    "",
    "## Programs",
    "",
    *table(("file", "target", "takes", "gives"), _programs(config)),
    "",
    "## Parity",
    "",
    "The largest absolute difference from the model in trajvit, on random "
    "clips and captions.",
    "",
    *table(("target", "program", "difference", "allowed"), _parity(parity)),
    *_quantisation(config, parity),
    *_evaluation(config, about),
  ]
  return "\n".join(lines) + "\n"


def yaml_lines(values: dict | list) -> list[str]:
  """Returns the lines of a YAML block; scalars are JSON, which YAML reads."""
  if isinstance(values, dict):
    pairs = [(f"{key}:", value) for key, value in values.items()]
  else:
    pairs = [("-", value) for value in values]
  lines = []
  for mark, value in pairs:
    if not isinstance(value, dict | list) or not value:
      lines.append(f"{mark} {json.dumps(value, ensure_ascii=False)}")
      continue
    first, *rest = inner = yaml_lines(value)
    if mark == "-":
      lines += [f"- {first}", *(f"  {line}" for line in rest)]
    else:
      lines += [mark, *(f"  {line}" for line in inner)]
  return lines


def _reads(config) -> list[str]:
  """What it encodes: video, text, or both."""
  programs = set().union(*config["programs"].values())
  video = ["video"] if programs - {"encode_text"} else []
  return video + (["text"] if "encode_text" in programs else [])


def _front_matter(config, about) -> dict:
  model = config["model"]
  names = [model["name"], model.get("tokenizer", {}).get("name")]
  values = {
    "library_name": "trajvit",
    "pipeline_tag": "feature-extraction",
    "tags": [
      *_reads(config),
      "jax",
      *config["programs"],
      *filter(None, names),
    ],
  }
  if about.license is not None:
    values["license"] = about.license
  # Results of whole weights are not those of quantised ones.
  index = [] if config.get("quantization") else model_index(about)
  return values | ({"model-index": index} if index else {})


def _what_it_is(config, about) -> list[tuple]:
  model, average = config["model"], ", moving average" if config["ema"] else ""
  rows = [("model", f"`{model['name']}`")]
  if "tokenizer" in model:
    rows.append(("tokenizer", f"`{model['tokenizer']['name']}`"))
  rows.append(("weights", f"step {config['step']}{average}"))
  if config.get("quantization"):
    rows.append(("quantised to", f"`{config['quantization']['name']}`"))
  if config["commit"] is not None:
    rows.append(("commit", f"`{config['commit']}`"))
  if about.origin is not None:
    rows += origin_rows(about.origin)
  return [*rows, ("written by", f"trajvit {config['versions']['trajvit']}")]


def _inputs(config, preprocessing) -> list[str]:
  frames, size = preprocessing["frames"], preprocessing["size"]
  step, lines = preprocessing["any_frames"].get("multiple_of"), []
  if "video" in _reads(config):
    others = f" Multiples of {step} frames can be given, too." if step else ""
    lines.append(
      f"- Clips: uint8 RGB [B, {frames}, {size}, {size}, 3] in [0, 255]; they "
      f"are normalised inside.{others}"
    )
  if preprocessing["tracks"] is not None:
    grid, count = (preprocessing["tracks"][x] for x in ("grid", "max_tracks"))
    lines.append(
      f"- Tracks: int32 [B, {frames}, {grid}, {grid}] in [0, {count}), or -1 "
      "for none: the region followed over time that owns a cell."
    )
  if preprocessing["text"] is not None:
    text = preprocessing["text"]
    lines.append(
      f"- Captions: ids of text tokenizer `{text['tokenizer']['name']}` and "
      f"their mask, [B, {text['length']}]."
    )
  return [*lines, "", "All of it is in `preprocessor_config.json`."]


def _programs(config) -> list[tuple]:
  return [
    (
      f"`{signature['file']}`",
      target,
      ", ".join(f"{x['name']} {_kind(x)}" for x in signature["inputs"]),
      _outputs(signature["outputs"]),
    )
    for target, programs in config["programs"].items()
    for signature in programs.values()
  ]


def _outputs(outputs) -> str:
  if "shape" in outputs:
    return _kind(outputs)
  return ", ".join(f"{name} {_kind(x)}" for name, x in outputs.items())


def _kind(x) -> str:
  return f"{x['dtype']} [{', '.join(map(str, x['shape']))}]"


def _parity(parity) -> list[tuple]:
  return [
    (target, name, f"{max(found.values()):.1e}", f"{report['tolerance']:.0e}")
    for target, report in parity.items()
    for name, found in report["max_abs_difference"].items()
  ]


def _quantisation(config, parity) -> list[str]:
  """The section on what it has cost, or nothing if there is none."""
  lines = quantisation_lines(config, parity)
  return ["", "## Quantisation", "", *lines] if lines else []


def _evaluation(config, about) -> list[str]:
  """The section on results, or nothing if there are none."""
  if not about.results:
    return []
  rows = [
    (
      key,
      data_name(result["manifest"]["data"]),
      tracks_of(result["manifest"]),
      ", ".join(f"{name} {x:g}" for name, x in scores(result).items()),
    )
    for key, result in about.results.items()
  ]
  before = "Measured before the weights were quantised."
  return [
    "",
    "## Evaluation",
    "",
    *([before, ""] if config.get("quantization") else []),
    *table(("evaluation", "data", "tracks", "metrics"), rows),
  ]


def _code(lines: list[str]) -> list[str]:
  return ["```python", *lines, "```"]
