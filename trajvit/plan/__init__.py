"""What a run will need on accelerators that are not at hand.

`worker` compiles the training step in a process of its own; `hlo` and what
stands on it read the compiled program; `bracket` says how long a step takes,
`remedies` what makes it fit, `page` prints it.
"""
