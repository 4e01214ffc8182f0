"""What commands print: helps, --quiet, NO_COLOR, completion, tables that break no name, progress in a log."""

import errno
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from rich.table import Table
from small import DIGITS, mlp

import front_onnx
from front_onnx.commands import fitting, main, progress
from front_onnx.commands.fitting import print_table
from front_onnx.commands.help import Command
from front_onnx.commands.output import console

COMMANDS = ("compare", "extract", "init", "inspect", "refine", "resize", "validate")


def front(line: str, columns: int = 80) -> Result:
    """Run a command; its helps are as wide as click makes them in a terminal of so many columns."""
    return CliRunner().invoke(main, line.split(), prog_name="front-onnx", terminal_width=min(columns, 100) - 2)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(DIGITS, tmp_path / "digits.onnx")
    shutil.copy(DIGITS.with_name("inputs.npz"), tmp_path / "inputs.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- helps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_helps_fit_and_nothing_is_cut(command: str, columns: int) -> None:
    done = front(f"{command} --help", columns)
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and max(map(len, lines)) <= columns
    words = " ".join(done.stdout.split())
    assert "Exit codes: " in words and "130 interrupted." in words
    held = main.commands[command] if command else main
    for option in held.params:
        if isinstance(option, click.Option):
            assert all(name in words for name in option.opts), option.opts
            assert " ".join((option.help or "").split()) in words, option.opts  # whole, and no word in two
    for name, other in main.commands.items() if not command else ():
        assert name in words and " ".join((other.help or "").split("\n\n")[0].split()) in words


def test_every_command_is_of_the_kind_that_has_it_all() -> None:
    assert sorted(main.commands) == list(COMMANDS)
    for command in main.commands.values():
        assert isinstance(command, Command) and any("--quiet" in option.opts for option in command.params)


@pytest.mark.parametrize("command", ["resize", "init", "compare", "refine"])
def test_options_of_long_commands_stand_in_sections(command: str) -> None:
    lines = front(f"{command} --help").stdout.splitlines()
    titles = [line for line in lines if line and line[0] != " " and line[-1] == ":"]
    assert len(titles) >= 5 and len(set(titles)) == len(titles), titles


def test_examples_can_be_pasted() -> None:
    """A line that goes on ends in a backslash, and an option stays with its value."""
    for command in COMMANDS:
        text = main.commands[command].help or ""
        wanted = [" ".join(line.split()) for line in text.splitlines() if line.strip().startswith("front-onnx ")]
        said = front(f"{command} --help", 60).stdout
        shown = [" ".join(line.split()) for line in said.replace("\\\n", " ").splitlines()]
        assert wanted and not [line for line in wanted if line not in shown]
        broken = [line for line in said.splitlines() if line.endswith("\\")]
        assert not [line for line in broken if line.split()[-2].startswith("-") and line.split()[-2] != "--dry-run"]


# --- --quiet ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "inspect digits.onnx",
        "inspect digits.onnx --spectrum",
        "validate digits.onnx",
        "resize digits.onnx --depth 3 -o small.onnx --card",
        "resize digits.onnx --depth 3 --dry-run",
        "extract digits.onnx -o gene.safetensors",
        "init --from digits.onnx --into digits.onnx -o again.onnx",
        "compare digits.onnx --depth 3 --methods front,copy --data inputs.npz",
    ],
)
def test_quiet_commands_print_nothing_and_do_the_same(folder: Path, line: str) -> None:
    loud = front(line)
    made = {path: path.read_bytes() for path in folder.iterdir()}
    assert loud.exit_code == 0 and loud.stdout
    for option in ("-q", "--quiet"):
        done = front(f"{line} {option}")
        assert (done.exit_code, done.output) == (0, "")
        assert {path: path.read_bytes() for path in folder.iterdir()} == made
    assert front(line).stdout  # it is of one command


def test_quiet_commands_still_tell_errors_and_json(folder: Path) -> None:
    done = front("resize digits.onnx --width 50 -q")
    assert done.exit_code == 2 and not done.stdout and done.stderr.startswith("Error: heads 4 would become")
    done = front("inspect digits.onnx --json -q")
    assert done.exit_code == 0 and done.stdout.startswith("{")
    (folder / "broken.onnx").write_bytes(b"")
    assert front("validate broken.onnx -q").exit_code == front("validate broken.onnx").exit_code != 0


# --- terminals --------------------------------------------------------------------------------------------


def in_terminal(arguments: list[str], columns: int, **environment: str) -> str:
    """All that a command writes into a terminal."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "TERM")}
    kept |= {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
    process = subprocess.Popen([sys.executable, "-m", "front_onnx", *arguments], stdout=theirs, stderr=theirs, env=kept)
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 4096):
            text += piece
    except OSError as error:
        assert error.errno == errno.EIO  # closed at the other end
    os.close(ours)
    assert process.wait() == 0, text
    return text.decode()


@pytest.mark.parametrize("command", ["inspect", "compare"])
def test_without_color_no_escape_code_is_written(folder: Path, command: str) -> None:
    more = ["--depth", "3", "--methods", "front,copy", "--data", "inputs.npz"] if command == "compare" else []
    colored = in_terminal([command, "digits.onnx", *more], 80)
    plain = in_terminal([command, "digits.onnx", *more], 80, NO_COLOR="1")
    assert "\x1b[" in colored and "\x1b" not in plain and "digits.onnx" in plain


def test_completion_answers() -> None:
    """The shell asks by these variables; docs/getting-started.md says how it is told to."""
    program = Path(sys.executable).with_name("front-onnx")
    if not program.exists():
        pytest.skip("front-onnx is not installed")

    def answer(line: str, **variables: str) -> str:
        asked = {"COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1), **variables}
        return subprocess.run([program], env={**os.environ, **asked}, capture_output=True, text=True, check=True).stdout

    complete = {"_FRONT_ONNX_COMPLETE": "bash_complete"}
    assert answer("front-onnx re", **complete).split() == ["plain,refine", "plain,resize"]
    assert answer("front-onnx resize --width", **complete).split() == ["plain,--width", "plain,--width-mult"]
    assert answer("front-onnx resize --band m", **complete).split() == ["plain,mid"]
    for shell in ("bash", "zsh", "fish"):
        assert "front-onnx" in answer("", _FRONT_ONNX_COMPLETE=f"{shell}_source", COMP_CWORD="0")


# --- tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [24, 36, 50, 80, 160])
def test_tables_break_no_name(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    table = Table(title="some names", box=None)
    rows = [("/blocks.0/attn/proj/Transpose", "a sentence of words", "28.3", "x"), ("short", "a word", "1.0", "y")]
    for header in ("name", "text", "number", "spare"):
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*row)
    print_table(table, drop=("spare",))
    lines = capsys.readouterr().out.splitlines()
    words = [word for line in lines for word in line.split()]
    for word in " ".join(cell for row in rows for cell in row[:3]).split():
        assert word in words, (word, lines)
    fits = max(map(len, lines)) <= columns
    assert fits or columns < len(rows[0][0]) + 2  # what is longer than the terminal is left to the terminal
    assert (columns >= 80) == ("left out, for want of room: spare" not in "\n".join(lines) and "spare" in words)


@pytest.mark.parametrize("columns", [30, 60])
def test_names_in_what_commands_print_stay_whole(folder: Path, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for line in (
        "inspect digits.onnx",
        "inspect digits.onnx --spectrum",
        "resize digits.onnx --depth 3 --dry-run",
        "compare digits.onnx --depth 3 --methods depth=copy,width=select:norm;front --data inputs.npz",
        "init --from digits.onnx --into digits.onnx --dry-run",
    ):
        narrow = front(line)
        monkeypatch.setenv("COLUMNS", "1000")
        wide = front(line)
        monkeypatch.setenv("COLUMNS", str(columns))
        assert narrow.exit_code == wide.exit_code == 0
        known = set(wide.stdout.replace(":", " ").split())
        other = [word for word in narrow.stdout.replace(":", " ").split() if word not in known]
        assert not [word for word in other if not word.strip(",").isalpha() and not word.replace(".", "").isdecimal()]
        broken = [word for word in known if len(word) > 12 and "/" in word and word not in narrow.stdout]
        assert not broken or "left out, for want of room" in " ".join(narrow.stdout.split()), (line, broken)


# --- progress ---------------------------------------------------------------------------------------------


def test_a_comparison_in_a_log_says_each_start(folder: Path) -> None:
    done = front("compare digits.onnx --depth 3 --methods front,copy,random --data inputs.npz")
    lines = done.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == ["1 of 3", "2 of 3", "3 of 3"], done.stderr
    assert "front keeps " in lines[0] and " left" in lines[0] and " left" not in lines[-1]


def test_other_commands_in_a_log_say_now_and_then_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.shown(quiet=False) as tell:
        for done in range(40):
            tell("fit", done, 40)
            clock[0] += 1
    assert capsys.readouterr().err.splitlines() == ["fit 15 of 40, about 25 s left", "fit 30 of 40, about 10 s left"]


def test_the_time_left_starts_anew_with_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    pace = progress.Pace()
    told = []
    for stage, done in (("a", 0), ("a", 5), ("b", 0), ("b", 5), ("b", 2), ("b", 3), ("b", 10)):
        told.append(pace.left(stage, done, 10))
        clock[0] += 10
    assert told == ["", "about 10 s left", "", "about 10 s left", "", "about 70 s left", ""]


def test_calibration_says_which_start_it_fits() -> None:
    told: list[tuple[str, int, int]] = []
    front_onnx.resize(
        mlp(depth=4), depth=2, data="synthetic", progress=lambda stage, done, total: told.append((stage, done, total))
    )
    stages = list(dict.fromkeys(stage for stage, _, _ in told))
    fits = [stage for stage in stages if stage.startswith("calibrated, start ")]
    count = int(fits[-1].split()[-1])
    assert [stage.split()[2] for stage in fits] == [str(number + 1) for number in range(len(fits))] and count == len(
        fits
    )
    assert all(any(0 < done < total for stage, done, total in told if stage == fit) for fit in fits)


def test_a_quiet_console_is_one_console() -> None:
    assert fitting.console is console
