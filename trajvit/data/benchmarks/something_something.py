"""Something-Something v2: what hands do with whatever thing."""

import pathlib

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  read_json,
  read_table,
  shown,
)
from trajvit.data.benchmarks.benchmark import Listing, Split
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.benchmarks.video_benchmark import VideoBenchmark
from trajvit.data.manifest import Record

_VIEWS = (
  "top-1 and top-5 accuracy, over 2 x 3 views (clips x crops) unless said"
)


class SomethingSomethingV2(VideoBenchmark):
  """Something-Something v2: 174 templates such as "Pushing something".

  Under `root`:

    20bn-something-something-v2/<id>.webm
    labels/{train,validation,test}.json   with id and, but for test, template
    labels/labels.json                    template -> label, in quotes
    labels/test-answers.csv               "<id>;<template>" a line

  The lists of the first distribution, something-something-v2-<list>.json in
  `root`, are read as well. Without the answers, which were published later,
  the labels of the test list are -1. Templates keep the word "something"; what
  the thing was, `placeholders`, is not read, as it would tell a text model the
  answer. Source: Goyal et al., arXiv:1706.04261.
  """

  folders = ("20bn-something-something-v2", "videos")
  suffix = ".webm"
  splits = {
    "train": Split("The training list.", {"clips": 168913, "classes": 174}),
    "validation": Split(
      f"The validation list: {_VIEWS}.", {"clips": 24777, "classes": 174}
    ),
    "test": Split(
      "The test list, whose answers came later: top-1 and top-5 accuracy.",
      {"clips": 27157, "classes": 174},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the clips, in the order of the list."""
    numbered = _list(root, "labels")
    labels = _labels(numbered, read_json(numbered, dict))
    path = _list(root, split)
    answers = _answers(root) if split == "test" else None
    video, records = self.finder(root), []
    for n, entry in enumerate(read_json(path, list), 1):
      where = f"{path}, entry {n}"
      name = name_inside(where, field(where, entry, "id", str))
      if split != "test":
        template = field(where, entry, "template", str)
        label = _label(where, labels, template)
      else:
        label = _answer(where, labels, answers, name)
      records.append(Record(video(name), False, label=label))
    return Listing(tuple(records), tuple(labels))


def _list(root, name) -> pathlib.Path:
  old = f"something-something-v2-{name}.json"
  return first_there(root, f"labels/{name}.json", f"labels/{old}", old)


def _labels(path, numbers) -> dict[str, int]:
  """Template -> label, in the order of the labels."""
  labels = {name: str(number) for name, number in numbers.items()}
  order = {str(label): label for label in range(len(labels))}
  if set(labels.values()) != set(order):
    raise ValueError(
      f"{path}: expected labels 0 to {len(labels) - 1}, each once, "
      f"got {shown(numbers)}"
    )
  return dict(
    sorted(((name, order[x]) for name, x in labels.items()), key=lambda x: x[1])
  )


def _label(where, labels, template) -> int:
  """The label of "Pushing [something]", in which brackets mean nothing."""
  name = template.replace("[", "").replace("]", "")
  if name not in labels:
    raise ValueError(
      f"{where}: expected one of {len(labels)} templates, got {shown(template)}"
    )
  return labels[name]


def _answers(root) -> dict[str, tuple[str, str]] | None:
  """Id -> (where, template) of the test list, or None if there are none."""
  path = root / "labels" / "test-answers.csv"
  if not path.is_file():
    return None
  rows = read_table(
    path, ("id", "template"), header=False, delimiter=";", quoted=False
  )
  return {row["id"]: (where, row["template"]) for where, row in rows}


def _answer(where, labels, answers, name) -> int:
  if answers is None:
    return -1
  if name not in answers:
    raise ValueError(f"{where}: expected an answer for {name}, there is none")
  return _label(answers[name][0], labels, answers[name][1])
