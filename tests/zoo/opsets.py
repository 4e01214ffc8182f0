"""What torch's two exporters write: opsets, and what they refuse."""

EXPORTERS = ("torchscript", "dynamo")

# What each exporter writes. TorchScript labels files up to 23 but uses no operator newer than opset 20.
# Below 18 dynamo converts downwards as far as it can, and otherwise leaves the file at 18.
OPSETS: dict[str, range] = {"torchscript": range(13, 24), "dynamo": range(18, 24)}

# Combinations of architecture, exporter and opset that torch itself refuses, and why.
UNSUPPORTED: dict[tuple[str, str, int], str] = {
    (
        name,
        "torchscript",
        13,
    ): "nn.MultiheadAttention calls fused attention, which is exported from opset 14 on"
    for name in ("encoder", "encoder-norm-first")
}
UNSUPPORTED["llama", "dynamo", 23] = "onnxruntime refuses the RotaryEmbedding that torch writes for a dynamic batch"

# Exports whose axes are fixed although asked to be dynamic, and why.
STATIC_ONLY: dict[tuple[str, str], str] = {
    (
        name,
        "torchscript",
    ): "nn.MultiheadAttention reads batch and sequence as plain numbers while it is traced"
    for name in ("encoder", "encoder-norm-first")
}
