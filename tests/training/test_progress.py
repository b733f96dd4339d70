"""The progress line: there on a terminal, silent elsewhere."""

import os
import pty
import subprocess
import sys

PROGRAM = """
from trajvit.training.progress import Progress
line = Progress(40, 38)
metrics = {"train/loss": 1.5, "train/tokens_per_clip": 6.25,
           "train/padding_%": 40.0}
line.update(metrics, {"time/clips_per_second": 99.6, "time/data_wait_%": 3.0})
line.say("a message")
line.close()
"""


def test_one_line_on_a_terminal():
  ours, theirs = pty.openpty()
  environment = os.environ | {"COLUMNS": "120", "LINES": "24"}
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM], stderr=theirs, env=environment, timeout=60
  )
  os.close(theirs)
  shown = os.read(ours, 10_000).decode()
  os.close(ours)
  assert done.returncode == 0
  for part in (
    "step 39/40",
    "eta",
    "loss 1.500",
    "100 clips/s",
    "6.2 tokens/clip",
    "padding 40%",
    "data wait 3%",
  ):
    assert part in shown


def test_only_messages_elsewhere():
  done = subprocess.run(
    [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60
  )
  assert (done.stdout, done.stderr) == ("", "a message\n")
