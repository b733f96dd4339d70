"""What the command and the loader refuse, and that they say why."""

import shutil

import jax
import pytest
from tiny_runs import exported_run

import trajvit
from trajvit import cli


@pytest.fixture(scope="module")
def workdir():
  return exported_run()


@pytest.fixture
def damaged(workdir, tmp_path):
  """A copy of the export, to be damaged."""
  return shutil.copytree(workdir / "export", tmp_path / "copy")


@pytest.mark.parametrize("name", ["preprocessor_config", "preprocessing"])
def test_another_format_is_refused(damaged, name):
  (damaged / "config.json").write_text('{"format": 1}')
  (damaged / "preprocessor_config.json").rename(damaged / f"{name}.json")
  with pytest.raises(
    ValueError, match=r"format 1, expected 2: `trajvit export` writes it again"
  ):
    trajvit.load(damaged)


@pytest.mark.parametrize(
  "name",
  [
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "encode.stablehlo",
  ],
)
def test_a_file_that_is_missing_or_damaged_is_named(damaged, name):
  file = damaged / name
  file.write_bytes(file.read_bytes()[:100])
  with pytest.raises(ValueError, match=name):
    trajvit.load(damaged)
  file.unlink()
  if name == "preprocessor_config.json":  # a folder that may be a run
    with pytest.raises(ValueError, match="config"):
      trajvit.load(damaged)
  else:
    with pytest.raises(FileNotFoundError, match=f"has no {name}"):
      trajvit.load(damaged)


@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("config.json", "[1]", "must hold an object"),
    ("config.json", "{}", "has format None"),
    ("config.json", '{"format": 2}', "needs programs of targets"),
    ("preprocessor_config.json", '{"frames": 4}', "needs frames, any_frames"),
  ],
)
def test_a_file_that_says_too_little_is_refused(damaged, name, text, message):
  (damaged / name).write_text(text)
  with pytest.raises(ValueError, match=f"{name}.*{message}"):
    trajvit.load(damaged)


def test_a_program_elsewhere_is_not_read(damaged, tmp_path):
  file = damaged / "config.json"
  (damaged / "encode.stablehlo").rename(tmp_path / "encode.stablehlo")
  text = file.read_text().replace('"encode.stab', '"../encode.stab')
  file.write_text(text)
  with pytest.raises(ValueError, match="expected the name of a file in this"):
    trajvit.load(damaged)


def test_a_runtime_that_was_not_exported_is_refused(workdir, damaged):
  with pytest.raises(ValueError, match="no programs of other; it has stablehl"):
    trajvit.load(damaged, runtime="other")
  with pytest.raises(ValueError, match="is a run, which has no programs"):
    trajvit.load(workdir, runtime="stablehlo")


def test_damaged_weights_are_refused(damaged):
  path = damaged / "model.safetensors"
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(ValueError, match="model.safetensors.*cut short"):
    trajvit.load(damaged)


def test_weights_of_another_model_are_refused(damaged):
  path = damaged / "model.safetensors"
  path.write_bytes(path.read_bytes().replace(b"[16,8]", b"[8,16]"))
  with pytest.raises(
    ValueError,
    match=r"expects 'params/project_text/kernel' to be float32 \[16, 8\], but "
    r"model.safetensors has float32 \[8, 16\] \(2 arrays differ\)",
  ):
    trajvit.load(damaged)


@pytest.mark.parametrize(
  "change",
  [
    lambda program: program[:3000],
    lambda program: program.replace(b"ML\xefR", b"ML\xefX"),
  ],
  ids=["cut short", "bytecode of another kind"],
)
def test_a_program_that_cannot_be_read_says_why(damaged, change):
  path = damaged / "tokenize.stablehlo"
  whole = path.read_bytes()
  path.write_bytes(change(whole))
  assert path.read_bytes() != whole
  with pytest.raises(
    ValueError, match=f"tokenize.stablehlo.*written by jax {jax.__version__}"
  ):
    trajvit.load(damaged)


def test_an_export_is_not_replaced_unasked(workdir, capsys):
  exported = workdir / "export"
  before = (exported / "config.json").read_bytes()
  assert cli.main(["export", str(workdir), str(exported)]) == 2
  assert "--overwrite replaces it" in capsys.readouterr().err
  assert (exported / "config.json").read_bytes() == before


def test_a_missing_step_is_named(workdir, tmp_path, capsys):
  command = ["export", str(workdir), str(tmp_path / "out"), "--step", "8"]
  assert cli.main(command) == 2
  assert "saved steps: [7]" in capsys.readouterr().err
