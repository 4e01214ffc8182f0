"""Pictures as a graph takes them: resized, cut to the size around the centre, scaled and standardised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from front_onnx.errors import FileError, RequestError
from front_onnx.samples.inputs import Feed, Input, Inputs

__all__ = ["PICTURES", "PictureFiles", "Pictures"]

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_SIDE = 224  # where neither the graph nor the user says how large
_MOST = 512
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation of its training pictures, red first


@dataclass(frozen=True)
class Pictures:
    """How pictures are prepared: their size where it is free, and what is taken away and divided by."""

    image_size: int | tuple[int, int] | None = None
    mean: float | Sequence[float] | None = None
    deviation: float | Sequence[float] | None = None

    def __post_init__(self) -> None:
        if any(side < 1 for side in self.size or ()):
            raise RequestError("the sides of pictures are at least 1", got=self.image_size)
        if self.deviation is not None and not np.all(np.asarray(self.deviation) > 0):
            raise RequestError("the deviation of pictures is larger than 0", got=self.deviation)

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width) as asked for."""
        if self.image_size is None:
            return None
        sides = (self.image_size,) * 2 if isinstance(self.image_size, int) else tuple(self.image_size)
        if len(sides) != 2:
            raise RequestError("the size of pictures is a number, or height and width", got=self.image_size)
        return sides[0], sides[1]

    def size_for(self, entry: Input) -> tuple[int, int]:
        """(height, width) for an input.

        Raises:
            RequestError: the graph fixes another size than was asked for.
        """
        assert entry.sides is not None and entry.shape is not None
        declared = [entry.shape[side] for side in entry.sides]
        fixed = [size for size in declared if isinstance(size, int)]
        if fixed:
            if self.size is not None and list(self.size) != fixed:
                line = f"input {entry.name} has a fixed size"
                raise RequestError(line, got=list(self.size), wanted=fixed, hint="leave the image size out")
            return fixed[0], fixed[1]
        return self.size or (_SIDE, _SIDE)

    def standards(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation, one for each channel.

        Raises:
            RequestError: there are as many as for other pictures.
        """
        defaults = _IMAGENET if channels == 3 else (0.0, 1.0)
        found = []
        for name, given, default in zip(("mean", "deviation"), (self.mean, self.deviation), defaults, strict=True):
            values = np.asarray(default if given is None else given, np.float64)
            if values.shape not in ((), (1,), (channels,)):
                raise RequestError(f"{name} has another number of channels", got=values.size, wanted=channels)
            found.append(np.broadcast_to(values, channels))
        return found[0], found[1]


class PictureFiles:
    """Files of pictures, each one sample."""

    default = _MOST

    def __init__(self, name: str, inputs: Inputs, files: list[Path], pictures: Pictures) -> None:
        entry = inputs.picture
        if entry is None or len(inputs.each) > 1:
            wanted = (
                "one input [batch, channels, height, width] or [batch, height, width, channels], 1, 3 or 4 channels"
            )
            raise RequestError(f"{name} holds pictures, and the graph takes others", got=inputs.names, wanted=wanted)
        assert entry.sides is not None and entry.shape is not None
        self.name, self._inputs, self._entry, self._files = name, inputs, entry, files
        self._size = pictures.size_for(entry)
        self._last = entry.sides == (1, 2)
        channels = entry.shape[3 if self._last else 1]
        assert isinstance(channels, int)
        self._mode, (self._mean, self._deviation) = _MODES[channels], pictures.standards(channels)

    def feeds(self, limit: int, rng: np.random.Generator) -> Iterator[Feed]:
        """Some of the pictures, in a random order."""
        library = _pillow()
        for place in rng.permutation(len(self._files))[:limit]:
            array = self._prepared(library, self._files[place])
            yield self._inputs.fitted({self._entry.name: array[None]}, str(self._files[place]))[0]

    def _prepared(self, library: Any, path: Path) -> np.ndarray:
        """A picture [height, width, channels], or with its channels first.

        Raises:
            FileError: it cannot be read.
        """
        try:
            with library.open(path) as opened:
                if opened.mode[:1] in "IF":  # 16 or 32 bits: what is white is not known
                    raise FileError(f"{path} has more than 8 bits a channel", got=opened.mode)
                picture = _upright(opened).convert(self._mode)
        except (OSError, ValueError, SyntaxError, library.DecompressionBombError) as error:
            raise FileError(f"{path} is no picture that can be read: {error}") from None
        array = np.asarray(self._cut(library, picture)).reshape(*self._size, -1)
        if self._entry.is_float:
            array = ((array / 255 - self._mean) / self._deviation).astype(np.float32)
        return array if self._last else np.ascontiguousarray(array.transpose(2, 0, 1))

    def _cut(self, library: Any, picture: Any) -> Any:
        """The centre of a picture, so that what is seen keeps its proportions."""
        height, width = self._size
        scale = max(height / picture.height, width / picture.width)
        inner = width / scale, height / scale
        left, top = (picture.width - inner[0]) / 2, (picture.height - inner[1]) / 2
        box = left, top, left + inner[0], top + inner[1]
        return picture.resize((width, height), library.Resampling.BICUBIC, box=box)


def _upright(picture: Any) -> Any:
    """A photograph turned as its camera says."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(picture)


def _pillow() -> Any:
    """The library that reads pictures, which only its own users need.

    Raises:
        RequestError: it is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise RequestError("reading pictures needs Pillow", hint="pip install 'front-onnx[images]'") from None
    return Image
