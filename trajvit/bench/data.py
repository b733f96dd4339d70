"""`trajvit bench data`: how fast clips are read, beside a PyTorch DataLoader.

Decoding, choice of frames, crop, resize, tracks and packing, from plain files,
ArrayRecord and tar, by threads and by processes; and the same of the same files
with decord or PyAV and torch where those are installed, in turns.
"""

import contextlib
import importlib.metadata
import pathlib
import statistics
import tempfile

from trajvit.bench import data_clips, machine, results
from trajvit.bench.data_clips import Recording
from trajvit.bench.data_readers import (
  BASELINE_WORKERS,
  BASELINES,
  READERS,
  STORAGES,
  DataReaders,
  agreement,
  has_baseline,
  measure,
)
from trajvit.bench.results import Section
from trajvit.data.example import ClipSpec

PACKAGES = ("numpy", "av", "pillow", "grain", "array_record", "torch", "decord")
MAX_TRACKS = 64
COMPARED = 4  # clips that are held against the baseline's
ABOUT = """\
A clip is decoded, its frames are drawn one from each of as many intervals, its
tracks read and joined with their graph, a random part of the picture cut out,
resized and perhaps mirrored; then clips are stacked and, with us, packed by
their tracks. *clips/s* is by the clock, *clips/CPU s* by the processor time of
all processes and threads, which is what one core yields; both are medians over
rounds in which all take turns. *to PyTorch* is the latter over that of the
fastest DataLoader here, whatever decodes for it. All files are in the page
cache, so that no disk is measured.
"""
HEADER = ("clips", "read by", "clips/s", "clips/CPU s", "CPU ms", "to PyTorch")


def add_arguments(parser):
  """Declares the arguments of the benchmark."""
  add = parser.add_argument
  recording = Recording()
  add("--folder", help="keeps the clips; default: a temporary one")
  add("--clips", type=int, default=recording.clips, help="videos to make")
  add("--video-frames", type=int, default=recording.frames)
  add("--height", type=int, default=recording.height, help="of the videos")
  add("--width", type=int, default=recording.width, help="of the videos")
  add("--key-interval", type=int, default=recording.key_interval)
  add("--frames", type=int, default=16, help="of a clip")
  add("--size", type=int, default=224, help="of a clip, in pixels")
  add("--track-grid", type=int, default=56, help="of a clip, in cells")
  add("--batch-size", type=int, default=16)
  add("--storages", nargs="+", choices=STORAGES, default=STORAGES)
  add("--readers", nargs="+", choices=READERS, default=tuple(READERS))
  add("--baselines", nargs="*", choices=BASELINES, default=tuple(BASELINES))
  add("--batches", type=int, default=6, help="in a measurement")
  add("--rounds", type=int, default=3, help="medians are over so many")
  add("--csv", help="CSV file to write")
  add("--out", help="JSON file to write")
  add("--markdown", help="Markdown file to write")


def run(args):
  """Makes the clips, measures, prints the tables and writes them."""
  about, packages = machine.describe(), _versions()
  about["versions"] |= packages
  preface = machine.header(about)
  preface.append(", ".join(f"{k} {v}" for k, v in packages.items()))
  print("\n".join(preface), flush=True)
  baselines = list(filter(has_baseline, args.baselines))
  if missing := sorted(set(args.baselines) - set(baselines)):
    note = f"without {' and '.join(missing)}: pip install torch decord"
    preface.append(note)
    print(note, flush=True)
  with tempfile.TemporaryDirectory() as temporary:
    recording, clip = _shapes(args)
    readers = DataReaders(
      pathlib.Path(args.folder or temporary),
      recording=recording,
      clip=clip,
      batch_size=args.batch_size,
      storages=args.storages,
    )
    sections = []
    for make in (
      lambda: clips_section(readers, recording, clip, args.storages),
      lambda: agreement_section(readers, args.storages, baselines),
      lambda: speed_section(readers, args, baselines),
    ):
      sections.append(section := make())
      print(f"\n{section.title}\n\n{section.text}", flush=True)
  if args.csv:
    results.write_csv(args.csv, HEADER, _speed_cells(sections[-1].rows))
  results.write(
    sections,
    about,
    preface,
    title="Reading clips",
    about=ABOUT,
    out=args.out,
    markdown=args.markdown,
  )


def clips_section(readers, recording, clip, storages) -> Section:
  """Returns what the videos are, and how large they are in each storage."""
  rate = data_clips.megabits_a_second(readers.folder / "files", recording)
  rows = []
  for name in storages:
    files = [p for p in (readers.folder / name).iterdir() if p.is_file()]
    size = sum(path.stat().st_size for path in files)
    rows.append({"storage": name, "files": len(files), "bytes": size})
  cells = [
    (row["storage"], str(row["files"]), f"{row['bytes'] / 1e6:.1f}")
    for row in rows
  ]
  title = (
    f"{recording.clips} videos of {recording.frames} frames, "
    f"{recording.width} x {recording.height}, {recording.fps} frames/s, "
    f"{rate:.2f} Mbit/s, a key frame every {recording.key_interval}; clips of "
    f"{clip.frames} frames, {clip.size} x {clip.size}, tracks on "
    f"{clip.track_grid} x {clip.track_grid}"
  )
  return _section(title, rows, ("storage", "files", "MB"), cells)


def agreement_section(readers, storages, baselines) -> Section:
  """Returns how far the clips of the evaluation view are the same."""
  ours = {name: readers.source(name) for name in storages}
  first = ours[storages[0]]
  numbers = range(min(COMPARED, len(first)))
  examples = [first.example(i, None) for i in numbers]
  rows = []
  for name, source in ours.items():
    clips = [source.example(i, None) for i in numbers]
    found = agreement(examples, [(x.frames, x.tracks) for x in clips])
    rows.append({"clips": name, **found})
  for name in baselines:
    clips = readers.baseline_clips(name, train=False)
    found = agreement(examples, [clips[i][:2] for i in numbers])
    rows.append({"clips": f"PyTorch, {name}", **found})
  cells = [
    (
      row["clips"],
      row["shapes"],
      results.significant(row["difference"]),
      results.percent(row["tracks"], 2),
    )
    for row in rows
  ]
  header = ("clips", "a clip", "mean difference of 255", "equal cells")
  title = f"The same work: {len(numbers)} clips, evaluated"
  return _section(title, rows, header, cells)


def speed_section(readers, args, baselines) -> Section:
  """Returns how many clips a second, by the clock and of processor time."""
  readings = [
    *(
      readers.ours(name, how) for name in args.storages for how in args.readers
    ),
    *(
      readers.baseline(name, how)
      for name in baselines
      for how in args.readers
      if how in BASELINE_WORKERS
    ),
  ]
  taken = {reading: [] for reading in readings}
  for _ in range(args.rounds):
    for reading, rounds in taken.items():
      rounds.append(measure(reading, args.batches))
  clips = args.batches * args.batch_size
  rows = []
  for reading, rounds in taken.items():
    wall, cpu = zip(*rounds, strict=True)
    row = {
      "clips": reading.clips,
      "reader": reading.reader,
      "baseline": reading.baseline,
      "clips_per_second": clips / statistics.median(wall),
      "clips_per_cpu_second": None,
      "seconds": wall,
      "cpu_seconds": cpu,
    }
    if None not in cpu:
      row["clips_per_cpu_second"] = clips / statistics.median(cpu)
    rows.append(row)
  title = f"Speed: {args.rounds} rounds of {clips} clips"
  return _section(title, rows, HEADER, _speed_cells(rows))


def _speed_cells(rows) -> list[tuple[str, ...]]:
  rates = [row["clips_per_cpu_second"] for row in rows if row["baseline"]]
  best = max((rate for rate in rates if rate), default=None)
  cells = []
  for row in rows:
    rate = row["clips_per_cpu_second"]
    cells.append(
      (
        row["clips"],
        row["reader"],
        f"{row['clips_per_second']:.1f}",
        "-" if rate is None else f"{rate:.1f}",
        "-" if rate is None else f"{1e3 / rate:.1f}",
        results.times(rate / best if rate and best else None),
      )
    )
  return cells


def _shapes(args) -> tuple[Recording, ClipSpec]:
  recording = Recording(
    clips=args.clips,
    frames=args.video_frames,
    height=args.height,
    width=args.width,
    key_interval=args.key_interval,
  )
  clip = ClipSpec(
    frames=args.frames,
    size=args.size,
    track_grid=args.track_grid,
    max_tracks=MAX_TRACKS,
    sampler="random_segment",
    augment="crop_flip",
  )
  return recording, clip


def _versions() -> dict[str, str]:
  found = {}
  for name in PACKAGES:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
      found[name] = importlib.metadata.version(name)
  return found


def _section(title, rows, header, cells) -> Section:
  text = results.as_text(header, cells)
  return Section(title, rows, text, results.as_markdown(header, cells))
