"""Constants: what every constant of a graph is, and what it becomes at other sizes.

`classify.py` says it once for planning, learngenes, matching and training: by what reads a constant (`uses.py`,
`gradient.py`) and by contents that nobody learns (`patterns.py`, `formulas.py` and what it lists). Numbers that hold a
size are in `scalars.py`, on the degrees of `degrees.py`; numbers that go on over the blocks in `sequences.py`.
"""
