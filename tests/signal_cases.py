"""Random small graphs with signals, images, regions, random numbers, and what data decide the number of."""

from __future__ import annotations

import numpy as np
from rule_cases import OPSETS, case
from small_graphs import Net

OPSETS |= {"CumProd": 26, "BitCast": 26, "SwiGLU": 28, "DeformConv": 22}


@case("CumProd")
def cumulative_product(net: Net) -> None:
    shape = net.shape()
    axis = net.const(net.rng.randrange(-len(shape), len(shape)), np.int64)
    net.add("CumProd", net.data(shape), axis, exclusive=net.rng.randint(0, 1), reverse=net.rng.randint(0, 1))


@case("BitCast")
def bit_cast(net: Net) -> None:
    net.add("BitCast", net.data(net.shape()), to=6)


@case("SwiGLU")
def swiglu(net: Net) -> None:
    shape = net.shape()
    net.add("SwiGLU", net.data(shape), net.data(shape), alpha=net.rng.choice([None, 1.5]))


@case("Det")
def det(net: Net) -> None:
    n = net.size()
    net.add("Det", net.data([*net.shape(0, 2), n, n]))


# -- signals --------------------------------------------------------------------------------------------------


@case("DFT")
def dft(net: Net) -> None:
    """Forwards, real or complex, whole or one half, perhaps of a length of its own."""
    net.opset = net.size(17, 20)
    shape = [*net.shape(2, 3), net.size(1, 2)]
    axis = net.rng.randrange(len(shape) - 1)
    halved = net.maybe() and shape[-1] == 1
    length = [net.const(net.rng.choice([shape[axis], 4, 7]), np.int64)] if net.maybe() else [""]
    more = {} if net.opset == 20 else {"axis": axis}
    given = [*length, net.const(axis - len(shape) if net.maybe() else axis, np.int64)] if net.opset == 20 else length
    given = given if any(given) else []
    inverse = 1 if net.maybe() and not halved and shape[-1] == 2 else None
    net.add("DFT", net.data(shape), *given, onesided=int(halved), inverse=inverse, **more)


@case("DFT")
def spectrum_in_both_directions(net: Net) -> None:
    """Weights mix a hidden size that is transformed as a whole."""
    b, t, d, m = (net.size() for _ in range(4))
    x = net.add("MatMul", net.data([b, t, d]), net.weight(d, m))
    made = net.add("DFT", net.add("Unsqueeze", x, net.ints(-1)), "", net.const(-2, np.int64))
    real = net.add("Gather", made, net.const(0, np.int64), axis=-1)
    net.add("MatMul", real, net.weight(m, net.size()))


@case("STFT")
def stft(net: Net) -> None:
    n, length, step = net.size(3, 4, 5), net.size(9, 12), net.size(1, 2, 3)
    halved = net.rng.randint(0, 1)
    signal = net.data([net.size(1, 2), length, 1 if halved else net.size(1, 2)])
    window, frame = net.const(np.ones(n), np.float32), net.const(n, np.int64)
    more = net.rng.choice([[window], [window, frame], ["", frame]])
    net.add("STFT", signal, net.const(step, np.int64), *more, onesided=halved)


@case("HannWindow", "HammingWindow", "BlackmanWindow")
def window(net: Net, op: str) -> None:
    n = net.rng.randint(3, 7)
    size = net.const(n, np.int64)
    if net.maybe():
        size = net.add("Gather", net.add("Shape", net.data([n, net.size()])), net.const(0, np.int64))
    made = net.add(op, size, periodic=net.rng.randint(0, 1))
    net.add("Mul", net.data([net.size(), n]), made)


@case("MelWeightMatrix")
def mel(net: Net) -> None:
    bands, n, d = net.size(), net.size(8, 9, 16), net.size()
    numbers = [net.const(number, np.int64) for number in (bands, n, 8000)]
    filters = net.add("MelWeightMatrix", *numbers, net.const(20, np.float32), net.const(3000, np.float32))
    power = net.add("MatMul", net.data([net.size(), n // 2 + 1]), filters)
    net.add("MatMul", power, net.weight(bands, d))


# -- images and regions ---------------------------------------------------------------------------------------


@case("AffineGrid")
def affine_grid(net: Net) -> None:
    n, c, rank = net.size(), net.size(), net.size(2, 3)
    sides = [net.size() for _ in range(rank)]
    theta = net.input([n, rank, rank + 1])
    size = net.ints(n, c, *sides) if net.maybe() else net.add("Shape", net.data([n, c, *sides]))
    net.add("AffineGrid", theta, size, align_corners=net.rng.randint(0, 1))


@case("Col2Im")
def col2im(net: Net) -> None:
    kernel, pads = [net.size(1, 2), net.size(1, 2, 3)], [net.size(0, 1) for _ in range(4)]
    strides, gaps = [net.size(1, 2), 1], [1, net.size(1, 2)]
    image = [net.size(6, 7), net.size(6, 7)]
    count = 1
    for i in range(2):
        count *= (image[i] + pads[i] + pads[i + 2] - gaps[i] * (kernel[i] - 1) - 1) // strides[i] + 1
    x = net.data([net.size(1, 2), net.size() * kernel[0] * kernel[1], count])
    net.add("Col2Im", x, net.ints(*image), net.ints(*kernel), pads=pads, strides=strides, dilations=gaps)


@case("CenterCropPad")
def center_crop_pad(net: Net) -> None:
    shape = net.shape()
    picked = sorted(net.rng.sample(range(len(shape)), net.rng.randint(1, len(shape))))
    whole = len(picked) == len(shape) and net.maybe()
    sizes = [net.rng.choice([shape[place], net.size()]) for place in picked]
    axes = None if whole else [place - len(shape) if net.maybe() else place for place in picked]
    net.add("CenterCropPad", net.data(shape), net.ints(*sizes), axes=axes)


@case("MaxUnpool")
def max_unpool(net: Net) -> None:
    n, c, h, w = net.size(1, 2), net.size(), net.size(4, 6), net.size(4, 6)
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2]}
    best, places = net.add("MaxPool", net.data([n, c, h, w]), outputs=2, **attributes)
    net.add("MaxUnpool", best, places, *([net.ints(n, c, h, w)] if net.maybe() else []), **attributes)


@case("DeformConv")
def deform_conv(net: Net) -> None:
    """Offsets and masks that another convolution makes of the same image, or that are fed."""
    n, groups, moved = net.size(1, 2), net.size(1, 1, 2), net.size(1, 2)
    into, out = net.size(2, 4), net.size(1, 2, 3)
    c, sides, kernel = groups * into, [net.size(6, 7), net.size(6, 7)], [net.size(2, 3), net.size(2, 3)]
    taps = moved * kernel[0] * kernel[1]
    x = net.data([n, c, *sides])
    window = {"kernel_shape": kernel, "strides": [1, net.size(1, 2)], "pads": [net.size(0, 1)] * 4}
    offsets = net.add("Conv", x, net.weight(2 * taps, c, *kernel), **window)
    mask = net.add("Sigmoid", net.add("Conv", x, net.weight(taps, c, *kernel), **window)) if net.maybe() else ""
    weights = [net.weight(groups * out, into, *kernel), offsets]
    more = [net.weight(groups * out) if net.maybe() else "", mask]
    while more and not more[-1]:
        more.pop()
    net.add("DeformConv", x, *weights, *more, group=groups, offset_group=moved, **window)


@case("RoiAlign", "MaxRoiPool")
def regions(net: Net, op: str) -> None:
    n, c, h, w, r = (net.size() for _ in range(5))
    x, sides = net.data([n, c, h, w]), [net.size(1, 2, 3), net.size(1, 2, 3)]
    if op == "MaxRoiPool":
        made = net.add(op, x, net.const(np.zeros((r, 5)), np.float32), pooled_shape=sides)
    else:
        boxes, images = net.input([r, 4]), net.input([r], np.int64)
        made = net.add(op, x, boxes, images, output_height=sides[0], output_width=sides[1], sampling_ratio=1)
    net.add("Conv", made, net.weight(net.size(), c, 1, 1))


@case("NonMaxSuppression")
def non_max_suppression(net: Net) -> None:
    n, c, s = net.size(1, 2), net.size(), net.size()
    most, bounds = net.const(2, np.int64), [net.const(0.5, np.float32), net.const(0.1, np.float32)]
    scores = net.add("MatMul", net.data([n, c, 3]), net.weight(3, s)) if net.maybe() else net.data([n, c, s])
    places = net.add("NonMaxSuppression", net.data([n, s, 4]), scores, *[most, *bounds][: net.rng.randint(1, 3)])
    net.add("Gather", places, net.const(2, np.int64), axis=1)


# -- random numbers -------------------------------------------------------------------------------------------


@case("RandomNormal", "RandomUniform")
def random_of_a_shape(net: Net, op: str) -> None:
    shape = net.shape()
    net.add("Add", net.data(shape), net.add(op, shape=shape))


@case("RandomNormalLike", "RandomUniformLike")
def random_like(net: Net, op: str) -> None:
    net.add(op, net.data(net.shape()))


@case("Multinomial")
def multinomial(net: Net) -> None:
    n, classes = net.size(), net.size()
    net.add("Multinomial", net.add("MatMul", net.data([n, 3]), net.weight(3, classes)), sample_size=net.size(1, 2, 3))


# -- what data decide the number of ---------------------------------------------------------------------------


@case("Compress")
def compress(net: Net) -> None:
    shape = net.shape(1, 3)
    axis = net.rng.choice([None, *range(-len(shape), len(shape))])
    length = int(np.prod(shape)) if axis is None else shape[axis]
    length = net.rng.choice([length, max(1, length - 1)])
    condition = net.const(np.arange(length) % 2 == 0, bool) if net.maybe() else net.input([length], bool)
    net.add("Compress", net.data(shape), condition, axis=axis)


@case("Unique")
def unique(net: Net) -> None:
    shape = net.shape(1, 3)
    axis = net.rng.choice([None, *range(-len(shape), len(shape))])
    net.add("Unique", net.data(shape), axis=axis, outputs=net.rng.choice([1, 3, 4]), sorted=net.rng.randint(0, 1))
