"""COCO and Flickr30k: still images with five captions or so each."""

import pathlib
from collections.abc import Collection, Iterable, Iterator

from trajvit.data.benchmarks.annotations import (
  field,
  name_inside,
  nonblank,
  read_json,
)
from trajvit.data.benchmarks.benchmark import Benchmark, Listing, Split
from trajvit.data.benchmarks.layouts import first_there
from trajvit.data.manifest import Record

_EVERY_CAPTION = (
  "t2i R@1/5/10 and median rank of every caption as a query among {:,} images; "
  "i2t by the best ranked of an image's captions."
)


def _split(protocol: str, images: int, captions: int) -> Split:
  counts = {"clips": images, "files": images, "captions": captions}
  return Split(protocol, counts)


class CocoCaptions(Benchmark):
  """COCO captions: images of everyday scenes with five captions or more each.

  Under `root`, the release, and dataset_coco.json of Karpathy's lists:

    annotations/captions_train2017.json, captions_val2017.json
                {"images": [{"id", "file_name"}],
                 "annotations": [{"image_id", "caption"}]}
    train2017/, val2017/    of the splits train2017 and val2017
    dataset_coco.json       {"images": [{"filepath", "filename", "split",
                             "sentences": [{"raw"}]}]}
    train2014/, val2014/    of the splits karpathy_*

  Sources: Chen et al., arXiv:1504.00325; the lists: Karpathy and Fei-Fei,
  arXiv:1412.2306.
  """

  splits = {
    "karpathy_train": _split(
      "To train on, the images of the list's `train` and `restval`.",
      *(113287, 566747),
    ),
    "karpathy_val": _split(_EVERY_CAPTION.format(5000), 5000, 25010),
    "karpathy_test": _split(
      "The 5k test: " + _EVERY_CAPTION.format(5000), 5000, 25010
    ),
    "train2017": _split("To train on, the official list.", 118287, 591753),
    "val2017": _split(_EVERY_CAPTION.format(5000), 5000, 25014),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the images of a split; see Benchmark."""
    if split in ("train2017", "val2017"):
      listed = root / "annotations" / f"captions_{split}.json"
      return _listing(root, _official(listed, split))
    part = split.removeprefix("karpathy_")
    parts = ("train", "restval") if part == "train" else (part,)
    return _listing(root, _karpathy(root / "dataset_coco.json", parts))


class Flickr30k(Benchmark):
  """Flickr30k: images of people and animals with five captions each.

  Under `root`:

    dataset_flickr30k.json   of Karpathy's lists, as COCO's
    flickr30k-images/        <number>.jpg

  Sources: Young et al., TACL 2014; the lists: Karpathy and Fei-Fei,
  arXiv:1412.2306.
  """

  splits = {
    "train": _split("To train on.", 29000, 145000),
    "val": _split(_EVERY_CAPTION.format(1014), 1014, 5070),
    "test": _split("The 1k test: " + _EVERY_CAPTION.format(1000), 1000, 5000),
  }

  def read(self, root: pathlib.Path, split: str) -> Listing:
    """Returns the images of a split; see Benchmark."""
    listed = root / "dataset_flickr30k.json"
    folder = first_there(root, "flickr30k-images", "flickr30k_images")
    return _listing(root, _karpathy(listed, (split,), folder.name))


def _listing(
  root: pathlib.Path, images: Iterable[tuple[str, str, list[str]]]
) -> Listing:
  """A record for every (folder, file name, captions).

  Raises:
    ValueError: one of the folders is missing.
  """
  images = list(images)
  for folder in sorted({folder for folder, _, _ in images}):
    if not (root / folder).is_dir():
      raise ValueError(f"no folder {root / folder}")
  return Listing(
    tuple(
      Record(str(root / folder / name), True, nonblank(captions))
      for folder, name, captions in images
    )
  )


def _karpathy(
  path: pathlib.Path, parts: Collection[str], folder: str = ""
) -> Iterator[tuple[str, str, list[str]]]:
  """Yields (folder, file name, captions) of the images in `parts`.

  Images are in `folder`, or where it is "", in the one that each entry names.
  """
  entries = field(str(path), read_json(path, dict), "images", list)
  for i, entry in enumerate(entries):
    where = f"{path}, image {i}"
    if field(where, entry, "split", str) not in parts:
      continue
    name = name_inside(where, field(where, entry, "filename", str))
    sentences = field(where, entry, "sentences", list)
    captions = [field(where, sentence, "raw", str) for sentence in sentences]
    named = folder or name_inside(where, field(where, entry, "filepath", str))
    yield named, name, captions


def _official(
  path: pathlib.Path, folder: str
) -> list[tuple[str, str, list[str]]]:
  """Returns (folder, file name, captions) of all images, in their order."""
  data, captions, names = read_json(path, dict), {}, {}
  for i, entry in enumerate(field(str(path), data, "images", list)):
    where = f"{path}, image {i}"
    number = field(where, entry, "id", int)
    names[number] = name_inside(where, field(where, entry, "file_name", str))
    captions[number] = []
  for i, entry in enumerate(field(str(path), data, "annotations", list)):
    where = f"{path}, caption {i}"
    number = field(where, entry, "image_id", int)
    if number not in captions:
      raise ValueError(f"{where}: expected one of the images, got {number}")
    captions[number].append(field(where, entry, "caption", str))
  return [(folder, names[number], texts) for number, texts in captions.items()]
