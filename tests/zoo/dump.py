"""Write every export of the zoo into a folder, to look at: `python -m zoo.dump FOLDER`."""

import argparse
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch

from .architectures import ARCHITECTURES
from .export import export, flatten
from .opsets import EXPORTERS


def main(folder: Path, names: list[str], labels: list[str], exporters: list[str]) -> None:
    """Export, check against the module in onnxruntime, and print one row each."""
    for label in labels:
        for name in names:
            architecture = ARCHITECTURES[name]
            for exporter in exporters:
                started = time.perf_counter()
                try:
                    size = architecture.size(label)
                    cached = export(architecture, size, exporter, cache_dir=folder / ".cache")
                    took = time.perf_counter() - started
                    path = folder / f"{name}-{exporter}-{label}.onnx"
                    shutil.copy(cached, path)
                    module, inputs = architecture.build(size)
                    difference = disagreement(path, module, inputs)
                    nodes = len(onnx.load(path).graph.node)
                    kilobytes = path.stat().st_size / 1000
                    print(f"{name:20} {exporter:12} {label:10} {nodes:5} nodes {kilobytes:7.0f} kB", end=" ")
                    print(f"{took:5.1f} s  off by {difference:.1e}", flush=True)
                except Exception as error:
                    reason = str(error).strip()[:300].replace("\n", " | ")
                    print(
                        f"{name:20} {exporter:12} {label:10} FAILED {type(error).__name__}: {reason}",
                        flush=True,
                    )


@torch.no_grad()
def disagreement(path: Path, module: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> float:
    """The largest difference between the module and onnxruntime on the module's example inputs."""
    wanted = [tensor.numpy() for tensor in flatten(module(**inputs))]
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {entry.name: inputs[entry.name].numpy() for entry in session.get_inputs()}
    got = session.run(None, feed)
    assert [a.shape for a in got] == [a.shape for a in wanted]
    return max(float(np.abs(a - b).max()) for a, b in zip(got, wanted, strict=True))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--names", nargs="*", default=list(ARCHITECTURES))
    parser.add_argument("--labels", nargs="*", default=["source", "shallower", "narrower", "grow", "mixed"])
    parser.add_argument("--exporters", nargs="*", default=list(EXPORTERS))
    given = parser.parse_args()
    main(given.folder, given.names, given.labels, given.exporters)
