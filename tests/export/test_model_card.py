"""The card of an export: true of its run, and what the Hub can read."""

import dataclasses
import json
import re

import numpy as np
import pytest
from tiny import make_clip
from tiny_runs import STEP, exported_run, tiny_run

import trajvit
from trajvit.export.about import About, about_run
from trajvit.export.card import model_card, yaml_lines

yaml = pytest.importorskip("yaml")

RESULT = {
  "metrics": {"t2v_R@1": 35.5, "v2t_R@1": float("nan"), "n_evaluated": 256.0},
  "manifest": {
    "step": STEP,
    "evaluator": {"name": "retrieval"},
    "data": {"name": "benchmark", "benchmark": "msrvtt", "split": "test"},
    "tracks_are_ground_truth": False,
  },
}
ORIGIN = dict(kind="trajvit-torch", compat=True, source="a.pth", sha256="12ab")


INT8 = dict(
  name="int8",
  library=None,
  version=None,
  arrays=3,
  bytes=dict(before=8_000_000, after=2_000_000),
)


def card_of(about, quantization=None):
  names = ("config", "preprocessor_config", "parity")
  config, clip, parity = (
    json.loads((exported_run() / f"export/{name}.json").read_text())
    for name in names
  )
  if quantization:
    config["quantization"] = quantization
    parity["stablehlo"]["accuracy"] = {"random": {}}
  return model_card(config, clip, parity, about)


def front(card):
  return yaml.safe_load(card.split("---\n")[1])


def code(card, title):
  section = card.split(f"\n## {title}\n")[1].split("\n## ")[0]
  return re.search("```python\n(.*?)```", section, re.DOTALL)[1]


def test_the_card_of_an_export_says_what_it_is():
  card = (exported_run() / "export" / "README.md").read_text()
  assert front(card) == {
    "library_name": "trajvit",
    "pipeline_tag": "feature-extraction",
    "tags": [
      *("video", "text", "jax", "stablehlo"),
      *("video_text", "trajectory_light"),
    ],
  }
  for line in (
    f"# {exported_run().name}",
    "An encoder of video and text, exported with trajvit.",
    f"| weights | step {STEP} |",
    "| `encode.stablehlo` | stablehlo | frames uint8 [b, 4, 32, 32, 3], tracks "
    "int32 [b, 4, 16, 16] | float32 [b, 8] |",
    "- Captions: ids of text tokenizer `words` and their mask, [B, 6].",
  ):
    assert line in card.split("\n"), line
  parity = re.findall(r"\| stablehlo \| (\w+) \| (\S+) \| 1e-05 \|", card)
  assert [name for name, _ in parity] == ["encode", "tokenize", "encode_text"]
  assert all(float(difference) <= 1e-5 for _, difference in parity)
  assert "Evaluation" not in card


@pytest.mark.parametrize("title", ["With trajvit", "Without trajvit"])
def test_its_code_runs(title, rng):
  directory = exported_run() / "export"
  clip = make_clip(rng)
  names = dict(
    directory=directory,
    video=clip.frames,
    frames=clip.frames,
    tracks=clip.tracks,
  )
  exec(code((directory / "README.md").read_text(), title), names)
  if title == "Without trajvit":
    expected = trajvit.load(directory).encode(clip.frames, clip.tracks)
    np.testing.assert_allclose(names["outputs"], expected, atol=1e-6)


def test_results_are_the_hub_s():
  hub = pytest.importorskip("huggingface_hub")
  card = card_of(About("joint", "apache-2.0", {"msrvtt_1k_a": RESULT}))
  read = hub.ModelCard(card).data
  assert read.license == "apache-2.0"
  (found,) = read.eval_results  # NaN and counts are left out
  assert (found.metric_type, found.metric_value) == ("t2v_R@1", 35.5)
  assert found.dataset_name == "msrvtt, msrvtt_1k_a"
  assert (found.dataset_type, found.dataset_split) == ("msrvtt", "test")
  assert found.dataset_args == {"tracks": "not ground truth"}
  assert read.model_name == "joint"
  row = "| msrvtt_1k_a | msrvtt | not ground truth | t2v_R@1 35.5 |"
  assert row in card


def test_what_the_machine_measured_is_no_result_of_the_model():
  manifest = RESULT["manifest"] | {"evaluator": {"name": "cost"}}
  cost = RESULT | {"manifest": manifest}
  assert "model-index" not in front(card_of(About("a", results={"c": cost})))


def test_results_of_whole_weights_are_not_those_of_quantised_ones():
  about = About("joint", results={"validation": RESULT})
  card = card_of(about, INT8)
  assert "model-index" not in front(card)
  assert "Measured before the weights were quantised." in card
  assert "| quantised to | `int8` |" in card


@pytest.mark.parametrize("compat", [True, False])
def test_converted_weights_say_how_they_behave(compat):
  card = card_of(About("joint", origin=ORIGIN | {"compat": compat}))
  behaviour = "as the released code" if compat else "corrected"
  assert f"| behaviour | {behaviour} |" in card
  assert "| SHA-256 of it | `12ab` |" in card


def test_results_belong_to_weights(tmp_path):
  (tmp_path / "eval").mkdir()
  for step in (STEP, STEP + 1):
    result = RESULT | {"manifest": RESULT["manifest"] | {"step": step}}
    (tmp_path / f"eval/at{step}.json").write_text(json.dumps(result))
  run = tiny_run()
  assert about_run(tmp_path, run).results.keys() == {f"at{STEP}"}
  # Evaluations read the moving average where there is one, and only then.
  other = dataclasses.replace(run, ema=True)
  assert not about_run(tmp_path, other).results
  assert about_run(tmp_path, run).origin is None
  (tmp_path / "origin.json").write_text(json.dumps(ORIGIN))
  assert about_run(tmp_path, run).origin == ORIGIN
  (tmp_path / "eval/at7.json").write_text("{")
  with pytest.raises(ValueError, match=r"at7\.json: expected JSON"):
    about_run(tmp_path, run)


def test_results_of_a_packed_run_are_in_its_record():
  run = dataclasses.replace(tiny_run(), step=1600)
  about = about_run("moving_sprites", run)
  assert about.name == "moving_sprites"
  assert about.results["validation"]["metrics"]["top1"] == 97.65625


def test_yaml_reads_what_was_written():
  values = {
    "a": ["x: y", "- z", 'quo"te', "é 東", "#", "yes", "1"],
    "b": [{"c": 1.5, "d": {"e": None, "f": []}}, {"g": [[1, 2], [3]]}],
    "h": {},
    "i": True,
  }
  assert yaml.safe_load("\n".join(yaml_lines(values))) == values
