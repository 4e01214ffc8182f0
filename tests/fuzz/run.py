"""python tests/fuzz/run.py --minutes 5 --seed 1: see `fuzzing.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.fuzzing import command_line

if __name__ == "__main__":
    command_line()
