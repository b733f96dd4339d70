"""Named tables, from which configs build every exchangeable part."""

import inspect

# What the line offers and a config need not set: left out of error messages.
CONTEXT = {
  "self",
  "rngs",
  "dtype",
  "outputs",
  "batch",
  "loader",
  "load_features",
  "build_loader",
  "build_source",
}


class Table(dict):
  """Maps the names a config may use to what they build.

  A spec is a plain dict `{"name": ..., **kwargs}`. Every key is either an
  argument of the entry or an error, so that a config cannot say something that
  nobody reads.
  """

  def __init__(self, kind: str, entries: dict):
    """`kind` is the word for an entry in messages, such as "tokenizer"."""
    super().__init__(entries)
    self.kind = kind

  def __missing__(self, name):
    raise ValueError(
      f"unknown {self.kind} {name!r}; known: {', '.join(sorted(self))}"
    )

  def build(self, spec: dict, **context):
    """Calls the entry that `spec` names with the rest of `spec`.

    Args:
      spec: `{"name": ..., **kwargs}`.
      **context: arguments offered by the caller; an entry that has no such
        parameter does not get it, and one set in `spec` overrides it.

    Raises:
      ValueError: no name, an unknown name, or a key the entry does not take.
    """
    kwargs = dict(spec)
    if "name" not in kwargs:
      raise ValueError(
        f"a {self.kind} needs a name, one of {', '.join(sorted(self))}; "
        f"got {spec}"
      )
    name = kwargs.pop("name")
    entry = self[name]
    accepted = check_arguments(f"{self.kind} {name!r}", entry, kwargs)
    offered = {k: v for k, v in context.items() if k in accepted}
    return entry(**{**offered, **kwargs})

  def describe(self) -> list[tuple[str, str]]:
    """Returns (name, first line of its docstring) for every entry, sorted."""
    return [
      (name, (inspect.getdoc(entry) or "").split("\n")[0])
      for name, entry in sorted(self.items())
    ]


def check_arguments(what: str, function, kwargs: dict) -> set[str]:
  """Returns the arguments that can be given to `function` by keyword.

  Raises:
    ValueError: `kwargs` has a key it does not take; `what` names the function.
  """
  # The metaclass of a module hides the signature of its class.
  called = function.__init__ if inspect.isclass(function) else function
  parameters = inspect.signature(called).parameters.values()
  if any(p.kind is p.VAR_KEYWORD for p in parameters):
    return {p.name for p in parameters} | set(kwargs)
  accepted = {
    p.name
    for p in parameters
    if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
  }
  unread = sorted(set(kwargs) - accepted)
  if unread:
    raise ValueError(
      f"{what} reads no {', '.join(map(repr, unread))}; "
      f"it takes {', '.join(sorted(accepted - CONTEXT))}"
    )
  return accepted
