"""`trajvit convert` makes a run that others read, and the source again."""

import hashlib
import json
import shutil

import numpy as np
import pytest
from drawn_weights import draw_all
from test_trajvit_torch import CONFIG, weights

from trajvit import cli
from trajvit.interop import load_torch, read_state_dict, write_state_dict
from trajvit.training.functional import named_leaves
from trajvit.training.restore import restore_run

TOWER = "vision_encoder."
CONFIG = {name: CONFIG[name] for name in ("frames", "size", "max_tracks")}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  path = tmp_path_factory.mktemp("source") / "tower.pth"
  names = [name for name in weights() if name.startswith(TOWER)]
  tower = {name.removeprefix(TOWER): weights()[name] for name in names}
  write_state_dict(path, tower)
  return path


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
  out = tmp_path_factory.mktemp("converted") / "run"
  command = ["convert", str(source), str(out), "--compat"]
  assert cli.main([*command, "--config", json.dumps(CONFIG)]) == 0
  return out


def test_the_run_has_the_weights(source, converted):
  run, _ = load_torch("trajvit-torch", source, CONFIG, compat=True)
  restored = restore_run(converted)
  assert restored.step == 0
  expected = named_leaves(run.variables)
  found = named_leaves(restored.variables)
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    np.testing.assert_array_equal(found[name], x)


def test_the_card_says_what_it_is(source, converted):
  card = (converted / "README.md").read_text()
  assert hashlib.sha256(source.read_bytes()).hexdigest() in card
  assert "`trajvit-torch`" in card
  assert "| behaviour | as the released code |" in card
  assert "runs twice" in card
  assert "pooler.dense.weight`: a pooler that is not run" in card


def test_the_source_comes_back(source, converted, tmp_path):
  out = tmp_path / "back.safetensors"
  command = ["convert", str(converted), str(out), "--to", "torch"]
  assert cli.main(command) == 0
  found, expected = read_state_dict(out), read_state_dict(source)
  assert found.keys() == expected.keys()
  for name, x in expected.items():
    assert found[name].dtype == x.dtype, name
    np.testing.assert_array_equal(found[name], x)
  assert cli.main(command) == 2  # it exists


def test_nothing_is_left_of_what_is_refused(source, tmp_path, capsys):
  out = tmp_path / "run"
  arrays = draw_all({"appearance_tokenizer.x": (3,)})
  write_state_dict(tmp_path / "w.safetensors", arrays)
  for src, more, message in (
    (tmp_path / "w.safetensors", [], "expected resamplers"),
    (source, ["--kind", "trajvit-torch", "--part", "ema"], "no part 'ema'"),
    (source, ["--strip", "module."], "do not begin with 'module.'"),
    (source, ["--config", "[1]"], "No such file"),
  ):
    try:
      status = cli.main(["convert", str(src), str(out), *more])
    except SystemExit as error:
      status = error.code
    assert status == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_trained_run_takes_its_names_from_the_converted_one(
  converted, tmp_path, capsys
):
  trained = tmp_path / "trained"
  shutil.copytree(converted, trained)
  (trained / "origin.json").unlink()
  command = ["convert", str(trained), str(tmp_path / "a.pth"), "--to", "torch"]
  assert cli.main(command) == 2
  assert "is no converted run: no origin.json" in capsys.readouterr().err
  assert cli.main([*command, "--like", str(converted)]) == 0
  config = json.loads((trained / "config.json").read_text())
  config["model"]["pool"] = "mean"
  (trained / "config.json").write_text(json.dumps(config))
  command[2] = str(tmp_path / "b.pth")
  assert cli.main([*command, "--like", str(converted)]) == 2
  assert "has the model" in capsys.readouterr().err
