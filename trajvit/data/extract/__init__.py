"""Panoptic trajectories from pixels, without learning.

OpenCV and scikit-image, which this needs, are an extra of the package; they are
imported when `extract_tracks` is first asked for.
"""

import importlib


def __getattr__(name):
  if name != "extract_tracks":
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  try:
    pipeline = importlib.import_module("trajvit.data.extract.pipeline")
  except ModuleNotFoundError as error:
    if error.name.partition(".")[0] in ("cv2", "skimage"):
      raise ImportError(
        "extracting tracks from pixels needs OpenCV and scikit-image: "
        "pip install trajvit[tracks]"
      ) from error
    raise
  return pipeline.extract_tracks
