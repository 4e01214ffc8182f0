"""Size and energy of learngenes by ratio, for trained weights and for random ones of the same mean and deviation.

python benchmarks/learngenes.py                      # models/digits
python benchmarks/learngenes.py model.onnx other.onnx
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

import front_onnx
from front_onnx.gene.describe import describe_gene

DIGITS = Path(__file__).parents[1] / "models" / "digits" / "digits.onnx"
RATIOS = (0.33, 0.5, 0.67, 0.83, 1.0)


def randomised(path: Path) -> onnx.ModelProto:
    """The model with every weight drawn anew."""
    model, rng = onnx.load(path), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and array.size > 1:
            drawn = rng.normal(array.mean(), array.std(), array.shape).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(drawn, tensor.name))
    return model


def main() -> None:
    for path in [*map(Path, sys.argv[1:])] or [DIGITS]:
        print(f"\n{path.name}\n\n| ratio | parameters | of all | file | energy, trained | energy, random |")
        print("|---|---|---|---|---|---|")
        other = randomised(path)
        for ratio in RATIOS:
            with tempfile.TemporaryDirectory() as folder:
                place = Path(folder) / "gene.safetensors"
                found = [front_onnx.extract(model, ratio=ratio, output=place) for model in (path, other)]
            about, random = (describe_gene(extracted.gene) for extracted in found)
            energies = (f"{entry['energy']:.3f}" if entry["energy"] is not None else "1" for entry in (about, random))
            share, size = about["kept"] / about["parameters"], found[0].size
            row = [f"{ratio:g}", f"{about['kept'] / 1e6:.3f} M", f"{share:.1%}", f"{size / 1e6:.2f} MB", *energies]
            print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
