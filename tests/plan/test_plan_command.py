"""`trajvit plan` from the command line, with and without its compiler."""

import json
import sys

import pytest
from plan_cases import STEP, compiled

from trajvit.cli import main
from trajvit.plan import command, worker
from trajvit.plan.devices import missing
from trajvit.plan.memory import OutOfMemory
from trajvit.plan.target import parse_target

CONFIG = "configs/smoke_trajectory.py:steps=7"
LACKING = compiled(
  memory=None,
  traffic=None,
  out_of_memory=OutOfMemory(20 * 2**30, 16 * 2**30),
)
needs_libtpu = pytest.mark.skipif(
  missing(parse_target("v5e:2x2")) is not None,
  reason=str(missing(parse_target("v5e:2x2"))),
)


@pytest.fixture
def jobs(monkeypatch):
  """The jobs that are compiled; what does not recompute is too large."""
  done = []

  def compile_elsewhere(job):
    done.append(job)
    fits = job.config["optimizer"]["accumulate_steps"] > 2
    return STEP if fits else LACKING

  monkeypatch.setattr(command, "compile_elsewhere", compile_elsewhere)
  monkeypatch.setattr(command, "missing", lambda target: None)
  return done


def plan(*options, config=CONFIG, topology="v5e:2x2"):
  return main(["plan", f"--config={config}", "--topology", topology, *options])


def test_options_of_the_config_are_those_of_training(jobs, capsys):
  options = (
    "--config.optimizer.accumulate_steps=4",
    "--config.data.batch_size=8",
  )
  assert plan(*options) == 0
  (job,) = jobs
  assert job.config["total_steps"] == 7
  assert job.config["data"]["batch_size"] == 8
  assert job.target == parse_target("v5e:2x2") and job.effort == "O0"
  out = capsys.readouterr().out
  assert "on v5e:2x2: 4 chips" in out and "fits, 11.00 to 12.00 GiB left" in out


def test_a_step_that_does_not_fit_is_a_result(jobs, capsys):
  assert plan("--effort=default") == 1
  assert jobs[0].effort == ""
  out = capsys.readouterr().out
  assert "does not fit: at least 4.00 GiB too much" in out
  assert "--suggest" in out


def test_changes_are_compiled_until_one_fits(jobs, capsys, tmp_path):
  file = tmp_path / "plan.json"
  options = ("--config.data.batch_size=32", "--suggest", "--json", str(file))
  assert plan(*options) == 1
  out = capsys.readouterr().out
  assert "accumulate_steps=4 (1/4 of the negatives" in out
  counts = [job.config["optimizer"]["accumulate_steps"] for job in jobs]
  assert counts[0] == 1 and counts[-2:] == [2, 4]

  written = json.loads(file.read_text())
  assert written["topology"] == "v5e:2x2"
  assert written["fit"]["needed"] == 20 * 2**30 and written["bracket"] is None
  assert [each["fit"]["needed"] for each in written["tried"][-2:]] == [
    20 * 2**30,
    4 * 2**30,
  ]
  last = written["tried"][-1]
  assert last["options"]["optimizer.accumulate_steps"] == 4
  assert last["bracket"]["fastest"]["step_seconds"] > 0


def test_that_nothing_helps_is_a_result_too(jobs, capsys):
  assert plan("--config.data.batch_size=8", "--suggest") == 1
  assert "nothing that was tried makes it fit" in capsys.readouterr().out


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(config="no/such.py"), "--config must be a file, got 'no/such.py'"),
    (dict(topology="v9:2x2"), "unknown chip 'v9'"),
    (dict(config=CONFIG + ",stebs=1"), "unknown config argument 'stebs'"),
  ],
)
def test_what_is_refused(jobs, capsys, options, message):
  assert plan(**options) == 2
  assert message in capsys.readouterr().err and not jobs


@pytest.mark.parametrize(
  "option, message",
  [("--config.mash.fsdp=3", "mash"), ("--cnfig=3", "cnfig")],
)
def test_options_that_nobody_reads_are_refused(jobs, capsys, option, message):
  assert plan(option) == 2
  assert message in capsys.readouterr().err and not jobs


def test_other_tools_take_no_options_of_configs(capsys):
  with pytest.raises(SystemExit):
    main(["list", "--config.mesh.fsdp=3"])
  assert "unrecognized arguments: --config" in capsys.readouterr().err


def test_says_what_to_install(monkeypatch, capsys):
  monkeypatch.setattr(command, "missing", lambda target: "pip install it")
  assert plan() == 2
  assert "for v5e:2x2: pip install it" in capsys.readouterr().err


def test_gpus_need_the_plugin_of_cuda(monkeypatch):
  monkeypatch.setattr("trajvit.plan.devices.CUDA_PLUGINS", ("no-such-plugin",))
  assert "pip install jax-cuda13-plugin" in missing(parse_target("8 x h100"))


def test_a_compiler_that_dies_is_a_message(monkeypatch):
  monkeypatch.setattr(worker.sys, "executable", "/bin/false")
  job = worker.Job({}, parse_target("v5e:2x2"))
  with pytest.raises(ValueError, match="the compiler died with status 1"):
    worker.compile_elsewhere(job)


def test_what_the_worker_refuses_is_a_message(tmp_path, monkeypatch):
  fake = tmp_path / "python"
  answer = json.dumps({"error": "too wide"})
  fake.write_text(f"#!{sys.executable}\nprint('noise')\nprint('{answer}')\n")
  fake.chmod(0o755)
  monkeypatch.setattr(worker.sys, "executable", str(fake))
  with pytest.raises(ValueError, match="too wide"):
    worker.compile_elsewhere(worker.Job({}, parse_target("v5e:2x2")))


SMALL = (
  "--config.data.batch_size=8",
  "--config.data.clip.frames=4",
  "--config.mesh.fsdp=2",
)


@needs_libtpu
@pytest.mark.slow
def test_a_real_step_compiles_for_tpus_that_are_not_here(tmp_path, capsys):
  file, text = tmp_path / "plan.json", tmp_path / "program.txt"
  assert plan(*SMALL, f"--json={file}", f"--program={text}") == 0
  found = json.loads(file.read_text())["compiled"]
  assert found["mesh"] == dict(data=2, fsdp=2, tensor=1, context=1)
  memory = found["memory"]
  assert found["state_bytes"] < memory["arguments"] < memory["peak"]
  assert found["flops"]["dots"] > 0 and found["traffic"]["cycles"] > 0
  kinds = {each["kind"] for each in found["collectives"]}
  assert {"all-gather", "all-reduce"} <= kinds
  assert "ENTRY" in text.read_text()
  assert "fits" in capsys.readouterr().out


@needs_libtpu
@pytest.mark.slow
def test_a_real_step_that_is_far_too_large_is_a_result(capsys):
  assert plan("--config.data.batch_size=1048576") == 1
  assert "does not fit: at least" in capsys.readouterr().out
