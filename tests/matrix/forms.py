"""The same architectures written down another way: old opsets, unfolded graphs, weights elsewhere, other types."""

from collections.abc import Callable
from pathlib import Path

import onnx
import torch
from variants import VARIANTS
from zoo.architectures import ARCHITECTURES
from zoo.export import _only_arguments, _quiet, unfuse_attention
from zoo.sizes import Size

from matrix.entry import Entry

Store = Callable[[onnx.ModelProto, Path], None]


def _external(*, one_file: bool) -> Store:
    def store(model: onnx.ModelProto, path: Path) -> None:
        location = f"{path.name}.data" if one_file else None
        if not one_file:  # each file has a tensor's name: keep those of several models apart
            for tensor in model.graph.initializer:
                onnx.external_data_helper.set_external_data(tensor, f"{path.stem}.{tensor.name.replace('/', '_')}")
            onnx.save(model, path)
            return
        onnx.save(model, path, save_as_external_data=True, location=location, size_threshold=0)

    return store


def _variant(name: str) -> Store:
    return lambda model, path: onnx.save(VARIANTS[name](model), path)


# form: (options of torch.onnx.export, element type, how it is stored)
FORMS: dict[str, tuple[dict, torch.dtype | None, Store]] = {
    "opset 9": ({"opset_version": 9}, None, onnx.save),
    "opset 11": ({"opset_version": 11}, None, onnx.save),
    "opset 12, unfolded": ({"opset_version": 12, "do_constant_folding": False}, None, onnx.save),
    "unfolded, initializers as inputs": (
        {"opset_version": 17, "do_constant_folding": False, "keep_initializers_as_inputs": True},
        None,
        onnx.save,
    ),
    "training mode kept": ({"opset_version": 17, "training": torch.onnx.TrainingMode.PRESERVE}, None, onnx.save),
    "float16": ({"opset_version": 17}, torch.float16, onnx.save),
    "float64": ({"opset_version": 17}, torch.float64, onnx.save),
    "external data, one file": ({"opset_version": 17}, None, _external(one_file=True)),
    "external data, many files": ({"opset_version": 17}, None, _external(one_file=False)),
    **{f"weights: {name}": ({"opset_version": 17}, None, _variant(name)) for name in VARIANTS},
}
PLAIN = ("deit", "resnet-basic")
TEXT = ("bert", "llama")
LEFT_OUT = {  # what the exporter cannot write, or nothing can run
    **{(name, "opset 9"): "shapes that opset 9 has no operators for" for name in TEXT},
    ("bert", "float16"): "half precision next to single",
    **{(name, "float64"): "no double convolution or erf in onnxruntime" for name in ("deit", "resnet-basic", "bert")},
}


def _entry(name: str, form: str) -> Entry:
    architecture = ARCHITECTURES[name]
    options, dtype, store = FORMS[form]

    def export(size: Size, path: Path) -> None:
        module, inputs = architecture.build(size)
        if options["opset_version"] < 14:
            unfuse_attention(module)
        if dtype is not None:
            module = module.to(dtype)
            inputs = {key: value.to(dtype) if value.is_floating_point() else value for key, value in inputs.items()}
        plain = path.with_suffix(".plain.onnx")
        axes = {key: dict(architecture.input_axes) for key in inputs}
        names = {"input_names": list(inputs), "output_names": list(architecture.outputs)}
        with _quiet(), _only_arguments(module, list(inputs)):
            torch.onnx.export(
                module, tuple(inputs.values()), str(plain), dynamo=False, dynamic_axes=axes, **names, **options
            )
        store(onnx.load(plain), path)

    return Entry(
        name,
        "form",
        f"torchscript, {form}",
        export,
        architecture.source,
        {label: architecture.targets[label] for label in ("grow", "mixed")},
        by_ratio=architecture.width_by_ratio,
    )


ENTRIES = [_entry(name, form) for name in (*PLAIN, *TEXT) for form in FORMS if (name, form) not in LEFT_OUT]
