"""Which changes are tried, and in which order."""

from trajvit.plan.recompute import policies, with_policy
from trajvit.plan.remedies import remedies
from trajvit.plan.target import parse_target

GIB = 2**30
MODEL = dict(
  name="video_text", encoder=dict(name="vit", remat=False), text=dict(name="t")
)
CONFIG = dict(
  model=MODEL,
  mesh=dict(data=-1, fsdp=4),
  optimizer=dict(accumulate_steps=1),
  data=dict(batch_size=64),
)
V5E = parse_target("v5e:4x4")


def tried(config, target=V5E, state_bytes=12 * GIB, excess=GIB):
  return list(remedies(config, target, state_bytes=state_bytes, excess=excess))


def test_the_cheapest_comes_first_and_each_builds_on_those_before():
  found = tried(CONFIG)
  assert [str(each) for each in found[:4]] == [
    f"--config.model.encoder.remat={remat}"
    for remat in ("dots", "dots_no_batch", "attention", "full")
  ]
  rest = [each.options for each in found[4:]]
  full = {"model.encoder.remat": "full"}
  wide = full | {"mesh.fsdp": 16}
  assert rest == [
    wide,
    wide | {"optimizer.accumulate_steps": 2},
    wide | {"optimizer.accumulate_steps": 4},
  ]
  last = found[-1].config
  assert last["model"]["encoder"]["remat"] == "full"
  assert last["mesh"] == dict(data=-1, fsdp=16)
  assert last["optimizer"]["accumulate_steps"] == 4
  assert CONFIG["model"]["encoder"]["remat"] is False, "it is not changed"


def test_only_what_keeps_less_is_tried():
  config = CONFIG | {"model": with_policy(MODEL, "attention")}
  assert str(tried(config)[0]).endswith("remat=full")
  config = CONFIG | {"model": with_policy(MODEL, "full")}
  assert tried(config)[0].options == {"mesh.fsdp": 16}


def test_a_small_state_is_not_cut_further():
  config = CONFIG | {"model": with_policy(MODEL, "full")}
  found = tried(config, state_bytes=GIB // 16, excess=2 * GIB)
  assert found[0].options == {"optimizer.accumulate_steps": 2}


def test_parameters_stay_within_a_slice():
  config = CONFIG | {"model": with_policy(MODEL, "full")}
  found = tried(config, parse_target("v5e:2x4", slices=2))
  assert found[0].options == {"mesh.fsdp": 8}


def test_every_device_has_a_clip_of_each_micro_batch():
  config = CONFIG | {"data": dict(batch_size=16)}
  assert not any(
    "optimizer.accumulate_steps" in x.options for x in tried(config)
  )


def test_a_model_that_recomputes_nothing_has_no_policy():
  config = CONFIG | {"model": dict(name="segmenter")}
  assert tried(config)[0].options == {"mesh.fsdp": 16}


def test_policies_are_found_and_changed_wherever_they_are():
  model = dict(remat="dots", decoder=dict(prior=dict(remat=True)), text=dict())
  assert policies(model) == {"dots", "full"}
  assert policies(with_policy(model, "none")) == {"none"}
  assert with_policy(dict(text=dict(depth=2)), "none") == dict(
    text=dict(depth=2)
  )
