import pytest

from trajvit.bench import attention_plan
from trajvit.bench.mosaic import Kernel
from trajvit.bench.topology import Report

SETTINGS = dict(heads=2, dtype="bfloat16", block_query=256, block_key=128)


@pytest.fixture
def compiler(monkeypatch):
  monkeypatch.setattr(attention_plan, "libtpu_reason", lambda: None)


def fake(jobs):
  for job in jobs:
    if job.settings["step"] == "forward":
      kernel = Kernel("forward_resident", 3 * 2**20, 16 * 2**20, 5 * 10**9)
      yield Report(job, None, 1.5, 7 * 2**20, 5e9, (kernel,))
    else:
      yield Report(job, "RESOURCE_EXHAUSTED: vmem")


def test_there_is_a_job_for_each_kernel_at_each_shape():
  jobs = attention_plan.jobs(["v5e", "v6e"], [4096, 32768], [64], **SETTINGS)
  assert len(jobs) == len(set(map(str, jobs))) == 2 * 2 * 3
  assert {job.topology for job in jobs} == {"v5e", "v6e"}
  assert all(job.settings["heads"] == 2 for job in jobs)


def test_the_table_has_what_compiled_and_why_the_rest_did_not(compiler):
  jobs = attention_plan.jobs(["v5e"], [4096], [64], **SETTINGS)
  section = attention_plan.section(jobs, fake)
  good, *bad = section.rows
  assert section.failed
  assert good["vmem_bytes"] == 3 * 2**20
  assert good["kernel_flops"] == 5 * 10**9
  assert {row["error"] for row in bad} == {"RESOURCE_EXHAUSTED: vmem"}
  assert "1 of 3 compile" in section.text
  assert "v5e, query_gradient, 4096 x 64: RESOURCE_EXHAUSTED" in section.text
  line = next(x for x in section.markdown.splitlines() if "forward" in x)
  cells = [cell.strip() for cell in line.strip("|").split("|")]
  assert cells == [
    *["v5e", "forward_resident", "4096", "2 x 64", "256 x 128", "yes"],
    *["1.5", "7", "3", "16", "5"],
  ]


def test_without_a_compiler_it_says_what_to_install(monkeypatch):
  why = "libtpu, the compiler, is not installed: pip install libtpu"
  monkeypatch.setattr(attention_plan, "libtpu_reason", lambda: why)
  with pytest.raises(ValueError, match=r"pip install .*trajvit\[plan\]"):
    attention_plan.section([], fake)
