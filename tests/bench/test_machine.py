import sys

from trajvit.bench import machine


def test_the_header_says_who_ran_what(monkeypatch):
  monkeypatch.setattr(sys, "argv", ["/bin/trajvit", "bench", "a b"])
  about = machine.describe()
  command, device, commit = machine.header(about)
  assert command == "trajvit bench 'a b'"
  assert about["device"] in device
  assert f"jax {about['versions']['jax']}" in device
  assert commit.startswith("commit ")
  assert "load average" in commit


def test_what_is_unknown_is_said_to_be():
  about = machine.describe() | {"commit": None, "load_average": None}
  last = machine.header(about)[-1]
  assert last == "commit unknown; load average unknown"
