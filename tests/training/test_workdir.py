"""A run directory holds one run."""

import pytest

from trajvit.training.workdir import (
  check_run_config,
  read_run_config,
  write_run_config,
)

CONFIG = {
  "seed": 0,
  "data": {"train": {"count": 3}, "loader": {"num_threads": 2}},
  "model": {"shape": (1, 2)},
}


def test_the_config_comes_back_and_may_go_on(tmp_path):
  workdir = tmp_path / "run"
  check_run_config(workdir, CONFIG)
  write_run_config(workdir, CONFIG)
  assert read_run_config(workdir)["data"] == CONFIG["data"]
  check_run_config(workdir, CONFIG)


def test_another_config_is_refused_with_what_differs(tmp_path):
  write_run_config(tmp_path, CONFIG)
  other = {**CONFIG, "data": {"train": {"count": 4}, "loader": {}}}
  with pytest.raises(ValueError, match="data.train.count was 3 and is 4"):
    check_run_config(tmp_path, other)


def test_what_does_not_change_the_numbers_may_change(tmp_path):
  write_run_config(tmp_path, CONFIG)
  loader = {**CONFIG["data"], "loader": {"num_threads": 4}}
  check_run_config(tmp_path, {**CONFIG, "data": loader, "mesh": {"fsdp": 2}})


def test_a_folder_without_a_run_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match="is no run directory"):
    read_run_config(tmp_path)
