"""Pictures inside a page, as SVG that takes its colours from the page: light or dark, on a screen or in print."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

__all__ = ["Html", "curves", "draw_blocks"]

Points = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 14, 40
_ROW = 76  # where blocks begin, behind the name of their row
_LINES = 10  # colours of the page


class Html(str):
    """HTML that is written into a page as it is: names in it are escaped already."""

    def __html__(self) -> str:
        return str(self)


def curves(
    lines: Mapping[str, Points],
    *,
    across: str,
    up: str,
    logarithmic: bool = False,
    level: tuple[str, float] | None = None,
) -> Html:
    """Lines over a number, each with its name below.

    Args:
        lines: points by name, drawn in this order.
        across, up: what the axes are.
        logarithmic: of the axis that goes up; what is not above zero is left out.
        level: a dashed line across, by name.
    """
    kept = {
        name: [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y) and (y > 0 or not logarithmic)]
        for name, points in lines.items()
    }
    kept = {name: points for name, points in kept.items() if points}
    if not kept:
        return Html()
    scale = math.log10 if logarithmic else float
    xs = [x for points in kept.values() for x, _ in points]
    ys = [scale(y) for points in kept.values() for _, y in points]
    if level is not None and (level[1] > 0 or not logarithmic):
        ys.append(scale(level[1]))
    x_ticks = _ticks(min(xs), max(xs))
    y_ticks = (_decades if logarithmic else _ticks)(min(ys), max(ys))
    x0, x1 = min(x_ticks[0], min(xs)), max(x_ticks[-1], max(xs))
    y0, y1 = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def across_at(x: float) -> float:
        return _LEFT + (x - x0) / ((x1 - x0) or 1) * (_WIDTH - _LEFT - _RIGHT)

    def up_at(y: float) -> float:
        return _HEIGHT - _BOTTOM - (y - y0) / ((y1 - y0) or 1) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(up)} over {escape(across)}">']
    for tick in y_ticks:
        shown = _short(10**tick if logarithmic else tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{up_at(tick):.1f}" y2="{up_at(tick):.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{up_at(tick) + 4:.1f}" text-anchor="end">{shown}</text>')
    for tick in x_ticks:
        where = f'x="{across_at(tick):.1f}" y="{_HEIGHT - _BOTTOM + 16}"'
        parts.append(f'<text {where} text-anchor="middle">{_short(tick)}</text>')
    middle = f'x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 6}"'
    parts.append(f'<text {middle} text-anchor="middle">{escape(across)}</text>')
    turned = f'transform="rotate(-90 12 {_HEIGHT / 2})"'
    parts.append(f'<text x="12" y="{_HEIGHT / 2}" text-anchor="middle" {turned}>{escape(up)}</text>')
    if level is not None and (level[1] > 0 or not logarithmic):
        y = up_at(scale(level[1]))
        parts.append(f'<line class="level" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for place, points in enumerate(kept.values()):
        path = " ".join(f"{across_at(x):.1f},{up_at(scale(y)):.1f}" for x, y in points)
        parts.append(f'<polyline class="line c{place % _LINES}" points="{path}"/>')
        parts += [
            f'<circle class="dot c{place % _LINES}" cx="{across_at(x):.1f}" cy="{up_at(scale(y)):.1f}" r="2.5"/>'
            for x, y in points
        ]
    parts.append("</svg>")
    names = [f'<span class="key c{place % _LINES}">{escape(name)}</span>' for place, name in enumerate(kept)]
    if level is not None:
        names.append(f'<span class="key dashed">{escape(level[0])}</span>')
    return Html(f"<figure>{''.join(parts)}<figcaption>{' '.join(names)}</figcaption></figure>")


def draw_blocks(
    before: Sequence[tuple[str, str]], after: Sequence[tuple[str, str]], widths: tuple[float, float]
) -> Html:
    """Two rows of blocks, the source's above; how wide a block is drawn says how wide it is.

    Args:
        before, after: (kind, what stands in it) of each block.
        widths: of the blocks of both rows, as parts of the larger ones.
    """
    most = max(len(before), len(after), 1)
    cell = min(64.0, (_WIDTH - _ROW) / most)
    wide = 0.9 * cell
    rows = []
    for row, (label, blocks, part) in enumerate((("before", before, widths[0]), ("after", after, widths[1]))):
        y = 8 + row * 62
        rows.append(f'<text x="0" y="{y + 28}">{label}</text>')
        for place, (kind, text) in enumerate(blocks):
            height = 44 * max(0.18, part)
            x, top = _ROW + place * cell, y + (44 - height) / 2
            place_of = f'x="{x:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{height:.1f}" rx="4"'
            rows.append(f'<rect class="block {escape(kind)}" {place_of}><title>{escape(kind)}</title></rect>')
            if cell >= 18:
                at = f'x="{x + wide / 2:.1f}" y="{y + 26}"'
                rows.append(f'<text class="inside" {at} text-anchor="middle">{escape(text)}</text>')
    return Html(
        f'<svg viewBox="0 0 {_WIDTH} 126" role="img" aria-label="blocks before and after">{"".join(rows)}</svg>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Some round numbers that reach over a range."""
    if high <= low:
        high = low + (abs(low) or 1.0)
    raw = (high - low) / 5
    step = 10 ** math.floor(math.log10(raw))
    step = next((step * factor for factor in (1, 2, 5) if step * factor >= raw), step * 10)
    first = math.floor(low / step)
    return [round(number * step, 12) for number in range(first, math.ceil(high / step) + 1)]


def _decades(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2, 5 and their tenfolds that reach over a range of logarithms; tenfolds alone if it is long."""
    steps = (0.0, math.log10(2), math.log10(5)) if high - low < 2 else (0.0,)
    every = [whole + step for whole in range(math.floor(low), math.ceil(high) + 2) for step in steps]
    first = max((tick for tick in every if tick <= low + 1e-9), default=every[0])
    last = min(tick for tick in every if tick >= high - 1e-9 and tick > first)
    found = [tick for tick in every if first <= tick <= last]
    return found[:: -(-len(found) // 8)] if len(found) > 8 else found


def _short(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
