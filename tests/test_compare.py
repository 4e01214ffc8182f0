"""Comparisons: every method takes part or says why not, figures are those of the models, and nothing is done twice."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from small import DIGIT_INPUTS, DIGITS, mlp, run, weights
from test_ports import decoder

import front_onnx
from front_onnx.calibration.comparing import Likeness
from front_onnx.commands import main
from front_onnx.comparison import run as comparing
from front_onnx.comparison.contenders import contenders, named_methods
from front_onnx.comparison.describe import _row, describe_comparison
from front_onnx.comparison.row import Row, Size, Trained, Worth
from front_onnx.comparison.sizes import wishes
from front_onnx.comparison.store import Store
from front_onnx.comparison.teaching import FACTORS, Draws, Lesson, Rates
from front_onnx.errors import OutputError, RequestError
from front_onnx.methods.registry import methods

RNG = np.random.default_rng(4)
X = RNG.standard_normal((300, 5)).astype(np.float32)
FAST = front_onnx.CalibrationSettings(samples=200, ridges=(0.1,), hold_out=0.2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "small.onnx"
    onnx.save(mlp(width=8), str(path))
    return path


def labelled(source: Path) -> dict[str, np.ndarray]:
    """Samples with labels that the source names rightly three times in four."""
    labels = run(source, {"x": X})[0].argmax(1)
    labels[::4] = (labels[::4] + 1) % 4
    return {"x": X, "labels": labels}


def front(line: str) -> Result:
    return CliRunner().invoke(main, line.split(), prog_name="front-onnx")


# --- who takes part ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [{"depth": 2}, {"width": 4}, {"depth": 5, "width": 12}, {"depth": 2, "width": 12}])
@pytest.mark.parametrize("data", [True, False])
def test_every_method_takes_part_once_or_says_why_not(source: Path, sizes: dict, data: bool) -> None:
    given = {"x": X} if data else None
    (size,) = front_onnx.compare(source, data=given, calibration=FAST, **sizes).sizes
    made, left_out = [row.method for row in size.rows], [row.method for row in size.left_out]
    assert len({*made, *left_out}) == len(made) + len(left_out)
    assert {*methods(), "made-up"} <= {*made, *left_out} and ("calibrated" in made) == data
    assert all(row.why and "\n" not in row.why for row in size.left_out)
    assert all(row.worth and np.isfinite(row.worth.error) and row.parameters == size.parameters for row in size.rows)
    assert [row.rank for row in size.rows] == sorted(row.rank for row in size.rows)
    grows = all(before < after for before, after in size.sizes.values())
    assert grows == ("lossless" in made) and (not grows or min(row.worth.error for row in size.rows) < 1e-9)
    assert ("best" in made) == (sizes == {"depth": 2, "width": 12})


def test_what_says_nothing_of_the_request_is_not_made_twice(source: Path) -> None:
    plan = front_onnx.resize(source, depth=2, dry_run=True).plan
    why = {entrant.name: entrant.why for entrant in contenders(plan, [], data=False)}
    assert not why["front"] and "front" in why["fold"] and "depth=copy,width=select:norm" not in why
    asked = contenders(plan, ["fold", "select"], data=False)
    assert [entrant.why for entrant in asked][1] and not asked[0].why


def test_methods_are_named_with_commas_or_semicolons() -> None:
    assert named_methods("front, fold") == ["front", "fold"]
    assert named_methods(["depth=copy,width=fold;made-up", "best"]) == ["depth=copy,width=fold", "made-up", "best"]
    with pytest.raises(RequestError, match="no such method"):
        named_methods("front,frnt")


# --- what is measured ---------------------------------------------------------------------------------------------


def test_figures_are_those_of_the_model_that_is_written(source: Path, tmp_path: Path) -> None:
    data = labelled(source)
    part = {name: array[:200] for name, array in data.items()}
    apart = {name: array[200:] for name, array in data.items()}
    out = tmp_path / "best.onnx"
    found = front_onnx.compare(
        source, width=4, data=part, validation=apart, calibration=FAST, methods="front,fold,random", output=out
    )
    wanted, made = run(source, apart)[0], run(out, apart)[0]
    assert found.best is not None and found.best == found.sizes[0].rows[0] and found.best.worth is not None
    assert found.best.worth.accuracy == (made.argmax(1) == apart["labels"]).mean()
    like = found.best.worth.outputs["y"]
    assert like.top == (made.argmax(1) == wanted.argmax(1)).mean()
    assert like.error == pytest.approx(((made - wanted) ** 2).sum() / ((wanted - wanted.mean(0)) ** 2).sum(), rel=1e-4)
    assert found.source.accuracy == (wanted.argmax(1) == apart["labels"]).mean() == pytest.approx(0.75)
    alone = front_onnx.resize(source, width=4, method=found.best.method, output=tmp_path / "alone.onnx")
    for name, array in weights(onnx.load(str(alone.output))).items():
        np.testing.assert_array_equal(weights(onnx.load(str(out)))[name], array)


def test_labels_are_found_again_however_samples_are_drawn(source: Path) -> None:
    """A model that names all labels rightly does so in any part of any order."""
    data = {"x": X, "kinds": run(source, {"x": X})[0].argmax(1)}
    for seed in range(3):
        found = front_onnx.compare(source, width=16, data=data, labels="kinds", methods="lossless", seed=seed)
        assert found.source.accuracy == 1 and found.best is not None and found.best.worth.accuracy == 1


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full(300, 4), "no classes of the output"),
        (np.full(300, 0.5), "whole numbers"),
        (np.zeros(299, int), "not as many labels"),
        (np.zeros((300, 2), int), "fit no output"),
        (np.full(300, -100), "no label that counts"),
    ],
)
def test_labels_that_are_none_are_one_line(source: Path, labels: np.ndarray, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        front_onnx.compare(source, width=4, data={"x": X, "labels": labels}, methods="front")
    with pytest.raises(RequestError, match="no such labels"):
        front_onnx.compare(source, width=4, data={"x": X}, labels="labels", methods="front")


def test_outputs_of_blocks_are_compared_with_those_they_stand_for(tmp_path: Path) -> None:
    """A deeper decoder hands out caches of more blocks: those that were there before hold what they held."""
    source = tmp_path / "decoder.onnx"
    onnx.save(decoder(3), str(source))
    found = front_onnx.compare(source, depth=5, methods="lossless;depth=copy,width=front")
    rows = {row.method: row.worth for row in found.sizes[0].rows}
    assert len(rows["lossless"].outputs) == 7 and rows["lossless"].error < 1e-9
    assert rows["depth=copy,width=front"].error > 1e-3
    found = front_onnx.compare(source, depth=2, methods="copy")
    assert found.best is not None and set(found.best.worth.outputs) >= {"y", "present.0.key"}


# --- sizes --------------------------------------------------------------------------------------------------------


def test_several_sizes_make_a_curve(source: Path) -> None:
    found = front_onnx.compare(source, at=["width=12", "params=100", "depth=2"], methods="made-up", round_to=2)
    assert [size.parameters for size in found.sizes] == sorted(size.parameters for size in found.sizes)
    assert {size.label for size in found.sizes} == {"width=12", "params=100", "depth=2"} and found.best is None
    with pytest.raises(RequestError, match="several sizes"):
        front_onnx.compare(source, at=["width=12", "depth=2"], output="x.onnx")


def test_sizes_in_words() -> None:
    found = wishes({"width": "24", "freeze": ("ffn",)}, ["depth=encoder=4,decoder=2 width=12", "classes=7"])
    assert [wish.options for wish in found] == [
        {"width": "12", "freeze": ("ffn",), "depth": "encoder=4,decoder=2"},
        {"width": "24", "freeze": ("ffn",), "dims": {"classes": 7}},
    ]
    assert wishes({"width_mult": "0.5"}, ["width=12"])[0].options == {"width": "12"}
    for wrong in ("depth", "depth=3 ffn=x", "=3", ""):
        with pytest.raises(RequestError, match=r"^at "):
            wishes({}, [wrong])
    with pytest.raises(RequestError, match="twice"):
        wishes({}, ["depth=3", "depth=3"])
    with pytest.raises(RequestError, match="no size"):
        wishes({"freeze": ("ffn",)})
    with pytest.raises(RequestError, match="nothing to compare"):
        front_onnx.compare(mlp(width=8), width=8)


# --- going on -----------------------------------------------------------------------------------------------------


def timeless(found: front_onnx.Comparison) -> object:
    def cleaned(data: object) -> object:
        if isinstance(data, dict):
            return {key: cleaned(value) for key, value in data.items() if key not in ("seconds", "resumed", "output")}
        return [cleaned(value) for value in data] if isinstance(data, list) else data

    return cleaned(describe_comparison(found))


def test_a_second_run_goes_on_and_says_the_same(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"width": 4, "data": {"x": X}, "calibration": FAST, "work": tmp_path / "work"}
    once = front_onnx.compare(source, methods="front,fold,lossless", output=tmp_path / "a.onnx", **asked)
    made: list[object] = []
    original = comparing.resize

    def counted(*given: object, **how: object) -> front_onnx.Result:
        if not how.get("dry_run"):
            made.append(how.get("method", "calibrated"))
        return original(*given, **how)

    monkeypatch.setattr(comparing, "resize", counted)
    again = front_onnx.compare(source, methods="front,fold,lossless", output=tmp_path / "b.onnx", **asked)
    assert not made and again.resumed == 3 and timeless(again) == timeless(once)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    for model in (tmp_path / "work").glob("*.onnx"):
        model.unlink()
    front_onnx.compare(source, methods="front,fold,lossless", output=tmp_path / "c.onnx", **asked)
    assert made == [again.best.method] and (tmp_path / "a.onnx").read_bytes() == (tmp_path / "c.onnx").read_bytes()
    front_onnx.compare(source, methods="front,fold,random", seed=1, **asked)
    front_onnx.compare(source, methods="front", **{**asked, "data": {"x": X + 1}})
    assert made[1:] == ["front", "fold", "random", "front"]  # another seed, other samples: other results
    assert len([*(tmp_path / "work").glob("*.onnx")]) <= 3  # of each comparison the best one


def test_progress_says_what_is_done_and_how_long_the_rest_takes(source: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    def tell(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))

    front_onnx.compare(source, at=["width=4", "depth=2"], methods="front,random,mimetic", work=tmp_path, progress=tell)
    made = [(stage, done) for stage, done, total in told if total == 6]
    assert made[0] == ("width=4: front", 0)
    begun, ended = made[::2], made[1::2]
    assert [done for _, done in begun] == [0, 1, 2, 3, 4, 5] and [done for _, done in ended] == [1, 2, 3, 4, 5, 6]
    assert all(stage.startswith("width=4: ") and " keeps " in stage for stage, _ in ended[:3])
    assert all("left" in stage for stage, _ in made[1:-1]) and "left" not in made[-1][0]


def test_the_same_twice_without_a_folder(source: Path) -> None:
    found = [front_onnx.compare(source, depth=2, width=4, data={"x": X}, calibration=FAST) for _ in range(2)]
    assert timeless(found[0]) == timeless(found[1])


def test_a_result_that_cannot_be_read_is_made_again(source: Path, tmp_path: Path) -> None:
    first = front_onnx.compare(source, width=4, methods="front", work=tmp_path)
    (file,) = tmp_path.glob("*.json")
    file.write_text('{"row": {"method"')
    assert front_onnx.compare(source, width=4, methods="front", work=tmp_path).resumed == 0
    assert timeless(front_onnx.compare(source, width=4, methods="front", work=tmp_path)) == timeless(first)
    with pytest.raises(OutputError, match="cannot be made"):
        Store(file / "below")


def test_rows_survive_json(source: Path) -> None:
    found = front_onnx.compare(source, width=4, methods="front", trainer=_Still(), seeds=2)
    assert Row.from_data(json.loads(json.dumps(found.best.as_data()))) == found.best


# --- trainings ----------------------------------------------------------------------------------------------------


class _Still:
    """A trainer that learns nothing, and remembers what it was given."""

    steps = 7

    def __init__(self) -> None:
        self.lessons: list[Lesson] = []

    def __call__(self, lesson: Lesson) -> tuple[str, list[tuple[int, float]]]:
        self.lessons.append(lesson)
        lesson.target.write_bytes(lesson.model.read_bytes())
        return "accuracy", [(0, 0.5), (7, 0.5 + lesson.seed / 10)]


def test_each_start_is_trained_at_a_rate_of_its_kind(source: Path) -> None:
    still = _Still()
    data = {"x": X}
    asked = {"data": data, "trainer": still, "seeds": 2, "calibration": FAST}
    larger = front_onnx.compare(source, width=16, methods="lossless", **asked)
    found = front_onnx.compare(source, width=4, methods="calibrated,random", **asked)
    rates = {row.method: row.trained.lr for row in (*larger.sizes[0].rows, *found.sizes[0].rows)}
    assert rates == {"lossless": 1e-4, "calibrated": 2e-4, "random": 1e-3}
    assert [lesson.seed for lesson in still.lessons] == [0, 1] * 3
    assert all(lesson.teacher == source and "labels" not in lesson.feeds[0] for lesson in still.lessons)
    random = next(row for row in found.sizes[0].rows if row.method == "random")
    assert random.trained.runs[0] != random.trained.runs[1]  # other numbers were drawn
    assert random.trained.curves == (((0, 0.5), (7, 0.5)), ((0, 0.5), (7, 0.6)))
    front_onnx.compare(source, width=16, data=labelled(source), methods="lossless", trainer=still)
    assert still.lessons[-1].teacher is None and "labels" in still.lessons[-1].held_out[0]


def _trained(*scores: float) -> Trained:
    runs = tuple(Worth({"y": Likeness(1 - score, 1.0)}) for score in scores)
    return Trained(1e-3, "squared error", runs, (), 0.0, tuple(range(len(scores))))


def _size(**rows: Trained | None) -> Size:
    made = [Row(name, worth=Worth({"y": Likeness(0.5, 1.0)}), trained=trained) for name, trained in rows.items()]
    return Size("depth 2", {}, 1, tuple(made), ())


def test_what_lies_within_the_spread_of_the_best_is_as_good() -> None:
    size = _size(best=_trained(0.9, 0.8), near=_trained(0.81, 0.79), wide=_trained(0.9, 0.4), far=_trained(0.7, 0.7))
    assert size.equals == ("best", "near", "wide")
    assert size.chance == "2 others are as good as the best: within ± of it, the deviation over 2 seeds"
    assert _size(best=_trained(0.9, 0.9), far=_trained(0.8, 0.8)).chance.startswith("no other start is")
    below = _size(best=_trained(0.1, 0.1), far=_trained(-3, -3.1))  # what is kept is 0 for the second
    assert below.equals == ("best",)
    once = _size(best=_trained(0.9), near=_trained(0.9))
    assert once.equals == () and "--seeds 3" in once.chance
    assert _size(best=None).equals == () and not _size(best=None).chance
    about = _row(size.rows[0])
    assert about["trained"]["deviation"] == pytest.approx(np.std([0.9, 0.8], ddof=1))


def test_rates_in_words() -> None:
    assert Rates.of("auto:2e-2").rate("exact") == pytest.approx(2e-3) and Rates.of("auto").rate("carried") == 1e-3
    assert {Rates.of(0.5).rate(kind) for kind in FACTORS} == {0.5}
    for wrong in ("automatic", "-1", "auto:x", "nan"):
        with pytest.raises(RequestError, match=r"^lr "):
            Rates.of(wrong)


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_batches_are_the_same_for_the_same_seed_and_see_all_samples(steps: int) -> None:
    feeds = [{"x": np.arange(start, start + size)} for start, size in ((0, 40), (40, 40), (80, 20))]
    draws = [Draws(feeds, steps, seed, whole=False) for seed in (3, 3, 4)]
    first, same, other = ([batch["x"] for epoch in range(10) for batch in draw(epoch)] for draw in draws)
    assert all(map(np.array_equal, first, same)) and not all(map(np.array_equal, first, other))
    assert {len(batch) for batch in first} == {40}
    seen = np.concatenate(first)
    assert sorted(seen[:100].tolist()) == list(range(100))
    whole = Draws(feeds, steps, 3, whole=True)
    assert all(any(batch["x"] is feed["x"] for feed in feeds) for epoch in range(3) for batch in whole(epoch))


def test_a_short_training_helps_and_can_be_cut_off(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = pytest.importorskip("front_onnx.adapters.refine.short")
    asked = {"width": 4, "methods": "front", "data": labelled(source), "calibration": FAST, "lr": 3e-2, "seeds": 2}
    whole = front_onnx.compare(source, trainer=short.Short(60), output=tmp_path / "whole.onnx", **asked)
    row = whole.best
    assert row is not None and row.trained is not None and row.trained.kept > row.worth.kept
    assert [step for step, _ in row.trained.curves[0]] == list(range(0, 61, 6))
    assert row.trained.curves[0][-1][1] == pytest.approx(row.trained.runs[0].accuracy)
    assert row.trained.curves[0] != row.trained.curves[1]

    class Cut(Exception):
        pass

    def cut(event: dict) -> None:
        if event["event"] == "epoch" and event["epoch"] == 5:
            raise Cut

    with pytest.raises(Cut):
        front_onnx.compare(source, trainer=short.Short(60, tell=cut), work=tmp_path / "work", **asked)
    assert [*(tmp_path / "work").glob("*.run/checkpoint.pt")]
    told: list[int] = []
    trainer = short.Short(60, tell=lambda event: told.append(event["epoch"]))
    again = front_onnx.compare(source, trainer=trainer, work=tmp_path / "work", output=tmp_path / "cut.onnx", **asked)
    assert told[0] == 5  # the epoch that was cut off, and none before
    assert timeless(again) == timeless(whole)
    assert (tmp_path / "cut.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert not [*(tmp_path / "work").glob("*.run")]


def test_distillation_brings_outputs_nearer_to_the_source(source: Path) -> None:
    short = pytest.importorskip("front_onnx.adapters.refine.short")
    found = front_onnx.compare(
        source, width=4, methods="made-up,front", data={"x": X}, lr=1e-2, trainer=short.Short(100), calibration=FAST
    )
    for row in found.sizes[0].rows:
        assert row.trained.metric == "squared error" and row.trained.runs[0].error < row.worth.error


def test_what_cannot_be_trained_keeps_its_figures(source: Path) -> None:
    """An output of another size has no teacher."""
    short = pytest.importorskip("front_onnx.adapters.refine.short")
    model = onnx.load(str(source))
    del model.graph.node[-2:]
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_tensor_value_info("layers.2.out", 1, ["batch", 8]))
    found = front_onnx.compare(model, width=4, methods="front", data={"x": X}, trainer=short.Short(4))
    row = found.sizes[0].rows[0]
    assert row.worth is not None and row.trained is None and "another shape" in row.untrained


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "small.onnx").write_bytes(source.read_bytes())
    np.savez(tmp_path / "data.npz", **labelled(source))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return tmp_path


def test_the_table_names_all(folder: Path) -> None:
    done = front("compare small.onnx --width 4 --data data.npz --ridge 0.1 -o best.onnx")
    assert done.exit_code == 0 and all(" of " in line for line in done.stderr.splitlines()), done.output
    lines = done.stdout.splitlines()
    assert "accuracy" in lines[0] and "60" not in lines[0][:5] and "small.onnx" in lines[0]
    rows = [line.split() for line in lines]
    assert any(row[:1] == ["calibrated"] for row in rows) and any(row[:2] == ["not", "lossless:"] for row in rows)
    header = next(row for row in rows if row[:1] == ["method"])
    assert header == ["method", "error", "cosine", "same", "top", "KL", "accuracy", "seconds"]
    best = next(row for row in rows if row[:2] == ["wrote", "best.onnx:"])
    first = rows[rows.index(header) + 1]
    assert best[2] == first[0] and Path("best.onnx").exists()


def test_json_and_several_sizes(folder: Path) -> None:
    line = "compare small.onnx --at width=4 --at depth=2 --methods front,made-up --samples 64 --ridge 0.1"
    about = json.loads(front(f"{line} --json").stdout)
    assert [size["size"] for size in about["sizes"]] == ["width=4", "depth=2"]
    assert {entry["method"] for size in about["sizes"] for entry in size["methods"]} == {"front", "made-up"}
    assert about["source"]["made_up"] and about["worth"] == "kept of the source"
    told = front(line).stdout
    assert "kept of the source by parameters" in told and "█" in told


def test_what_is_wrong_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, said in (
        ("", "no size is asked for"),
        ("--width 4 --methods frnt", "no such method"),
        ("--width 4 --methods ,", "--methods has an empty name"),
        ("--width 4 --methods front,,copy", "--methods has an empty name"),
        ("--width 4 --lr fast", "--lr takes"),
        ("--width 4 --methods calibrated", "on which samples"),
        ("--width 4 --methods lossless", "no method makes this size"),
        ("--width 4 --data none.npz", "no file"),
        ("--width 4 -o small.onnx", "output is the input"),
    ):
        done = front(f"compare small.onnx {wrong}")
        told = [line for line in done.stderr.splitlines() if not line.startswith("1 of 1: ")]
        assert done.exit_code in (1, 2) and len(told) == 1 and said in told[0], done.output
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [name for name in sys.modules if name.startswith("front_onnx.adapters.")]:
        monkeypatch.delitem(sys.modules, name)
    done = front("compare small.onnx --width 4 --train 5")
    assert done.exit_code == 2 and "--train needs PyTorch" in done.stderr and "front-onnx[torch]" in done.stderr


def test_the_table_says_how_far_its_order_is_chance(folder: Path) -> None:
    pytest.importorskip("torch")
    line = "compare small.onnx --width 4 --methods select,random --data data.npz --train 4"
    told = front(line).stdout
    assert "one training of each start" in told and "as good as" not in told and "±" not in told
    told = front(f"{line} --seeds 2").stdout
    about = json.loads(front(f"{line} --seeds 2 --json").stdout)["sizes"][0]
    assert about["chance"] in told and "±" in told
    assert told.count("as good as the best") == len(about["as_good_as_the_best"])


def test_the_picture_shows_trainings_and_sizes(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("torch")
    line = "compare small.onnx --at width=4 --at depth=2 --methods front,copy --data data.npz --train 4"
    assert front(f"{line} --plot curves.svg").exit_code == 0
    text = Path("curves.svg").read_text()
    assert text.count('<g id="axes_') == 3  # a training of each size, and what sizes keep
    done = front("compare small.onnx --width 4 --methods front --plot curves.png")
    assert done.exit_code == 2 and "--plot draws trainings" in done.stderr


def test_digits_that_ship() -> None:
    found = front_onnx.compare(DIGITS, depth=8, methods="lossless,front", data=DIGIT_INPUTS)
    assert found.best is not None and found.best.method == "lossless" and found.best.worth.accuracy == 1
    assert found.source.warnings and "4 samples" in found.source.warnings[0]
