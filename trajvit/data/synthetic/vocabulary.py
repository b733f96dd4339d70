"""The words of the sprite world: what things are called and their colours."""

COLORS = {
  "red": (214, 40, 40),
  "green": (44, 160, 44),
  "blue": (40, 80, 220),
  "yellow": (235, 210, 40),
  "purple": (140, 60, 190),
  "orange": (245, 130, 30),
}  # RGB in [0, 255]
SHAPES = ("circle", "square", "triangle", "star")
PATTERNS = ("plain", "striped", "dotted")

# The position of a motion in this tuple is its class label.
MOTIONS = (
  "moves left",
  "moves right",
  "moves up",
  "moves down",
  "grows",
  "shrinks",
  "spins",
  "bounces",
  "circles",
  "appears",
  "vanishes",
  "stays still",
)
STILL_CAMERA = "is still"
MOVING_CAMERAS = (
  "pans left",
  "pans right",
  "tilts up",
  "tilts down",
  "zooms in",
  "zooms out",
  "shakes",
)

# What joins the two halves of a caption; the first is the canonical one.
CONJUNCTIONS = ("while", "and", "as")
