"""What each way writes and runs: golden dry runs, and fake programs.

A golden file is what the command above it in CASES prints; to renew it:
  python -m tpu.launch --dry-run WORDS > tests/tpu/golden/NAME.txt
"""

import json
import os
import sys
import types
from pathlib import Path

import pytest

from tpu import launch, ray_train
from tpu.job import Job
from tpu.targets import parse
from tpu.ways import WAYS

GOLDEN = Path(__file__).parent / "golden"
CLOUD = ["--project=mine", "--zone=us-east5-a"]
BOX = ["--image=us-docker.pkg.dev/mine/box/trajvit:1", "--runs=10.0.0.2:/share"]
TRAIN = ["--", "--config=configs/trajvit_clip.py", "--workdir=/runs/a b"]
# golden file -> words of the command line.
CASES = {
  "gce_spot": ["--way=gce", "--target=v6e:4x4", "--spot", *CLOUD, *BOX],
  "gce_reserved": [
    *["--way=gce", "--target=tpu7x:4x4x4", "--reservation=ours"],
    *[*CLOUD, *BOX],
  ],
  "gce_one_host": ["--way=gce", "--target=v6e-8", *CLOUD, *BOX],
  "queued_two_slices": [
    *["--way=queued", "--target=v5e-256", "--slices=2", "--name=two"],
    *["--spot", *CLOUD, *BOX],
  ],
  "gke_two_slices": [
    *["--way=gke", "--target=v5p:4x4x8", "--slices=2", "--name=two"],
    *["--spot", "--cluster=c", "--queue=q", *CLOUD, *BOX],
  ],
  "gke_tpu7x": ["--way=gke", "--target=tpu7x-128", "--cluster=c", *CLOUD, *BOX],
  "ray": ["--way=ray", "--target=v6e:4x4", *BOX],
  "skypilot_tpu": ["--way=skypilot", "--target=v6e:4x4", "--spot", *BOX],
  "skypilot_gpu": ["--way=skypilot", "--target=h100-16"],
  "slurm": ["--way=slurm", "--target=h200-16"],
}


def words_of(name):
  return [*CASES[name], *TRAIN]


@pytest.fixture
def fakes(tmp_path, monkeypatch):
  """Puts nothing on the PATH but programs that write down their arguments."""
  folder = tmp_path / "bin"
  folder.mkdir()
  log = tmp_path / "log"
  for name in ("gcloud", "kubectl", "sbatch", "scancel", "squeue", "sky"):
    path = folder / name
    path.write_text(
      f'#!/bin/sh\necho "{name} $*" >> {log}\n'
      f'case "$*" in *"$FAIL"*) exit 7 ;; esac\n'
    )
    path.chmod(0o755)
  monkeypatch.setenv("PATH", str(folder))
  monkeypatch.setenv("FAIL", "nothing fails")
  monkeypatch.setattr(launch, "ROOT", tmp_path)

  def calls():
    return log.read_text().splitlines() if log.exists() else []

  return calls


@pytest.mark.parametrize("name", CASES)
def test_a_dry_run_is_the_golden_one_and_does_nothing(
  name, fakes, tmp_path, capsys
):
  assert launch.main(["--dry-run", *words_of(name)]) == 0
  assert capsys.readouterr().out == (GOLDEN / f"{name}.txt").read_text()
  assert fakes() == []
  assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", CASES)
def test_a_launch_runs_what_was_shown_and_stop_gives_it_back(
  name, fakes, tmp_path, capsys
):
  launch.main(["--dry-run", *words_of(name)])
  shown = capsys.readouterr().out
  starts, _, rest = shown.partition("--- start\n")[2].partition("--- watch\n")
  stops = rest.partition("--- stop\n")[2]
  plain = [line.replace("'", "") for line in starts.splitlines()]
  assert launch.main(words_of(name)) == 0
  assert fakes() == plain
  for line in starts.splitlines():
    for path in (tmp_path / "runs").rglob("*.*"):
      assert f"runs/launch/{path.name}" in starts, line
  assert launch.main(["--stop", *words_of(name)]) == 0
  assert fakes()[len(plain) :] == stops.replace("'", "").splitlines()


def test_the_first_command_that_fails_ends_a_launch(fakes, monkeypatch):
  monkeypatch.setenv("FAIL", "instance-templates")
  assert launch.main(words_of("gce_spot")) == 7
  assert [call.split()[2] for call in fakes()] == [
    "resource-policies",
    "instance-templates",
  ]


def test_to_stop_all_is_tried_though_some_is_gone(fakes, monkeypatch):
  monkeypatch.setenv("FAIL", "instance-groups")
  assert launch.main(["--stop", *words_of("gce_spot")]) == 7
  assert len(fakes()) == 3


def test_a_program_that_is_not_here_is_named(tmp_path, monkeypatch, capsys):
  monkeypatch.setenv("PATH", str(tmp_path))
  monkeypatch.setattr(launch, "ROOT", tmp_path)
  assert launch.main(words_of("slurm")) == 127
  assert "sbatch is not installed" in capsys.readouterr().err


REFUSED = [
  (
    ["--way=gce", "--target=v5e-16", *CLOUD, *BOX],
    "makes no slices of v5e",
  ),
  (["--way=gce", "--target=v6e-16", "--slices=2", *CLOUD, *BOX], "several"),
  (
    ["--way=gce", "--target=v6e-16"],
    "needs --project, --zone, --image",
  ),
  (["--way=queued", "--target=tpu7x-8", *CLOUD, *BOX], "has no tpu7x"),
  (["--way=queued", "--target=h100-8", *CLOUD, *BOX], "for TPUs, and h100-8"),
  (["--way=slurm", "--target=v6e-8"], "for GPUs, and v6e:2x4 is a TPU"),
  (["--way=skypilot", "--target=tpu7x-8"], "gets no tpu7x"),
  (["--way=ray", "--target=v6e-8", "--health", *BOX], "Ray runs training only"),
  (["--way=slurm", "--target=h100-8", "--slices=2"], "GPUs come in nodes"),
  (["--way=boat", "--target=v6e-8"], "unknown way 'boat'; known: gce, gke"),
  (["--way=gke", "--target=v6e-8", "--name=A_B", *BOX], "a name must be"),
  (
    ["--way=gke", "--target=v6e-8", "--spot", "--reservation=r", *BOX],
    "either spot or",
  ),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_a_way_cannot_do_it_says(words, said, fakes, capsys):
  with pytest.raises(SystemExit) as ended:
    launch.main([*words, *TRAIN])
  assert ended.value.code == 2
  assert said in capsys.readouterr().err
  assert fakes() == []


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"ray"}))
def test_health_takes_the_place_of_training(way):
  target = "h100-8" if way == "slurm" else "v6e-8"
  job = Job(
    *["trajvit", parse(target), ("--size=64",)],
    **dict(project="p", zone="z-a", image="i", runs="s:/r", health=True),
  )
  plan = WAYS[way](job)
  text = launch.show(plan)
  assert "-m tpu.health --size=64" in text
  assert "train.py" not in text
  assert "supervise" not in text


def test_ray_is_asked_for_whole_slices(monkeypatch, capsys):
  seen = {}

  def remember(name):
    return lambda *args, **kwargs: seen.setdefault(name, (args, kwargs))

  class Trainer:
    def __init__(self, loop, **kwargs):
      seen["trainer"] = loop, kwargs

    def fit(self):
      seen["fit"] = True

  modules = {
    "ray": {},
    "ray.train": {
      name: remember(name)
      for name in ("FailureConfig", "RunConfig", "ScalingConfig")
    },
    "ray.train.v2": {},
    "ray.train.v2.jax": {"JaxTrainer": Trainer},
  }
  for name, content in modules.items():
    module = types.ModuleType(name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)
  words = ["--target=v6e:4x4", "--slices=2", "--", "--config=c"]
  assert ray_train.main(["--dry-run", *words]) == 0
  assert not seen
  assert ray_train.main(words) == 0
  assert seen["ScalingConfig"][1] == {
    "use_tpu": True,
    "num_workers": 8,
    "resources_per_worker": {"TPU": 4},
    "accelerator_type": "TPU-V6E",
    "topology": "4x4",
  }
  assert seen["trainer"][1]["train_loop_config"] == ["--config=c"]
  assert seen["fit"]
  one_host = ray_train.scaling(parse("tpu7x-8"), 1)
  assert "topology" not in one_host
  assert one_host["accelerator_type"] == "TPU-V7X"


def test_a_ray_worker_trains_and_fails_when_stopped(monkeypatch):
  seen = []
  script = types.ModuleType("train")
  script.CONFIG = types.SimpleNamespace(
    value=types.SimpleNamespace(to_dict=lambda: {"seed": 1})
  )
  script.WORKDIR = types.SimpleNamespace(value="w")
  script.train = lambda config, workdir: seen.append((config, workdir))
  monkeypatch.setitem(sys.modules, "train", script)
  monkeypatch.setattr("absl.flags.FLAGS", seen.append)
  with pytest.raises(RuntimeError, match="stopped before its end"):
    ray_train.train(["--config=c"])
  assert seen == [["train.py", "--config=c"], ({"seed": 1}, "w")]
  script.train = lambda config, workdir: True
  ray_train.train(["--config=c"])


def test_files_are_json_where_they_say_so(tmp_path):
  for path in GOLDEN.glob("*.txt"):
    for part in path.read_text().split("--- ")[1:]:
      name, _, text = part.partition("\n")
      if name.endswith((".json", ".yaml")):
        assert json.loads(text), name
  assert os.listdir(GOLDEN)
