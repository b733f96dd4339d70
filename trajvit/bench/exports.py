"""`trajvit bench exports`: how long an encoder takes in each of its forms.

The first one named is what the others are compared with: a run, whose model
jax compiles as in training, and then its exports. All get the same clips and
captions, in turns, in one process.
"""

from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from trajvit.bench import machine, results, stopwatch
from trajvit.bench.results import Section
from trajvit.export.encoder import Encoder
from trajvit.export.load import load
from trajvit.export.parity import largest_difference, random_inputs

ABOUT = """\
*ms* is the median time of a call, from arrays on the host to results on the
host. *Faster* is the time of the first form over it. *Difference* is the
largest one of a number in the results from those of the first form. Clips and
captions are noise.
"""
HEADER = ("form", "program", "batch", "ms", "faster", "difference")


def add_arguments(parser):
  """Declares the arguments of the benchmark."""
  add = parser.add_argument
  add("paths", nargs="+", help="a run or an export, then others of the same")
  add("--batch", type=int, nargs="+", default=(1, 8), help="clips at a time")
  add("--programs", nargs="+", default=("encode", "encode_text"))
  add("--rounds", type=int, default=10, help="medians are over so many runs")
  add("--out", help="JSON file to write")
  add("--markdown", help="Markdown file to write")


def run(args):
  """Measures, prints the table and writes what was asked for.

  Raises:
    ValueError: the encoders do not read the same clips and captions, or lack a
      program.
  """
  about = machine.describe()
  preface = machine.header(about)
  print("\n".join(preface), flush=True)
  forms, sections = load_forms(args.paths), []
  for program in args.programs:
    sections.append(measure(forms, program, args.batch, args.rounds))
    print(f"\n{sections[-1].title}\n\n{sections[-1].text}", flush=True)
    results.write(
      sections,
      about,
      preface,
      title="Exports",
      about=ABOUT,
      out=args.out,
      markdown=args.markdown,
    )


def load_forms(paths: Sequence[str]) -> dict[str, Encoder]:
  """Returns the encoders in directories, each target of an export apart.

  Raises:
    ValueError: they do not read the same clips and captions.
  """
  forms = {}
  for path in paths:
    for target in load(path).config.get("programs", ("jit",)):
      runtime = None if target == "jit" else target
      forms[f"{Path(path).name} {target}"] = load(path, runtime)
  first, *others = forms
  for name in others:
    if _shapes(forms[name]) != _shapes(forms[first]):
      raise ValueError(f"{name} reads other clips or captions than {first}")
  return forms


def measure(
  forms: dict[str, Encoder],
  program: str,
  batches: Sequence[int],
  rounds: int,
) -> Section:
  """Returns the times of a program of all forms.

  Args:
    forms: by name, the first of which the others are compared with.
    program: such as "encode".
    batches: numbers of clips or captions at a time.
    rounds: how many times each is timed.

  Raises:
    ValueError: a form has no such program.
  """
  first, *_ = forms
  rows, cells = [], []
  for batch in batches:

    def inputs(seed, batch=batch):
      clip, text = random_inputs(batch, forms[first].preprocessing, seed)
      if program == "encode_text":
        return text.ids, text.mask
      return tuple(x for x in (clip.frames, clip.tracks) if x is not None)

    calls = {name: _call(form, program) for name, form in forms.items()}
    seconds, errors = stopwatch.alternate(calls, inputs, rounds=rounds)
    expected = calls[first](*inputs(0))
    for name, call in calls.items():
      row = dict(form=name, program=program, batch=batch)
      if name in errors:
        rows.append(row | dict(error=errors[name]))
        cells.append((f"{name}: {errors[name]}", program, str(batch), *"---"))
        continue
      row |= dict(
        ms=1e3 * seconds[name],
        faster=seconds[first] / seconds[name],
        difference=largest_difference(expected, call(*inputs(0))),
      )
      rows.append(row)
      cells.append(
        (
          name,
          program,
          str(batch),
          results.significant(row["ms"]),
          results.times(row["faster"]),
          f"{row['difference']:.1e}",
        )
      )
  return Section(
    program,
    rows,
    results.as_text(HEADER, cells),
    results.as_markdown(HEADER, cells),
  )


def _shapes(form: Encoder) -> list:
  """What clips and captions of random numbers depend on."""
  read = form.preprocessing
  text = read["text"] and (read["text"]["length"], read["text"]["vocab_size"])
  return [read["frames"], read["size"], read["tracks"], text]


def _call(form: Encoder, name: str):
  program = form.program(name)

  def call(*inputs):
    outputs = program(form.weights, *inputs)
    return jax.tree.map(np.asarray, outputs)

  return call
