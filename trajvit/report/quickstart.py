"""`trajvit quickstart`: trains, compares, exports, and runs the exported file.

Every method trains in its own process, by the same `train.py` and the same
config file as any other run; what is left behind are ordinary run directories.
"""

import dataclasses
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from trajvit.data.decode import write_video
from trajvit.data.example import ClipSpec
from trajvit.data.extract import extract_tracks
from trajvit.data.overlay import save_strip
from trajvit.data.synthetic import MovingSprites
from trajvit.export.load import load
from trajvit.report import table
from trajvit.report.examples import Query, find_examples
from trajvit.report.page import Picture, Section, write_page
from trajvit.report.runs import Run, read_run

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIG = "configs/quickstart_sprites.py"
OURS = "trajectory"
METHODS = (OURS, "vit3d_128", "random_k", "uniform_k")
FULL_METHODS = (
  OURS,
  "trajectory_extracted",
  "vit3d_128",
  "vit3d_256",
  "random_k",
  "uniform_k",
)
EXAMPLES = 3  # captions that the page shows with what is found by them
NOTES = (
  "Held-out clips of moving sprites; the same text tower, trunk, data, batches "
  "and steps for every method. Nothing is converged at this length: read every "
  "number as 'at this budget'.",
  "Tracks: 'ground truth' are the regions as rendered, which no method that "
  "sees pixels only could know; 'from pixels' are found by superpixels and "
  "optical flow, as for a real video.",
)


@dataclasses.dataclass(frozen=True)
class Job:
  """One training run: a method, a seed, and its length."""

  method: str
  seed: int
  steps: int
  name: str


def add_arguments(parser):
  """Declares the arguments of the command."""
  parser.add_argument(
    "--full",
    action="store_true",
    help="also tracks from pixels, ViT3D with 256 tokens, two seeds, and "
    "ViT3D at the trajectory run's compute (takes much longer)",
  )
  parser.add_argument("--out", default="runs/quickstart", help="directory")
  parser.add_argument("--steps", type=int, default=300, help="of every run")
  parser.add_argument("--clips", type=int, default=4096, help="to train on")
  parser.add_argument(
    "--cache", help="folder of rendered clips, default OUT/cache"
  )


def run(args):
  """Runs everything; returns the exit status."""
  if not (REPOSITORY / "train.py").exists():
    raise ValueError(
      f"the quickstart needs a checkout with train.py, but {REPOSITORY} has "
      "none: clone the repository and install it with `make env`"
    )
  started = time.time()
  out = Path(args.out).resolve()
  cache = Path(args.cache or out / "cache").resolve()
  jobs = _jobs(args.full, args.steps)
  runs = []
  for number, job in enumerate(jobs, 1):
    print(f"[{number}/{len(jobs)}] {job.name}", flush=True)
    runs.append(_train(job, out, args.clips, cache))
  if args.full:
    job = _equal_compute_job(runs, args.steps)
    print(f"[extra] {job.name}: {job.steps} steps", flush=True)
    runs.append(_train(job, out, args.clips, cache))
  print("\n" + table.as_text(table.comparison(runs)) + "\n")
  page = write_page(
    out / "report" / "index.html",
    runs,
    title="trajvit quickstart: trajectory tokens against space-time patches",
    ours=OURS,
    notes=[*NOTES, _extraction_note()] if args.full else NOTES,
    sections=_drawn(args.full),
    queries=_queries(runs),
  )
  _export_and_run(out, _directory(out, jobs[0]))
  print(f"report: {page}")
  print(f"done in {(time.time() - started) / 60:.1f} minutes")


def _jobs(full: bool, steps: int) -> list[Job]:
  methods, seeds = (FULL_METHODS, (0, 1)) if full else (METHODS, (0,))
  return [
    Job(method, seed, steps, f"{method}-seed{seed}")
    for seed in seeds
    for method in methods
  ]


def _equal_compute_job(runs: list[Run], steps: int) -> Job:
  """ViT3D with its whole schedule inside the trajectory run's compute."""
  gflops = {run.name: run.step_gflops for run in runs}
  fewer = max(1, round(steps * gflops[OURS] / gflops["vit3d_128"]))
  return Job("vit3d_128", 0, fewer, "vit3d_128_equal_compute-seed0")


def _directory(out: Path, job: Job) -> Path:
  return out / job.name


def _train(job: Job, out: Path, clips: int, cache: Path) -> Run:
  """Trains and evaluates in a process of its own; goes on where it stopped."""
  directory = _directory(out, job)
  options = dict(
    method=job.method, steps=job.steps, seed=job.seed, clips=clips, cache=cache
  )
  spelled = ",".join(f"{key}={value}" for key, value in options.items())
  command = [
    sys.executable,
    str(REPOSITORY / "train.py"),
    f"--config={REPOSITORY / CONFIG}:{spelled}",
    f"--workdir={directory}",
  ]
  subprocess.run(command, check=True, cwd=REPOSITORY, env=_environment())
  return read_run(directory)


def _environment():
  """This machine's processor unless the user chose otherwise."""
  return {"JAX_PLATFORMS": "cpu"} | dict(os.environ)


def _extraction_note() -> str:
  """What tracks from pixels cost here, measured on a few clips."""
  clips = [_sprites("validation", "exact").example(i, None) for i in range(8)]
  start = time.process_time()
  for clip in clips:
    extract_tracks(clip.frames, max_tracks=32)
  milliseconds = 1000 * (time.process_time() - start) / len(clips)
  return (
    f"Finding the tracks of a clip took {milliseconds:.0f} ms of processor "
    "time here, once, ahead of training; it is not in the GFLOPs."
  )


def _sprites(split: str, tracks: str) -> MovingSprites:
  clip = ClipSpec(frames=16, size=64, track_grid=64, max_tracks=32)
  return MovingSprites(clip=clip, split=split, count=8, tracks=tracks)


def _drawn(full: bool) -> list[Section]:
  """Two clips with their tracks; in the full version also those from pixels."""
  pictures = []
  kinds = {"exact": "ground truth tracks"}
  if full:
    kinds["extracted"] = "tracks from pixels"
  for split, index in (("static", 0), ("moving", 3)):
    for tracks, label in kinds.items():
      example = _sprites(split, tracks).example(index, None)
      buffer = io.BytesIO()
      save_strip(buffer, example.frames, example.tracks)
      caption = f"{split}, {label}: {example.captions[0]}"
      name = f"trajectories_{split}_{tracks}.png"
      pictures.append(Picture(name, caption, buffer.getvalue()))
  return [Section("Trajectories", pictures)]


def _queries(runs: list[Run]) -> list[Query]:
  """What ours and the method after it find by the same captions."""
  return [
    query
    for run in runs[:2]
    for query in find_examples(run.path, "static", EXAMPLES)
  ]


def _export_and_run(out: Path, directory: Path):
  """Exports the trajectory encoder and asks it what an mp4 shows."""
  exported = out / "export"
  command = [sys.executable, "-m", "trajvit.cli", "export", str(directory)]
  command += [str(exported), "--overwrite"]
  subprocess.run(command, check=True, cwd=REPOSITORY, env=_environment())
  examples = [_sprites("static", "exact").example(i, None) for i in range(8)]
  video = out / "clip.mp4"
  write_video(video, examples[0].frames, fps=8)
  encoder = load(exported)
  embedding = encoder.encode(str(video))  # tracks are found in its pixels
  captions = [example.captions[0] for example in examples]
  scores = np.asarray(encoder.encode_text(captions)) @ np.ravel(embedding)
  best = int(scores.argmax())
  print(f"exported encoder: {exported}")
  print(f"  {video} shows: {captions[0]}")
  print(f"  best of {len(captions)} captions: {captions[best]}")
  result = dict(captions=captions, scores=scores.tolist(), shown=captions[0])
  (out / "clip.json").write_text(json.dumps(result, indent=2) + "\n")
