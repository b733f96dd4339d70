"""The README's encoder without trajvit runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import exported_run

ROOT = Path(__file__).parents[2]
# Nothing of ours can be imported, nor what it is built of.
ALONE = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
  def find_spec(self, name, path=None, target=None):
    if name.split(".")[0] in ("trajvit", "flax", "optax", "orbax"):
      raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""


def section() -> str:
  text = (ROOT / "README.md").read_text()
  title = "## Export an encoder and use it without trajvit\n"
  return text.split(title)[1].split("\n## ")[0]


@pytest.fixture
def folder(tmp_path) -> Path:
  """A folder where the export is that the README speaks of."""
  place = tmp_path / "runs" / "smoke"
  place.mkdir(parents=True)
  (place / "export").symlink_to(exported_run() / "export")
  return tmp_path


def code() -> str:
  (found,) = re.findall("```python\n(.*?)```", section(), re.S)
  return found


def test_the_code_of_the_readme_needs_nothing_of_ours(folder):
  """Prints the shape and the norm of an embedding."""
  out = subprocess.run(
    [sys.executable, "-c", ALONE + code()],
    cwd=folder,
    capture_output=True,
    text=True,
  )
  assert out.returncode == 0, out.stderr
  assert out.stdout.split()[:2] == ["(1,", "8)"]


@pytest.mark.slow
def test_the_readme_in_an_empty_environment(folder):
  """In a new environment, with what the README installs and nothing else."""
  (packages,) = re.findall(r"pip install ((?:[\w-]+ ?)+)\n", section())
  subprocess.run([sys.executable, "-m", "venv", folder / "empty"], check=True)
  python = folder / "empty" / "bin" / "python"
  limits = ["-c", ROOT / "constraints.txt"]
  install = [python, "-m", "pip", "install", "-q", *limits, *packages.split()]
  subprocess.run(install, check=True)
  (folder / "use.py").write_text(code())
  out = subprocess.run(
    [python, "-I", "use.py"], cwd=folder, capture_output=True, text=True
  )
  assert out.returncode == 0, out.stderr
  assert out.stdout.split()[:2] == ["(1,", "8)"]
