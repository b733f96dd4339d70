"""What the README and the scripts say agrees with the code beside them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

from tpu import job, launch
from tpu.ways import WAYS
from trajvit.training import exits

ROOT = Path(__file__).parents[2]
README = (ROOT / "tpu" / "README.md").read_text()


def table(header):
  """The cells of the table that begins so, row by row."""
  rows = README.partition(header)[2].partition("\n\n")[0].splitlines()[2:]
  return [[x.strip() for x in row.strip("|").split("|")] for row in rows]


def test_every_way_is_explained():
  assert sorted(row[0].strip("`") for row in table("| `--way`")) == sorted(WAYS)


def test_the_exit_statuses_are_those_of_the_table():
  for status, said, again in table("| status |"):
    number = int(status) if status.isdigit() else exits.SIGNAL + 9
    assert exits.worth_another_try(number) == (again == "yes"), said
    if status.isdigit() and number != exits.FAILED:
      assert exits.meaning(number).split()[0] == said.split()[0]


def test_every_command_is_understood(capsys):
  text = README.replace("\\\n", " ")
  commands = re.findall(r"^ *python -m tpu\.launch (.*)$", text, re.M)
  options = re.search(r'LAUNCH="python -m tpu.launch (.*?)"', text)[1]
  launches = re.findall(r"^ *\$LAUNCH (.*)$", text, re.M)
  commands += [f"{options} {words}" for words in launches]
  assert len(commands) == 6
  for words in map(shlex.split, commands):
    words = [x.replace("$PROJECT", "p").replace("$ZONE", "r-a") for x in words]
    if "--dry-run" not in words:
      words.insert(0, "--dry-run")
    assert launch.main(words) == 0, words
  assert "train.py" in capsys.readouterr().out


def test_scripts_have_the_numbers_of_the_code():
  vm = (ROOT / "tpu" / "vm_start.sh").read_text()
  slurm = (ROOT / "tpu" / "slurm.sh").read_text()
  assert f"$first:{job.PORT}" in vm
  assert f"$first:{job.PORT}" in slurm
  assert f"--stop-timeout={job.GRACE_SECONDS}" in vm
  assert f"--signal=B:TERM@{job.GRACE_SECONDS}" in slurm
  assert f"--volume={job.RUNS}:{job.RUNS}" in vm


def test_a_laptop_without_jax_can_launch():
  code = (
    "import sys; sys.modules['jax'] = None\n"
    "from tpu import launch, supervise, targets\n"
    "sys.exit(launch.main(['--target=h100-8', '--way=slurm', '--dry-run', "
    "'--', '--config=c']))"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert "sbatch" in done.stdout
