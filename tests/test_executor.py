"""ONNX graphs as torch modules: operator by operator against onnxruntime and onnx's own tests, then whole models."""

import functools
import pickle
import warnings
from copy import deepcopy
from pathlib import Path

import fused_cases  # noqa: F401 - fills the table
import numpy as np
import onnx
import pytest
import torch
from executing import compared, exported_for_training, tensors, wrong_gradients
from front_onnx.adapters.executor import types
from front_onnx.adapters.executor.module import OnnxModule
from front_onnx.adapters.executor.table import OPERATORS
from golden import golden_file
from onnx import TensorProto, helper, numpy_helper
from rule_cases import CASES, key, random_models
from small import DIGIT_INPUTS, DIGITS, constants, mlp, run, weights
from small_graphs import feeds_for, run_all
from tiers import by_exporter, few
from zoo.architectures import ARCHITECTURES
from zoo.export import export
from zoo.opsets import EXPORTERS

from front_onnx.check.synthetic import synthetic_inputs
from front_onnx.errors import FrontError

RANDOM = {"Bernoulli", "RandomNormalLike", "RandomUniformLike"}
COVERED = sorted(key(*name) for name in OPERATORS if key(*name) in CASES and key(*name) not in RANDOM)

# onnx's tests of operators in the table that are not run, and why.
LEFT_OUT = {
    "test_reduce_max_empty_set": "nothing to take the largest of",
    "test_reduce_max_empty_set_bool": "nothing to take the largest of",
    "test_reduce_min_empty_set": "nothing to take the smallest of",
    "test_resize_downsample_scales_linear_align_corners": "corners of the rounded size, as in onnxruntime and torch",
    "test_resize_downsample_scales_cubic_align_corners": "corners of the rounded size, as in onnxruntime and torch",
    "test_scan_sum": "Scan as it was before version 9",
}
_TORCH = {np.dtype(t) for t in "float32 float64 float16 int64 int32 int16 int8 uint8 bool".split()}


def close(made: torch.Tensor, wanted: np.ndarray, rtol: float, atol: float, what: str = "") -> None:
    array = made.detach().numpy()
    assert array.shape == wanted.shape, what
    kind = bool if wanted.dtype == bool else np.float64
    np.testing.assert_allclose(array.astype(kind), wanted.astype(kind), rtol=rtol, atol=atol, err_msg=what)


# -- operators ------------------------------------------------------------------------------------------------


SEEDS = range(0, 5, 2)  # among them are graphs of older opsets, such as GroupNormalization before 21


@pytest.mark.parametrize("seeds", few([SEEDS, range(5, 12)], 1), ids=["few", "more"])
@pytest.mark.parametrize("op_type", COVERED)
def test_operators_compute_what_onnxruntime_computes(op_type: str, seeds: range) -> None:
    for seed, proto in random_models(op_type, seeds):
        feeds = feeds_for(proto)
        wanted = run_all(proto, feeds)
        made: dict[str, torch.Tensor] = {}
        module = OnnxModule(proto).eval()
        module.run(tensors(feeds), lambda step, results, to=made: to.update(zip(step.outputs, results, strict=False)))
        compared = made.keys() & wanted.keys() - {""}
        assert compared
        for name in compared:
            if made[name] is not None:
                close(made[name], wanted[name], 2e-4, 2e-5, f"seed {seed}, {name}")


@functools.cache
def node_tests() -> dict[str, list]:
    """onnx's own tests whose nodes are all in the table and whose types torch has, by the first operator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, list] = {}
        for case in collect_testcases(None):
            nodes = [*case.model.graph.node, *(node for f in case.model.functions for node in f.node)]
            arrays = [x for inputs, outputs in case.data_sets for x in (*inputs, *outputs)]
            if any(not isinstance(x, np.ndarray | np.generic) or np.asarray(x).dtype not in _TORCH for x in arrays):
                continue
            known = {node.output[0] for node in case.model.graph.node if node.op_type == "Cast" and _exotic(node)}
            if known or not {(n.domain or "ai.onnx", n.op_type) for n in nodes} <= set(OPERATORS):
                continue
            if any(n.op_type in RANDOM for n in nodes) or case.name in LEFT_OUT or "training_dropout" in case.name:
                continue
            found.setdefault(case.model.graph.node[0].op_type, []).append(case)
        return found


def _exotic(node: onnx.NodeProto) -> bool:
    return next(a.i for a in node.attribute if a.name == "to") not in types._TYPES


@pytest.mark.slow
@pytest.mark.parametrize("op_type", sorted(name for domain, name in OPERATORS if domain == "ai.onnx"))
def test_operators_pass_the_tests_of_the_specification(op_type: str) -> None:
    for case in node_tests().get(op_type, []):
        module = OnnxModule(case.model).train("batchnorm" in case.name and "training" in case.name)
        for inputs, outputs in case.data_sets:
            names = [info.name for info in case.model.graph.input]
            given = {name: np.asarray(x) for name, x in zip(names, inputs, strict=False)}
            for made, wanted in zip(module.run(tensors(given)), outputs, strict=True):
                half = np.asarray(wanted).dtype == np.float16
                rtol, atol = (1e-2, 2e-2) if half else (case.rtol, max(case.atol, 1e-5))
                close(made, np.asarray(wanted), rtol, atol, case.name)


@pytest.mark.slow
def test_the_specification_has_tests_of_most_operators() -> None:
    assert sum(map(len, node_tests().values())) > 1000


def test_missing_operators_are_named_before_anything_runs() -> None:
    with pytest.raises(FrontError, match=r"com.example.Riddle \(1\)") as caught:
        OnnxModule(mlp(odd="Riddle"))
    assert caught.value.node == "/middle/odd_one"


def test_a_step_that_fails_names_its_node() -> None:
    module = OnnxModule(mlp())
    with pytest.raises(FrontError, match="/embed/MatMul"):
        module(x=torch.zeros(2, 9))


# -- whole models ---------------------------------------------------------------------------------------------


# The others are much like these: of the same blocks, at other weights.
KINDS = ["bert", "gpt2", "llama", "t5-encoder", "deit", "mixer", "convnext", "resnet-bottleneck", "encoder", "mlp"]
BY_BOTH = by_exporter(ARCHITECTURES, torchscript=KINDS, dynamo=["opt", "llama", "swin", "resnet-basic", "encoder"])


@pytest.mark.parametrize(("name", "exporter"), BY_BOTH)
def test_models_compute_what_onnxruntime_computes(zoo_cache: Path, name: str, exporter: str) -> None:
    path = export(ARCHITECTURES[name], ARCHITECTURES[name].source, exporter, cache_dir=zoo_cache)
    difference, ungraded = compared(path)
    assert difference < 1e-4 and ungraded == []


STEEP = by_exporter(ARCHITECTURES, torchscript=["deit", "convnext", "resnet-bottleneck"], dynamo=["llama", "bert"])


@pytest.mark.parametrize(("name", "exporter"), STEEP)
def test_gradients_are_differences_of_the_loss(zoo_cache: Path, name: str, exporter: str) -> None:
    path = export(ARCHITECTURES[name], ARCHITECTURES[name].source, exporter, cache_dir=zoo_cache)
    assert wrong_gradients(path) == []


@pytest.mark.parametrize("pair", ["torch-bert-torchscript", "torch-resnet-bottleneck-dynamo"])
def test_golden_models_compute_what_onnxruntime_computes(tmp_path: Path, pair: str) -> None:
    difference, ungraded = compared(golden_file(pair, tmp_path))
    assert difference < 1e-4 and ungraded == []


def test_gradients_of_a_golden_model_are_differences_of_the_loss(tmp_path: Path) -> None:
    assert wrong_gradients(golden_file("torch-mixer-torchscript", tmp_path)) == []


@pytest.mark.parametrize("pair", few(["torch-convnext-dynamo", "torch-bert-torchscript"], 1, mark="slow"))
def test_golden_models_are_trained_and_written(tmp_path: Path, pair: str) -> None:
    assert_trained_weights_go_back(golden_file(pair, tmp_path), tmp_path)


# -- what is learned ------------------------------------------------------------------------------------------

# Architectures whose exporters keep every parameter whole (no folded batch norm, no fused or cut weight).
WHOLE = ["bert", "gpt2", "llama", "vit", "deit", "t5-encoder", "mlp"]


@pytest.mark.parametrize(
    ("name", "exporter"), by_exporter(WHOLE, torchscript=["bert", "llama", "mlp"], dynamo=["gpt2", "vit"])
)
def test_what_is_learned_are_the_parameters_of_the_native_module(zoo_cache: Path, name: str, exporter: str) -> None:
    architecture = ARCHITECTURES[name]
    native, _ = architecture.build(architecture.source)
    module = OnnxModule(export(architecture, architecture.source, exporter, cache_dir=zoo_cache))

    def contents(arrays) -> set[bytes]:
        return {np.sort(a + 0.0, axis=None).tobytes() for a in arrays if a.size > 1}  # no -0.0: it is equal to 0.0

    kept = contents(p.detach().numpy() for p in native.parameters())
    found = contents(p.detach().numpy() for p in module.weights().values())
    assert found <= kept
    unused = kept - contents(module.graph.array(n) for n in module.graph.constants)  # heads that no output reads
    assert kept - found == unused


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_rotary_frequencies_are_not_learned(zoo_cache: Path, exporter: str) -> None:
    path = export(ARCHITECTURES["llama"], ARCHITECTURES["llama"].source, exporter, cache_dir=zoo_cache)
    module = OnnxModule(path)
    frequencies = ARCHITECTURES["llama"].tables(ARCHITECTURES["llama"].source)[0].numpy()
    arrays = {name: module.graph.array(name) for name in module.graph.constants}
    held = {name for name, a in arrays.items() if a.size == frequencies.size and np.allclose(a.ravel(), frequencies)}
    assert held and not held & module.learned.names


def test_masks_coordinates_and_settings_are_not_learned() -> None:
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    mask = np.where(np.tril(np.ones((4, 4))), 0, -1e4).astype(np.float32)
    grid = np.stack(np.meshgrid([-1.0, 0.3, 2], [1, 5.0, 7]), -1).reshape(9, 2).astype(np.float32)
    mean = np.array([0.4, 0.5, 0.6], np.float32)
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("MatMul", ["centred", "w"], ["h0"]),
        helper.make_node("Add", ["h0", "positions"], ["h"]),
        helper.make_node("Transpose", ["h"], ["ht"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["h", "ht"], ["scores"]),
        helper.make_node("Mul", ["scores", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["attention"], axis=-1),
        helper.make_node("MatMul", ["attention", "h"], ["mixed"]),
        helper.make_node("MatMul", ["grid", "w2"], ["biases"]),
        helper.make_node("ReduceMean", ["biases"], ["bias"], keepdims=0, axes=[0]),
        helper.make_node("Add", ["mixed", "bias"], ["y"]),
    ]
    tensors_ = [
        numpy_helper.from_array(mean, "mean"),
        weight("w", 3, 8),
        weight("positions", 4, 8),
        numpy_helper.from_array(np.float32(8**-0.5), "scale"),
        numpy_helper.from_array(mask, "mask"),
        numpy_helper.from_array(grid, "grid"),
        weight("w2", 2, 8),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 4, 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["b", 4, 8])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, tensors_)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    learned = OnnxModule(model).learned
    assert learned.names == {"w", "positions", "w2"}
    assert learned.others == {
        "mean": "it normalises raw inputs",
        "scale": "a single number",
        "mask": "it is computed from its place in a square",
        "grid": "no weight has one of its axes",
    }


def test_names_are_those_of_the_initializers() -> None:
    module = OnnxModule(DIGITS)
    assert set(module.weights()) <= set(module.state_dict()) and "blocks.0.attn.qkv.weight" in module.weights()
    assert module.get_parameter("blocks.0.attn.qkv.weight") is module.weights()["blocks.0.attn.qkv.weight"]


def test_patterns_choose_what_is_trained() -> None:
    frozen = OnnxModule(DIGITS, freeze=["blocks.*"])
    assert not any(name.startswith("blocks") for name in frozen.weights())
    number = next(n for n, why in frozen.learned.others.items() if why == "a single number")
    assert number in OnnxModule(DIGITS, train=[number]).weights()
    with pytest.raises(FrontError, match="no float constant"):
        OnnxModule(DIGITS, freeze=["nobody"])


def test_what_is_frozen_is_frozen_whatever_is_trained() -> None:
    assert "head.weight" not in OnnxModule(DIGITS, train=["head.*"], freeze=["head.*"]).weights()


def test_freezing_a_weight_freezes_its_transposed_copy() -> None:
    for name in ("table", "head"):
        module = OnnxModule(_tied(), freeze=[name])
        assert set(module.weights()) == {"w"}
        found = weights(module.proto())
        assert np.array_equal(found["head"], found["table"].T)


def test_a_copy_that_keeps_its_zeros_is_not_read_from_what_was_trained() -> None:
    """Two layers of a fresh model share their zeros; one of them is trained alone."""
    zeros = numpy_helper.from_array(np.zeros(4, np.float32), "zeros")
    rng = np.random.default_rng(0)
    matrices = [numpy_helper.from_array(rng.standard_normal((4, 4)).astype(np.float32), f"w{i}") for i in range(2)]
    nodes = [helper.make_node("Gemm", ["x", f"w{i}", "zeros"], [f"y{i}"], f"layer{i}") for i in range(2)]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["b", 4]) for n in ("x", "y0", "y1")]
    graph = helper.make_graph(nodes, "two", infos[:1], infos[1:], [zeros, *matrices])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    x = {"x": rng.standard_normal((3, 4)).astype(np.float32)}
    for output in ("y0", "y1"):
        module = OnnxModule(model)
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        module(tensors(x))[output].square().sum().backward()
        optimizer.step()
        for made, wanted in zip(module(tensors(x)).values(), run(module.proto(), x), strict=True):
            close(made, wanted, 1e-5, 1e-5)


def test_names_that_a_module_cannot_have_are_weights_too() -> None:
    model = mlp(depth=3)
    for graph_node in model.graph.node:
        graph_node.input[:] = [_awkward(name) for name in graph_node.input]
    for tensor in model.graph.initializer:
        tensor.name = _awkward(tensor.name)
    module = OnnxModule(model)
    assert {_awkward(n) for n in OnnxModule(mlp(depth=3)).weights()} == set(module.weights())
    assert all(module.get_parameter(name) is p for name, p in module.weights().items())


def _awkward(name: str) -> str:
    """layers.1.weight becomes W.1, a name below that of the parameter W."""
    return {"layers.0.weight": "W", "layers.1.weight": "W.1", "layers.2.weight": "W..2"}.get(name, name)


def test_modules_are_copied_and_pickled() -> None:
    module = OnnxModule(DIGITS, freeze=["head.*"]).eval()
    with np.load(DIGIT_INPUTS) as archive:
        given = tensors({"image": archive["image"]})
    made = module(given)["logits"]
    copy, again = deepcopy(module), pickle.loads(pickle.dumps(module))
    for other in (copy, again):
        assert other.weights().keys() == module.weights().keys() and not other.training
        assert torch.equal(other(given)["logits"], made)
        with torch.no_grad():
            other.weights()["norm.weight"].mul_(2)
    assert torch.equal(module(given)["logits"], made)
    average = torch.optim.swa_utils.AveragedModel(module)
    average.update_parameters(copy)


def test_a_run_leaves_no_tensors_behind() -> None:
    module = OnnxModule(DIGITS)
    module(image=torch.zeros(1, 1, 8, 8))
    assert all(step.walk is None for step, *_ in module.program.steps)


@pytest.mark.parametrize("given", [(), (1, 2), {"picture": 1}, {"image": 1, "other": 2}])
def test_other_inputs_than_the_graphs_are_refused(given: object) -> None:
    image = torch.zeros(1, 1, 8, 8)
    with pytest.raises(FrontError, match="inputs"):
        if isinstance(given, dict):
            OnnxModule(DIGITS)(**dict.fromkeys(given, image))
        else:
            OnnxModule(DIGITS)(*[image for _ in given])


# -- back into the file ---------------------------------------------------------------------------------------


def _stepped(module: OnnxModule, given: dict[str, torch.Tensor]) -> None:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-2)
    sum(t.double().square().mean() for t in module(given).values()).backward()
    optimizer.step()


def _bare(model: onnx.ModelProto) -> bytes:
    """A model without the values of its weights."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        for field in ("raw_data", "float_data"):
            tensor.ClearField(field)
    return copy.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("name", "exporter"),
    by_exporter(["bert", "gpt2", "swin", "resnet-basic"], torchscript=["resnet-basic"], dynamo=["gpt2", "swin"]),
)
def test_trained_weights_go_back_into_an_untouched_file(
    tmp_path: Path, zoo_cache: Path, name: str, exporter: str
) -> None:
    path = export(ARCHITECTURES[name], ARCHITECTURES[name].source, exporter, cache_dir=zoo_cache)
    assert_trained_weights_go_back(path, tmp_path)


def assert_trained_weights_go_back(path: Path, tmp_path: Path) -> None:
    module = OnnxModule(path).train()
    module.save(tmp_path / "same.onnx")
    assert constants(onnx.load(tmp_path / "same.onnx")).keys() == constants(onnx.load(path)).keys()
    for key_, array in constants(onnx.load(tmp_path / "same.onnx")).items():
        assert array.tobytes() == constants(onnx.load(path))[key_].tobytes()
    feeds = synthetic_inputs(module.graph, {})
    _stepped(module, tensors(feeds))
    module.save(tmp_path / "new.onnx")
    before, after = onnx.load(path), onnx.load(tmp_path / "new.onnx")
    assert _bare(before) == _bare(after)
    changed = {n for n, a in weights(after).items() if not np.array_equal(a, weights(before)[n])}
    assert changed and changed <= {*module.weights(), *module.learned.copies}
    module.eval()
    for made, wanted in zip(module(tensors(feeds)).values(), run(tmp_path / "new.onnx", feeds), strict=True):
        close(made, wanted, 1e-3, 1e-4 * max(1.0, float(np.abs(wanted).max())))


def test_zeros_that_a_fresh_model_shares_become_weights_of_their_own(zoo_cache: Path) -> None:
    path = export(ARCHITECTURES["bert-fresh"], ARCHITECTURES["bert-fresh"].source, "dynamo", cache_dir=zoo_cache)
    module = OnnxModule(path).eval()
    names = {edge.node for name in module.weights() for edge in module.graph.consumers[name]}
    assert len(names) <= len(module.weights()) + 2  # the tied head and its table
    feeds = synthetic_inputs(module.graph, {})
    _stepped(module, tensors(feeds))
    for made, wanted in zip(module(tensors(feeds)).values(), run(module.proto(), feeds), strict=True):
        close(made, wanted, 1e-3, 1e-4)


def _tied() -> onnx.ModelProto:
    """Embeddings whose transpose is stored as the output layer."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((11, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("MatMul", ["y", "head"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["b", 5])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 5, 11])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(rng.standard_normal((6, 6)).astype(np.float32), "w"),
            numpy_helper.from_array(np.ascontiguousarray(table.T), "head"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_table_and_its_transpose_stay_one_weight() -> None:
    model = _tied()
    table = weights(model)["table"]
    module = OnnxModule(model)
    assert set(module.weights()) == {"table", "w"}
    given = {"ids": np.arange(10).reshape(2, 5)}
    _stepped(module, tensors(given))
    found = weights(module.proto())
    assert np.array_equal(found["head"], found["table"].T) and not np.array_equal(found["table"], table)
    close(module(tensors(given))["logits"], run(module.proto(), given)[0], 1e-4, 1e-5)


def test_half_precision_is_rounded_where_the_graph_reads_it() -> None:
    model = mlp()
    half = onnx.ModelProto()
    half.CopyFrom(model)
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    for info in (*half.graph.input, *half.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    module = OnnxModule(half)
    assert all(p.dtype == torch.float32 for p in module.weights().values())
    x = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float16)
    made = module(tensors({"x": x}))["y"]
    assert made.dtype == torch.float16
    close(made, run(half, {"x": x})[0], 1e-2, 1e-2)
    made.float().sum().backward()
    assert all(p.grad is not None for p in module.weights().values())
    assert {t.data_type for t in module.proto().graph.initializer} == {TensorProto.FLOAT16}


def test_digits_are_named_as_before() -> None:
    with np.load(DIGIT_INPUTS) as archive:
        image, labels = archive["image"], archive["labels"]
    logits = OnnxModule(DIGITS).eval()(tensors({"image": image}))["logits"]
    assert (logits.argmax(1).numpy() == labels).mean() >= 0.95


def test_batch_norms_in_half_precision_do_not_overflow() -> None:
    from front_onnx.adapters.executor.operators.normalization import batch_norm
    from front_onnx.adapters.executor.table import Step

    attributes = {"training_mode": 1, "epsilon": 1e-5}
    step = Step("", "BatchNormalization", "ai.onnx", 17, (), ("y",), attributes, training=True)
    x = 300 * torch.randn(64, 2, 16, 16, generator=torch.Generator().manual_seed(0)) + 100
    given = [torch.ones(2), torch.zeros(2), torch.zeros(2), torch.ones(2)]
    y, _, variance, *_ = batch_norm(step, x.half(), *given)
    wanted = torch.nn.functional.batch_norm(x, None, None, *given[:2], training=True)
    assert torch.isfinite(variance).all() and y.dtype == torch.float16
    torch.testing.assert_close(y.float(), wanted, rtol=1e-2, atol=1e-2)


def test_running_statistics_move_as_the_specification_says() -> None:
    """Momentum times the old ones, the rest of it times those of the batch, its variance over all of the batch."""
    from front_onnx.adapters.executor.operators.normalization import batch_norm
    from front_onnx.adapters.executor.table import Step

    attributes = {"training_mode": 1, "momentum": 0.7}
    step = Step("", "BatchNormalization", "ai.onnx", 17, (), ("y",), attributes, training=True)
    x = 2 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 1
    old = torch.tensor([[4.0, -1.0, 0.5], [3.0, 1.0, 0.2]])
    _, mean, variance, *_ = batch_norm(step, x, torch.ones(3), torch.zeros(3), *old)
    channels = x.transpose(0, 1).flatten(1)
    torch.testing.assert_close(mean, 0.7 * old[0] + 0.3 * channels.mean(1))
    torch.testing.assert_close(variance, 0.7 * old[1] + 0.3 * channels.var(1, correction=0))


# -- training mode --------------------------------------------------------------------------------------------


@pytest.mark.export
def test_batch_norms_train_as_the_graph_says(tmp_path: Path) -> None:
    native = exported_for_training(tmp_path / "m.onnx", drop=0.0)
    module = OnnxModule(tmp_path / "m.onnx").train()
    native.load_state_dict({k: v for k, v in module.state_dict().items() if k in native.state_dict()}, strict=False)
    assert set(module.statistics()) == {"norm.running_mean", "norm.running_var"}
    old = 0.9 * module.tensor("norm.running_var").clone()
    x = torch.randn(5, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 + 1
    torch.testing.assert_close(module(x=x)["y"], native.train()(x), rtol=1e-4, atol=1e-5)
    count = 5 * 4 * 4  # torch keeps the unbiased variance, the specification that over the whole batch
    state = native.state_dict()
    torch.testing.assert_close(module.tensor("norm.running_mean"), state["norm.running_mean"], rtol=1e-4, atol=1e-5)
    biased = old + (state["norm.running_var"] - old) * (count - 1) / count
    torch.testing.assert_close(module.tensor("norm.running_var"), biased, rtol=1e-4, atol=1e-5)
    found = weights(module.proto())
    assert np.array_equal(found["norm.running_mean"], module.tensor("norm.running_mean").numpy())
    kept = module.tensor("norm.running_mean").clone()
    module.eval()(x=x)
    assert torch.equal(module.tensor("norm.running_mean"), kept)


@pytest.mark.export
def test_dropout_drops_in_training_only(tmp_path: Path) -> None:
    exported_for_training(tmp_path / "m.onnx", drop=0.5)
    module = OnnxModule(tmp_path / "m.onnx").train()
    x = torch.randn(5, 3, 6, 6)
    torch.manual_seed(0)
    first = module(x=x)["y"]
    torch.manual_seed(0)
    assert torch.equal(module(x=x)["y"], first) and not torch.equal(module(x=x)["y"], first)
    module.eval()
    assert torch.equal(module(x=x)["y"], module(x=x)["y"])
