"""The server of docs/serving.md: right answers, refusals, and a load."""

import concurrent.futures
import http.client
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny import CLIP_SHAPE, GRID, TRACKS
from tiny_runs import exported_run

import trajvit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", name="port")
def _port(tmp_path_factory):
  page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
  code = re.search(r"```python\n(.*?)```", page, re.DOTALL)[1]
  path = tmp_path_factory.mktemp("serving") / "serve.py"
  path.write_text(code)
  with subprocess.Popen(
    [sys.executable, str(path), str(exported_run() / "export"), "0"],
    env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    text=True,
  ) as server:
    try:
      yield int(server.stdout.readline().split()[-1])
    finally:
      server.terminate()


def post(port, path, body, **headers):
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
  try:
    connection.request("POST", path, body, headers)
    response = connection.getresponse()
    return response.status, json.loads(response.read())
  finally:
    connection.close()


def packed(**arrays):
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def clip(rng):
  return dict(
    frames=rng.integers(0, 256, (*CLIP_SHAPE, 3), dtype=np.uint8),
    tracks=rng.integers(-1, TRACKS, (CLIP_SHAPE[0], GRID, GRID)),
  )


def test_a_load_of_clips_is_answered_rightly(port):
  rng = np.random.default_rng(0)
  clips = [clip(rng) for _ in range(40)]
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    answers = list(pool.map(lambda x: post(port, "/clip", packed(**x)), clips))
  assert {status for status, _ in answers} == {200}
  encoder = trajvit.load(exported_run() / "export")
  expected = encoder.encode(
    *(np.stack(x) for x in zip(*(c.values() for c in clips), strict=True))
  )
  found = [answer["embedding"] for _, answer in answers]
  np.testing.assert_allclose(found, expected, atol=1e-5)
  status, answer = post(port, "/text", json.dumps({"captions": ["red ball"]}))
  assert status == 200
  np.testing.assert_allclose(
    answer["embeddings"][0], encoder.encode_text("red ball"), atol=1e-5
  )


@pytest.mark.parametrize(
  ("path", "body", "status", "message"),
  [
    ("/clip", b"hello", 400, "pickle|npz|file"),
    ("/clip", packed(frames=np.zeros(3, np.uint8), tracks=0), 400, "uint8 RGB"),
    ("/clip", packed(tracks=np.zeros(3)), 400, "frames"),
    ("/clip", packed(frames=np.array([{}])), 400, "allow_pickle=False"),
    ("/text", b"[", 400, "Expecting"),
    ("/text", json.dumps({"captions": []}), 400, "list of 1 to 64"),
    ("/text", json.dumps({"captions": [3]}), 400, "captions"),
    ("/other", b"", 404, "POST to"),
  ],
)
def test_what_is_wrong_is_answered(port, path, body, status, message):
  found, answer = post(port, path, body)
  assert found == status and re.search(message, answer["error"])


def test_what_is_too_large_is_not_read(port):
  found, answer = post(port, "/clip", b"", **{"Content-Length": str(2**40)})
  assert found == 413 and "at most" in answer["error"]
  rng = np.random.default_rng(1)
  assert post(port, "/clip", packed(**clip(rng)))[0] == 200  # it goes on
