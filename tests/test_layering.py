"""Imports point one way along the line; see docs/architecture.md."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
BASE = {"types", "table", "compat", "pixels", "chips", "mesh"}
# package -> the packages of trajvit it may import, itself and BASE aside.
MAY_IMPORT = {
  "types": set(),
  "table": set(),
  "compat": set(),
  "pixels": set(),
  "chips": set(),
  "mesh": set(),
  "ops": set(),
  "data": set(),
  "layers": {"ops"},
  "tokenizers": {"ops", "layers"},
  "reducers": {"ops", "layers"},
  "encoders": {"ops", "layers"},
  "decoders": {"ops", "layers"},
  "quantizers": {"ops", "layers"},
  "models": {
    "ops",
    "layers",
    "tokenizers",
    "reducers",
    "encoders",
    "decoders",
    "quantizers",
  },
  "objectives": {"ops"},
  "evaluators": {"ops", "data"},
  "training": {"models", "objectives"},
  "export": {"ops", "layers", "models", "training", "data", "evaluators"},
  "checkpoints": {"training", "export"},
  "interop": {
    "ops",
    "data",
    "layers",
    "tokenizers",
    "encoders",
    "models",
    "training",
    "export",
  },
  "report": {"ops", "data", "evaluators", "training", "export"},
}
# What stands at the end of the line sees all of it.
SEES_ALL = {"bench", "cli", "listing", "plan", "__init__"}
# Where flax may not be imported: what must run without it, or is plain JAX.
WITHOUT_FLAX = {
  "types",
  "table",
  "pixels",
  "chips",
  "mesh",
  "ops",
  "data",
  "objectives",
  "evaluators",
}


def imported(source: str) -> set[str]:
  """The dotted names of all modules that `source` imports, anywhere in it."""
  names = set()
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f"{node.module}.{alias.name}" for alias in node.names}
  return names


def violations(package: str, source: str) -> list[str]:
  """What a module of `package` imports and must not."""
  allowed = MAY_IMPORT[package] | BASE | {package}
  bad = []
  for name in sorted(imported(source)):
    parts = name.split(".")
    if parts[0] == "trajvit" and len(parts) > 1 and parts[1] not in allowed:
      bad.append(name)
    if parts[0] == "flax" and package in WITHOUT_FLAX:
      bad.append(name)
    if parts[0] == "tensorflow" or parts[0] in ("configs", "tests", "tpu"):
      bad.append(name)
  return bad


def modules():
  for path in sorted((ROOT / "trajvit").rglob("*.py")):
    package = path.relative_to(ROOT / "trajvit").parts[0].removesuffix(".py")
    if package not in SEES_ALL:
      yield pytest.param(path, package, id=str(path.relative_to(ROOT)))


@pytest.mark.parametrize(("path", "package"), modules())
def test_imports_point_one_way(path, package):
  assert package in MAY_IMPORT, f"place {package} on the line: see MAY_IMPORT"
  assert not violations(package, path.read_text())


FORBIDDEN = [
  ("ops", "from trajvit.layers.linear import Linear"),
  ("data", "from flax import nnx"),
  ("tokenizers", "import trajvit.encoders.vit"),
  ("objectives", "from trajvit import models"),
  ("training", "def f():\n  from trajvit.data import loader"),
  ("evaluators", "import flax.nnx"),
  ("data", "import tensorflow as tf"),
]


@pytest.mark.parametrize(("package", "source"), FORBIDDEN)
def test_a_forbidden_import_is_found(package, source):
  assert violations(package, source)


def test_an_allowed_import_is_not():
  source = "from trajvit.ops import tokens\nfrom trajvit.types import Clip"
  assert not violations("tokenizers", source)


def test_configs_import_no_code_of_the_library():
  for path in (ROOT / "configs").glob("*.py"):
    names = imported(path.read_text())
    assert not {name for name in names if name.startswith("trajvit")}, path
