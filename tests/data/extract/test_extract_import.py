"""What is said when the extra [tracks] is not installed."""

import importlib
import sys

import pytest

from trajvit.data import extract


@pytest.fixture
def without(monkeypatch):
  """Makes libraries missing, and forgets the modules that use them."""

  def hide(*libraries):
    for name in list(sys.modules):
      if name.startswith(f"{extract.__name__}."):
        monkeypatch.delitem(sys.modules, name)
      if name.partition(".")[0] in libraries:
        monkeypatch.setitem(sys.modules, name, None)
    for name in libraries:
      monkeypatch.setitem(sys.modules, name, None)

  return hide


@pytest.mark.parametrize("name", ["cv2", "skimage"])
def test_missing_libraries_are_named_with_the_extra(without, name):
  without(name)
  with pytest.raises(ImportError, match=r"pip install trajvit\[tracks\]"):
    from trajvit.data.extract import extract_tracks  # noqa: F401, PLC0415


def test_the_command_names_the_extra_too(without):
  without("cv2")
  with pytest.raises(ImportError, match=r"pip install trajvit\[tracks\]"):
    importlib.import_module("trajvit.data.extract.command")


def test_linking_needs_no_extra(without):
  without("cv2", "skimage")
  importlib.import_module("trajvit.data.extract.link")


def test_other_names_are_not_found():
  with pytest.raises(AttributeError, match="extract_nothing"):
    extract.extract_nothing  # noqa: B018
