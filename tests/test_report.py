"""Pages, cards and next steps: all that was done stands there, in one file, whatever a model is called."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from small import DIGITS, mlp

import front_onnx
from front_onnx.commands import main
from front_onnx.report.blocks import stacks
from front_onnx.report.drawing import curves, draw_blocks
from front_onnx.report.page import Page, Section, Table, write_page

pytest.importorskip("jinja2")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
VOID = {"meta", "line", "circle", "polyline", "link", "img", "br"}


class Reader(HTMLParser):
    """Reads a page, and sees that every element that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.outside: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [str(value) for name, value in attrs if name in ("src", "href", "xlink:href", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data.strip())


def read(path: Path | str) -> Reader:
    text = Path(path).read_text()
    found = Reader(text)
    assert not found.outside and "script" not in found.tags and "://" not in text and "@import" not in text
    assert 'name="viewport"' in text and "prefers-color-scheme: dark" in text and "@media print" in text
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "digits.onnx").write_bytes(DIGITS.read_bytes())
    onnx.save(mlp(width=8), str(tmp_path / "small.onnx"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, labels=rng.integers(0, 4, 200))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def front(line: str) -> Result:
    return CliRunner().invoke(main, shlex.split(line), prog_name="front-onnx")


# --- pages --------------------------------------------------------------------------------------------------------


def test_the_page_of_a_resizing_has_all_of_it(folder: Path) -> None:
    done = front("resize small.onnx --depth 2 --width 4 --data data.npz --ridge 0.1 --report page.html")
    assert done.exit_code == 0 and "wrote page.html" in done.stdout, done.output
    page = read("page.html")
    titles = page.texts["h2"]
    for title in ("What was asked", "Before and after", "The blocks", "Starts that were compared", "Layer by layer"):
        assert title in titles
    assert {"Frequencies", "Checks", "What to do next"} <= set(titles)
    cells = page.texts["td"]
    assert {"depth", "2", "hidden", "4", "calibrated", "front", "small.onnx", "y"} <= {*cells} or "width" in cells
    assert page.tags.count("svg") >= 4 and page.tags.count("rect") == 3 + 2
    said = [line.removeprefix("next: ") for line in done.stdout.splitlines() if line.startswith("next: ")]
    assert page.texts["pre"] == said and said


def test_the_page_of_growth_draws_added_blocks(folder: Path) -> None:
    assert front("resize digits.onnx --depth 8 --method lossless --report page.html").exit_code == 0
    text = Path("page.html").read_text()
    assert len(re.findall(r'<rect class="block added"', text)) == 2
    assert len(re.findall(r'<rect class="block kept"', text)) == 12
    page = read("page.html")
    assert "Agreement with the source" in page.texts["h2"] and "logits" in page.texts["td"]


def test_the_page_of_a_comparison(folder: Path) -> None:
    pytest.importorskip("torch")
    line = "compare small.onnx --at width=4 --at depth=2 --data data.npz --methods front,fold,lossless --train 4"
    done = front(f"{line} --report page.html")
    assert done.exit_code == 0, done.output
    page = read("page.html")
    assert "What each size keeps" in page.texts["h2"] and page.tags.count("polyline") >= 2
    assert any(text.startswith("not lossless:") for text in page.texts["li"])
    assert any(title.startswith("depth 3 to 2") for title in page.texts["h2"])
    about = json.loads(front(f"{line} --json --report other.html").stdout)
    for size in about["sizes"]:
        for row in size["methods"]:
            assert f"{row['at_once']['error']:.3f}" in page.texts["td"]
    assert read("other.html").texts["h2"] == page.texts["h2"]


def test_the_page_of_a_refinement_and_of_moved_weights(folder: Path) -> None:
    pytest.importorskip("torch")
    line = "refine small.onnx --data data.npz --validation data.npz --epochs 2 --lambda 0 --report page.html --card"
    done = front(line)
    assert done.exit_code == 0 and "wrote small-refined.md" in done.stdout, done.output
    page = read("page.html")
    assert "The training" in page.texts["h2"] and page.tags.count("polyline") >= 3
    assert "front_onnx.method`: `refine" in Path("small-refined.md").read_text()
    assert front("resize small.onnx --width 4 -o target.onnx").exit_code == 0
    done = front("init small.onnx --into target.onnx --report moved.html --card")
    assert done.exit_code == 0, done.output
    page = read("moved.html")
    assert "Which weight went where" in page.texts["h2"] and "embed.weight" in page.texts["td"]
    assert Path("target-init.md").exists()


def test_names_of_a_model_are_text_and_nothing_else(folder: Path) -> None:
    model, evil = onnx.load("small.onnx"), '<img src=x onerror="alert(1)">|`\n# no'
    renamed = {"y": evil, "x": "<script>x"}
    for node in model.graph.node:
        for field in (node.input, node.output):
            names = [renamed.get(name, name) for name in field]
            del field[:]
            field.extend(names)
        node.name = node.name.replace("layers", "<b>layers</b>")
    model.graph.output[0].name, model.graph.input[0].name = evil, "<script>x"
    onnx.save(model, "evil.onnx")
    line = "resize evil.onnx --depth 2 --data synthetic --samples 64 --ridge 0.1 -o out.onnx --report page.html --card"
    done = front(line)
    assert done.exit_code == 0, done.output
    page = read("page.html")
    assert "img" not in page.tags and "b" in page.tags and any("<img src=x" in text for text in page.texts["td"])
    lines = Path("out.md").read_text().splitlines()
    assert not [each for each in lines if each.startswith("# no")] and not [each for each in lines if "<img" in each]


def test_what_cannot_be_written_is_refused_before_any_work(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in ("--report page.txt", "--report none/page.html", "-o small.md --card"):
        done = front(f"resize small.onnx --depth 2 {wrong}")
        assert done.exit_code == 2 and done.stderr.count("\n") == 1 and not list(folder.glob("*-d2*"))
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = front("resize small.onnx --depth 2 --report page.html")
    assert done.exit_code == 2 and "front-onnx[report]" in done.stderr
    assert front("resize small.onnx --depth 2 --card -o plain.onnx").exit_code == 0
    assert Path("plain.md").exists()  # a card needs no library


def test_a_page_of_nothing_but_texts(tmp_path: Path) -> None:
    sections = [Section("a & b", "<i>", Table(("x", "y"), [("1", "<2>")], 0), lines=["<"], code=["a && b"])]
    write_page(Page("t", "s", [("1", "of 2")], ["careful"], sections), tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert page.texts["pre"] == ["a && b"] and "<2>" in page.texts["td"] and "a & b" in page.texts["h2"]


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no browser is installed")
def test_a_browser_shows_it(folder: Path) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    assert front("resize small.onnx --depth 2 --report page.html").exit_code == 0
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", (folder / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "<h2>The blocks</h2>" in done.stdout and done.stdout.count("<rect") == 5


# --- pictures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize(
    "points",
    [[(0, 1.0), (1, 2.0)], [(3, 5.0)], [(0, 0.0), (1, 1e-9)], [(0, float("nan")), (1, 1.0), (2, float("inf"))]],
)
def test_curves_stay_inside_their_picture(points: list[tuple[float, float]], logarithmic: bool) -> None:
    found = curves({"a<b": points}, across="x", up="y", logarithmic=logarithmic, level=("level", 1.0))
    Reader(found)
    numbers = [float(n) for pair in re.findall(r'points="([^"]*)"', found) for n in re.split("[ ,]", pair)]
    assert numbers and all(0 <= number <= 640 for number in numbers) and "a&lt;b" in found


def test_no_points_no_picture() -> None:
    assert curves({"a": [], "b": [(0, float("nan"))]}, across="x", up="y") == ""
    assert curves({"a": [(0, 0.0)]}, across="x", up="y", logarithmic=True) == ""


@pytest.mark.parametrize("count", [1, 6, 200])
def test_blocks_fit_in_a_row(count: int) -> None:
    found = draw_blocks([("kept", "0")] * count, [("mixed", "~")], (1, 0.01))
    Reader(found)
    edges = [float(x) + float(w) for x, w in re.findall(r'x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', found)]
    assert len(edges) == count + 1 and max(edges) <= 640


@pytest.mark.parametrize(
    ("request_", "after"),
    [
        ({"depth": 3, "method": "copy:first"}, ["kept 0", "kept 1", "kept 2"]),
        ({"depth": 3}, ["mixed None"] * 3),
        ({"width": 24}, [f"kept {unit}" for unit in range(6)]),
        ({"depth": 7, "method": "copy:last"}, None),
    ],
)
def test_blocks_are_those_of_the_plan(request_: dict, after: list[str] | None) -> None:
    (found,) = stacks(front_onnx.resize(DIGITS, dry_run=True, **request_).plan)
    made = [f"{block.kind} {block.of}" for block in found.after]
    assert len(found.before) == 6 and (found.width, found.target) == (48, request_.get("width", 48))
    if after is not None:
        assert made == after
    else:
        assert len(made) == 7 and sum(block.kind == "added" for block in found.after) == 1


# --- next steps ---------------------------------------------------------------------------------------------------


COMMANDS = [
    "resize small.onnx --depth 2",
    "resize small.onnx --width 16 --method lossless",
    "resize small.onnx --width 4 --data data.npz --ridge 0.1 -o 'a b.onnx'",
    "resize small.onnx --depth 2 --no-validate",
    "resize small.onnx --depth 2 --dry-run",
    "compare small.onnx --width 4 --methods front,fold",
    "compare small.onnx --width 4 --methods front,fold -o best.onnx",
    "compare small.onnx --at width=4 --at 'depth=2 width=4' --methods front",
    "inspect small.onnx",
    "extract small.onnx --ratio 0.5",
    "validate small.onnx",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_end_with_what_to_do_next(folder: Path, command: str) -> None:
    done = front(command)
    lines = done.stdout.splitlines()
    steps = [line.removeprefix("next: ") for line in lines if line.startswith("next: ")]
    assert done.exit_code == 0 and 1 <= len(steps) <= 3 and lines[-len(steps) :] == [f"next: {s}" for s in steps]
    for step in steps:
        if step.startswith("front-onnx "):
            words = shlex.split(step, comments=True)[1:]
            assert words[0] in main.commands
            files = [word for word in words if word.endswith((".onnx", ".npz", ".safetensors"))]
            assert files and all(Path(word).exists() or word in ("best.onnx", "model.onnx") for word in files)
            known = {name for option in main.commands[words[0]].params for name in option.opts}
            assert {word for word in words if word.startswith("-")} <= known
    if "--dry-run" not in command:
        quiet = front(f"{command} --json")
        assert "next:" not in quiet.stdout and json.loads(quiet.stdout)


@pytest.mark.parametrize("command", ["resize small.onnx --width 4 --data data.npz --ridge 0.1 -o less.onnx"])
def test_what_they_say_works(folder: Path, command: str) -> None:
    pytest.importorskip("torch")
    step = next(line for line in front(command).stdout.splitlines() if line.startswith("next: front-onnx refine"))
    words = shlex.split(step.removeprefix("next: front-onnx "), comments=True)
    done = CliRunner().invoke(main, [*words, "--epochs", "1", "--lambda", "0"])
    assert done.exit_code == 0 and Path("less-refined.onnx").exists(), done.output


def test_a_comparison_says_how_to_make_the_best(folder: Path) -> None:
    done = front("compare small.onnx --width 4 --methods fold")
    step = done.stdout.splitlines()[-1].removeprefix("next: front-onnx ")
    assert step == "resize small.onnx --width 4 --method fold"
    assert front(step).exit_code == 0
