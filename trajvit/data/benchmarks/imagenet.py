"""ImageNet-1k: photographs, one of 1000 classes of WordNet each."""

import importlib
import os
import pathlib
import re
import struct
import zlib

from trajvit.data.benchmarks.annotations import (
  name_inside,
  read_lines,
  read_table,
  shown,
)
from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.benchmarks.video_folder import media_by_stem
from trajvit.data.manifest import IMAGE_SUFFIXES, Record

_CLASS = re.compile(r"n\d{8}")
_IMAGES = "ILSVRC/Data/CLS-LOC"
_SOLUTION = "LOC_val_solution.csv"
_NAMES = "LOC_synset_mapping.txt"
_DEVKIT = "ILSVRC2012_devkit_t12/data"
_TRUTH = f"{_DEVKIT}/ILSVRC2012_validation_ground_truth.txt"


class ImageNet(Benchmark):
  """ImageNet-1k (ILSVRC 2012): images of 1000 classes, one frame each.

  Under `root`, or in its ILSVRC/Data/CLS-LOC/ as Kaggle unpacks it:

    train/<WordNet id>/*.JPEG
    val/<WordNet id>/*.JPEG, or val/ILSVRC2012_val_<number>.JPEG

  Of a flat val/ the classes are in LOC_val_solution.csv, or in
  ILSVRC2012_devkit_t12/data/, both in `root`. Labels are the ranks of the
  WordNet ids, as everywhere. Names are the first ones in
  LOC_synset_mapping.txt, a line of which is "<WordNet id> <name>, <name>", or
  in the devkit; without both they are the ids. Two pairs of classes share a
  first name, "crane" and "maillot": a better list for prompts has the same
  format and goes in the same place. Source: Russakovsky et al.,
  arXiv:1409.0575.
  """

  splits = {
    "train": Split("The training images.", {"clips": 1281167, "classes": 1000}),
    "val": Split(
      "The validation images: top-1 and top-5 accuracy of one central crop.",
      {"clips": 50000, "classes": 1000},
    ),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the images: class by class, of a flat folder as they are listed.

    Only a flat folder has a list, and can miss files.
    """
    folder = first_there(root, split, f"{_IMAGES}/{split}")
    if not folder.is_dir():
      raise ValueError(f"no folder {folder}")
    images = _class_folders(folder)
    if not images and split == "val":
      images = _flat(root, folder)
    if not images:
      raise ValueError(f"{folder}: expected folders named by WordNet ids")
    labels = {x: i for i, x in enumerate(sorted({x for x, _ in images}))}
    names = _names(root)
    records = [Record(path, True, label=labels[x]) for x, path in images]
    return Listing(tuple(records), tuple(names.get(x, x) for x in labels))


def _class_folders(folder) -> list[tuple[str, str]]:
  """(WordNet id, path) of the images in folders of classes."""
  return [
    (name, path)
    for name in sorted(os.listdir(folder))
    if _CLASS.fullmatch(name) and os.path.isdir(folder / name)
    for path in media_by_stem(folder / name, IMAGE_SUFFIXES).values()
  ]


def _flat(root, folder) -> list[tuple[str, str]]:
  """(WordNet id, path) of validation images that no folder tells apart."""
  listed = first_there(root, _SOLUTION, _TRUTH)
  if listed == root / _SOLUTION:
    images = _solution(listed)
  else:
    ids = {number: name for number, (name, _) in _devkit(root).items()}
    images = _truth(listed, ids)
  return [(name, str(folder / f"{stem}.JPEG")) for name, stem in images]


def _solution(path) -> list[tuple[str, str]]:
  """(WordNet id, stem) of rows such as "<stem>,<WordNet id> 1 2 3 4"."""
  images = []
  for where, row in read_table(path, ("ImageId", "PredictionString")):
    name = row["PredictionString"].split(" ")[0]
    images.append((_wordnet(where, name), name_inside(where, row["ImageId"])))
  return images


def _truth(path, ids) -> list[tuple[str, str]]:
  """(WordNet id, stem) of lines that number classes as the devkit does."""
  images = []
  for n, (where, line) in enumerate(read_lines(path), 1):
    if line not in ids:
      raise ValueError(
        f"{where}: expected the number of a class of the devkit, got {line!r}"
      )
    images.append((ids[line], f"ILSVRC2012_val_{n:08d}"))
  return images


def _names(root) -> dict[str, str]:
  """WordNet id -> the first of its names, where a file tells."""
  path = root / _NAMES
  if path.is_file():
    rows = [
      (where, *line.partition(" ")[::2]) for where, line in read_lines(path)
    ]
    named = {_wordnet(where, name): words for where, name, words in rows}
  elif (root / _DEVKIT / "meta.mat").is_file():
    named = dict(_devkit(root).values())
  else:
    named = {}
  return {x: words.split(",")[0].strip() or x for x, words in named.items()}


def _devkit(root) -> dict[str, tuple[str, str]]:
  """Number -> (WordNet id, names) of the classes in the devkit's meta.mat.

  What its hierarchy has above the classes is left out.
  """
  scipy_io = importlib.import_module("scipy.io")
  path = root / _DEVKIT / "meta.mat"
  try:
    synsets = scipy_io.loadmat(path, squeeze_me=True)["synsets"]
    return {
      str(x["ILSVRC2012_ID"]): (_wordnet(path, x["WNID"]), str(x["words"]))
      for x in synsets
      if x["num_children"] == 0
    }
  except FileNotFoundError:
    raise ValueError(f"{path}: expected this file, there is none") from None
  except (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    NotImplementedError,
    zlib.error,
    struct.error,
    scipy_io.matlab.MatReadError,
  ) as error:
    raise ValueError(f"{path}: expected synsets in it: {error}") from error


def _wordnet(where, name) -> str:
  if not isinstance(name, str) or not _CLASS.fullmatch(name):
    raise ValueError(f"{where}: expected a WordNet id, got {shown(name)}")
  return name
