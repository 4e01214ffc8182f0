"""Write which of the quick tests take long: they wait for `make test-all`, so that `make test` stays quick.

python -m pytest -n 2 --durations=0 -m "not export and not more" > log
python tests/durations.py log

A line of `long.txt` that begins with `+ ` names a test that stays among the quick ones, however long it takes: one that
proves what no other of them does.
"""

import re
import sys
from collections import Counter
from pathlib import Path

LONG = Path(__file__).with_name("long.txt")
_LINE = re.compile(r"(\d+\.\d+)s (?:call|setup) +(tests/.+)")
_SHARE = 0.45  # of all the time: the tests beyond are left out


def main(log: str) -> None:
    """Leave out the longest tests until what is left takes its share of the time."""
    took = Counter[str]()
    for line in Path(log).read_text().splitlines():
        if found := _LINE.fullmatch(line.rstrip()):
            took[found[2]] += float(found[1])  # type: ignore[assignment]
    lines = LONG.read_text().splitlines() if LONG.exists() else []
    stay = sorted(line for line in lines if line.startswith("+ "))
    left, limit = took.total(), _SHARE * took.total()
    out = []
    for name, seconds in took.most_common():
        if left <= limit:
            break
        if f"+ {name}" not in stay:
            out.append(name)
            left -= seconds
    LONG.write_text("\n".join([*stay, *sorted(out)]) + "\n")
    print(f"{len(out)} tests left out, {left:.0f} of {took.total():.0f} s left")


if __name__ == "__main__":
    main(sys.argv[1])
