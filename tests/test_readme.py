"""The commands of the README do what it says."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands(text):
  """Every command in the unlabelled code blocks, continued lines joined."""
  blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
  lines = "".join(blocks).replace("\\\n", " ").splitlines()
  lines = [line.split("  #")[0].strip() for line in lines]
  return [line for line in lines if line.startswith(("make ", ".venv/"))]


def test_make_targets_exist():
  targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
  named = {line.split()[1] for line in commands(README) if "make" in line}
  named |= set(re.findall(r"`make ([\w-]+)`", README))
  assert named and named <= set(targets)


def test_configs_and_paths_exist():
  named = re.findall(r"configs/\w+\.py", README)
  named += re.findall(r"`((?:docs|trajvit|configs)/[\w/.]*)`", README)
  assert named
  for name in named:
    assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")))
def test_links_between_pages_lead_somewhere(page):
  for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
    assert (page.parent / link).exists(), link


def test_the_smallest_run(tmp_path):
  """The block with the smoke config, from training to the exported encoder."""
  lines = [line for line in commands(README) if "runs/smoke" in line]
  assert [shlex.split(line)[1] for line in lines] == [
    "train.py",
    "eval.py",
    "export",
  ]
  environment = dict(os.environ, JAX_PLATFORMS="cpu")
  for line in lines:
    line = line.replace("runs/smoke", str(tmp_path / "smoke"))
    line = line.replace("steps=30", "steps=3")
    program, *arguments = shlex.split(line)
    command = [sys.executable, *arguments]
    if program.endswith("trajvit"):
      command = [sys.executable, "-m", "trajvit.cli", *arguments]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
  assert (tmp_path / "smoke" / "eval" / "retrieval.json").exists()
  assert (tmp_path / "smoke" / "export" / "model.safetensors").exists()
