"""Masks to COCO's run lengths, from the definition."""


def encode(mask):
  """The run lengths of a mask, from the definition: column by column."""
  counts, color = [0], False
  for pixel in mask.T.ravel():
    if pixel != color:
      counts.append(0)
      color = not color
    counts[-1] += 1
  return counts


def compress(counts):
  """Counts as a string, one character at a time."""
  text = ""
  for i, count in enumerate(counts):
    value = count - counts[i - 2] if i > 2 else count
    while True:
      five, value = value & 31, value >> 5
      done = value == (-1 if five & 16 else 0)
      text += chr(48 + five + (0 if done else 32))
      if done:
        break
  return text


def coco(mask, *, compressed=False):
  """A mask as a JSON file has it."""
  counts = encode(mask)
  return {
    "size": list(mask.shape),
    "counts": compress(counts) if compressed else counts,
  }
