"""`trajvit bench WHAT`: what a part costs here, against what it replaces."""

from trajvit.bench import (
  attention,
  data,
  encoders,
  exports,
  packing,
  reducers,
)

# name -> (module with `add_arguments(parser)` and `run(args)`, help).
BENCHMARKS = {
  "attention": (attention, "block-sparse attention against dense"),
  "data": (data, "clips read, beside a PyTorch DataLoader"),
  "encoders": (encoders, "tokens, FLOPs, memory and time of encoders"),
  "exports": (exports, "an encoder by jax jit and in its exports"),
  "packing": (packing, "packed rows against padded clips"),
  "reducers": (reducers, "token reduction in a trained encoder"),
}


def add_arguments(parser):
  """Declares the arguments of every benchmark."""
  benchmarks = parser.add_subparsers(dest="benchmark", required=True)
  for name, (module, text) in BENCHMARKS.items():
    benchmark = benchmarks.add_parser(
      name, help=text, description=module.__doc__
    )
    module.add_arguments(benchmark)
    benchmark.set_defaults(benchmark_run=module.run)


def run(args):
  """Runs the benchmark that was asked for."""
  return args.benchmark_run(args)
