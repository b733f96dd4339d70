"""Examples of retrieval as HTML and as rows of numbers."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from trajvit.report.examples import Hit, Query
from trajvit.report.markup import data_uri, escape

_SIDE = 160  # pixels that a thumbnail has at most


def as_html(queries: Sequence[Query]) -> str:
  """Returns what every caption finds, run by run, the right clip marked."""
  captions = dict.fromkeys((q.evaluation, q.caption) for q in queries)
  parts = []
  for evaluation, caption in captions:
    parts.append(f"<h3>“{escape(caption)}”</h3>")
    for query in queries:
      if (query.evaluation, query.caption) == (evaluation, caption):
        parts.append(_query(query))
  return "\n".join(parts)


def query_rows(queries: Sequence[Query]) -> list[list]:
  """Returns rows for a CSV, the head first, a row a clip that was found."""
  rows = [
    ["run", "evaluation", "caption", "rank_of_right", "among"]
    + ["place", "clip", "score", "right"]
  ]
  for query in queries:
    for place, hit in enumerate(query.hits, 1):
      asked = [query.run, query.evaluation, query.caption]
      ranked = [query.rank, query.among]
      rows.append([*asked, *ranked, place, hit.name, hit.score, hit.right])
  return rows


def _query(query: Query) -> str:
  hits = "".join(_hit(place, hit) for place, hit in enumerate(query.hits, 1))
  return (
    f'<div class="query"><p><strong>{escape(query.run)}</strong> '
    f"({escape(query.evaluation)}): the right clip has rank "
    f"{query.rank} of {query.among}.</p>"
    f'<ol class="hits">{hits}</ol></div>'
  )


def _hit(place: int, hit: Hit) -> str:
  kind, word = (' class="right"', " ✓ right") if hit.right else ("", "")
  address = data_uri(thumbnail(hit.frame), "image/jpeg")
  name = escape(hit.name)
  return (
    f'<li{kind}><img alt="{name}, middle frame" src="{address}">'
    f"<b>{place}. {hit.score:.2f}{word}</b><br>"
    f"{name.replace('/', '/<wbr>')}</li>"
  )


def thumbnail(frame: np.ndarray) -> bytes:
  """Returns a frame [H, W, 3] uint8 as a small JPEG."""
  picture = Image.fromarray(frame)
  picture.thumbnail((_SIDE, _SIDE))
  buffer = io.BytesIO()
  picture.save(buffer, "jpeg", quality=88)
  return buffer.getvalue()
