"""The Source of a benchmark's own files."""

from trajvit.data.benchmarks import BENCHMARKS
from trajvit.data.example import ClipSpec
from trajvit.data.video_files import FileClips


class BenchmarkFiles(FileClips):
  """Clips of a split of a public data set, in the layout of its release.

  Attributes:
    protocol: one sentence on what the split is and what is measured on it.
    classes: the names of the classes, by label.
  """

  def __init__(
    self,
    *,
    clip: ClipSpec,
    benchmark: str,
    root: str,
    split: str,
    tracks: str = "auto",
    counts: bool = True,
  ):
    """Lists the split; files are opened when their clip is asked for.

    Args:
      clip: how every clip looks.
      benchmark: a name in BENCHMARKS.
      root: the folder of the data set.
      split: one of the benchmark's.
      tracks: see ClipReader.
      counts: whether the split must hold what it is known to hold.

    Raises:
      ValueError: an unknown name, or lists that are missing, malformed or of
        another length.
    """
    known = BENCHMARKS[benchmark]()
    listing = known.listing(root, split, counts=counts)
    super().__init__(
      clip=clip,
      records=listing.records,
      name=f"{benchmark} {split}",
      root=root,
      tracks=tracks,
    )
    self.protocol = known.splits[split].protocol
    self.classes = listing.classes
