"""TFDS builders of two data sets, from the files that people already have.

  import tensorflow_datasets as tfds
  from trajvit.data.formats import tfds_builders

  builder = tfds_builders.Ucf101(data_dir=..., file_format="array_record")
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=...)
  )

Nothing is downloaded: `manual_dir` is the folder of the data set, laid out as
`trajvit.data.benchmarks` says. Neither writing nor reading needs TensorFlow,
since a video is kept as the bytes of its file, not as a `tfds.features.Video`.
"""

import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from trajvit.data.benchmarks import BENCHMARKS


class _BenchmarkBuilder(
  tfds.core.GeneratorBasedBuilder, skip_registration=True
):
  """Builds the splits of a benchmark, in the order of its lists.

  Attributes:
    benchmark: its name in BENCHMARKS.
    splits: those that are built.
    counts: whether they must hold what they are known to hold.
  """

  VERSION = tfds.core.Version("1.0.0")
  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    "manual_dir is the folder of the data set as it was released; see "
    "trajvit.data.benchmarks for its layout."
  )
  benchmark: ClassVar[str]
  splits: ClassVar[tuple[str, ...]]
  counts: ClassVar[bool] = True

  def described(self) -> dict[str, Any]:
    """Returns the features beside `video`, its bytes, and `name`."""
    raise NotImplementedError

  def _info(self) -> tfds.core.DatasetInfo:
    known = BENCHMARKS[self.benchmark]
    return tfds.core.DatasetInfo(
      builder=self,
      description=known.__doc__,
      features=tfds.features.FeaturesDict(
        {
          "video": tfds.features.Tensor(shape=(), dtype=np.object_),
          "name": tfds.features.Text(),
          **self.described(),
        }
      ),
      disable_shuffling=True,
    )

  def _split_generators(self, dl_manager) -> dict[str, Iterator]:
    root = pathlib.Path(dl_manager.manual_dir)
    return {
      split: self._generate_examples(root, split) for split in self.splits
    }

  def _generate_examples(self, root, split) -> Iterator[tuple[int, dict]]:
    """Yields number and features of every clip; each file must be there."""
    listing = BENCHMARKS[self.benchmark]().listing(
      str(root), split, counts=self.counts
    )
    for number, record in enumerate(listing.records):
      path = pathlib.Path(record.path)
      values = {
        "video": path.read_bytes(),
        "name": path.stem,
        "captions": list(record.captions),
        "label": record.label,
      }
      # Of captions and label a data set has one.
      yield number, {key: values[key] for key in self.info.features}


class MsrVtt(_BenchmarkBuilder):
  """MSR-VTT: 20 captions a clip; the lists of 9,000 and of 1k-A."""

  benchmark = "msrvtt"
  splits = ("train_9k", "test_1k_a")

  def described(self) -> dict[str, Any]:
    """Returns the feature of captions."""
    return {"captions": tfds.features.Sequence(tfds.features.Text())}


class Ucf101(_BenchmarkBuilder):
  """UCF101: 101 human actions; the first of its three lists."""

  benchmark = "ucf101"
  splits = ("train_1", "test_1")

  def described(self) -> dict[str, Any]:
    """Returns the feature of classes."""
    return {"label": tfds.features.ClassLabel(num_classes=101)}
