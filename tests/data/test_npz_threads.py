"""Threads that read sidecar pairs parse one at a time, see `npz_guard`."""

import ast
import threading
import time
from concurrent import futures

import numpy as np
import pytest

from trajvit.data.sidecar_stream import open_sidecars
from trajvit.data.tracks import load_sidecars, write_sidecars


def _open(mask, graph):
  with open_sidecars(mask, graph):
    pass


@pytest.mark.parametrize("read", [_open, load_sidecars])
def test_one_thread_parses_at_a_time(tmp_path, monkeypatch, read):
  pair = str(tmp_path / "a_mask.npz"), str(tmp_path / "a_graph.npz")
  write_sidecars(*pair, np.zeros((2, 4, 4), np.int32))
  parse, inside, together = ast.literal_eval, threading.Semaphore(1), []

  def watched(text):
    together.append(not inside.acquire(blocking=False))
    time.sleep(1e-3)  # lets another thread run
    try:
      return parse(text)
    finally:
      if not together[-1]:
        inside.release()

  monkeypatch.setattr(ast, "literal_eval", watched)
  with futures.ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: read(*pair), range(12)))
  assert len(together) >= 24 and not any(together)
