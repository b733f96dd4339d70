"""The `xla` backend: gathers the listed blocks; see `sparse.Backend`."""


def check(query, blocks, options):
  """Nothing is refused."""


def forward(query, key, value, bias, blocks, options):
  """See `sparse.Backend`."""
  raise NotImplementedError("being written")


def backward(
  query, key, value, bias, blocks, logsumexp, delta, out_grad, options
):
  """See `sparse.Backend`."""
  raise NotImplementedError("being written")
