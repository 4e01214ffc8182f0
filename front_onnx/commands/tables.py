"""Tables that a person can read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from front_onnx.commands.fitting import print_table
from front_onnx.commands.output import console, plain, shortened

__all__ = [
    "console",
    "count",
    "plan_table",
    "print_calibration",
    "print_gene",
    "print_inlined",
    "print_matches",
    "print_provenance",
    "print_spectrum",
    "print_structure",
    "print_validation",
]


def count(number: int) -> str:
    """12345678 as 12.3 M."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= limit:
            return f"{number / limit:.1f} {unit}"
    return str(number)


def print_structure(about: Mapping[str, Any]) -> None:
    """Chains and dims of `inspect`."""
    about = shortened(about)
    console.print(
        f"[bold]{escape(str(about['model'] or 'model'))}[/]: {count(about['parameters'])} parameters, "
        f"{count(about['bytes'])}B, {about['nodes']} nodes, opset {about['opset'].get('ai.onnx', '?')}"
        + (f", {escape(about['producer'])}" if about["producer"] else "")
    )
    print_provenance(about["made_from"])
    if about["chains"]:
        _print_chains(about["chains"])
    else:
        console.print("\nNo repeated block was found: the depth cannot be changed.")
    table = Table(title="dims", title_justify="left", box=None, header_style="bold")
    for header in ("name", "size", "relation", "resizing"):
        table.add_column(header, justify="right" if header == "size" else "left", overflow="fold")
    for name, dim in _alike(about["dims"]):
        if not dim["resizable"]:
            how = f"[red]frozen[/]: {escape(str(dim['reason']))}"
        elif dim["follows_width"]:
            part = "is part of the width" if dim["relation"] else "is the width"
            how = part if dim["kind"] == "residual" else "follows the width"
        else:
            how = f"fixed: {escape(str(dim['reason']))}"
        table.add_row(escape(name), str(dim["size"]), escape(dim["relation"] or ""), how)
    console.print()
    print_table(table, drop=("relation",))
    for symbol, size in about["baked"].items():
        console.print(f"\nNote: {escape(symbol)} is declared free, but the graph only runs with {size}.")
    print_inlined(about["functions_inlined"])
    if about["unfollowed"]:
        console.print(f"\n{len(about['unfollowed'])} nodes could not be followed; the first ones:")
        for entry in about["unfollowed"][:5]:
            console.print(f"  {escape(entry['node'])} ({entry['operator']}): {escape(entry['reason'])}")


def print_provenance(made: Mapping[str, Any]) -> None:
    """One line, if the model says where it comes from."""
    if not made:
        return
    asked = made.get("request")
    said = " ".join(f"{name}={value}" for name, value in asked.items()) if isinstance(asked, Mapping) else ""
    samples = made.get("samples")
    on = ""
    if isinstance(samples, Mapping) and "count" in samples:
        on = f" on {samples['count']}{' made-up' if samples.get('made_up') else ''} samples"
    line = f"made by front-onnx {made.get('version', '?')}, method {made.get('method', '?')}{on}"
    source = str(made.get("source_fingerprint", "?"))[:16]
    console.print(escape(plain(f"{line}, {said or 'nothing asked'}, of the source {source}")), soft_wrap=True)


def print_inlined(functions: list[str]) -> None:
    """One line, if the model had local functions."""
    functions = shortened(functions)
    if functions:
        names = ", ".join(dict.fromkeys(functions))
        console.print(f"\nNote: {len(functions)} local functions were inlined ({escape(names)}); results have none.")


def _alike(dims: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Dims with one stem, size and kind in one row: a stage may have an inner width in each of its layers."""
    groups: dict[tuple[object, ...], list[dict[str, Any]]] = {}
    for dim in dims:
        key = (re.sub(r"_\d+$", "", dim["name"]), dim["size"], dim["kind"], dim["resizable"])
        groups.setdefault(key, []).append(dim)
    for members in groups.values():
        names = [dim["name"] for dim in members]
        yield names[0] + (f" ... {names[-1]}" if len(names) > 1 else ""), members[0]


def _print_chains(chains: list[dict[str, Any]]) -> None:
    table = Table(title="chains of blocks", title_justify="left", box=None, header_style="bold")
    for header in ("name", "depth", "width", "parameters each", "one block"):
        table.add_column(header, justify="right" if header in ("depth", "width", "parameters each") else "left")
    for chain in chains:
        notes = []
        if chain["layers_per_unit"] > 1:
            notes.append(f"{chain['units']} units of {chain['layers_per_unit']} layers")
        if chain["first_block_differs"]:
            notes.append("the first block differs")
        operators = ", ".join(f"{n} {op}" for op, n in list(chain["operators"].items())[:4])
        table.add_row(
            escape(chain["name"]),
            str(chain["depth"]),
            str(chain["width"] or "?"),
            count(chain["parameters_per_unit"]),
            "; ".join([*notes, operators]),
        )
    console.print()
    print_table(table, drop=("parameters each", "one block"))
    for chain in chains:
        console.print(f" {escape(chain['name'])}: {escape(_found(chain))}", style="dim", highlight=False)


def _found(chain: dict[str, Any]) -> str:
    """How a chain was found, as a sentence."""
    found = chain["found"]
    if found["by"] == "a loop":
        return "one body that is run for each layer"
    layers = chain["layers_per_unit"]
    if chain["units"] > 1:
        units = f"{chain['units']} {'units' if layers > 1 else 'blocks'} alike"
    else:
        units = f"one unit of {layers} layers" if layers > 1 else "one block like those of another chain"
    which = f"{found['first']} to {found['last']}, by structure and names" if found["first"] else "by structure alone"
    beside = found["beside"]
    more = ["a first block that differs"] if beside["first"] else []
    if beside["last"]:
        more.append(f"{beside['last']} more behind them")
    return f"{units}, {which}" + "".join(f"; counted with {text}" for text in more)


def plan_table(about: Mapping[str, Any], sizes: tuple[int, int] | None) -> Table:
    """Before and after, and what was rounded."""
    about = shortened(about)
    table = Table(box=None, header_style="bold")
    for header in ("", "before", "after"):
        table.add_column(header, justify="left" if not header else "right")
    rounded = {name: f"rounded from {size:g}" for name, size in about["rounded"].items()}
    if rounded:
        table.add_column("")
    for name, (before, after) in about["depth"].items():
        _row(table, f"depth {name}" if len(about["depth"]) > 1 else "depth", before, after)
    rows = [{"name": n, "size": (b, a), "kind": "", "resizable": True} for n, (b, a) in about["dims"].items()]
    rows += [{"name": n, "size": (s, s), "kind": "", "resizable": True} for n, s in about["kept"].items()]
    for name, row in _alike(rows):
        _row(table, name, *row["size"], *([rounded.get(row["name"], "")] if rounded else []))
    before, after = about["parameters"]
    _row(table, "parameters", count(before), count(after))
    if sizes:
        _row(table, "file size", count(sizes[0]) + "B", count(sizes[1]) + "B")
    return table


def _row(table: Table, name: str, before: object, after: object, *notes: str) -> None:
    style = "" if before != after or any(notes) else "dim"
    table.add_row(escape(name), str(before), str(after), *notes, style=style)


def print_validation(about: Mapping[str, Any]) -> None:
    """One line per check."""
    about = shortened(about)
    for check in about["checks"]:
        mark = "[green]ok[/]  " if check["passed"] else "[red]FAIL[/]"
        console.print(f"{mark} {check['name']}: {escape(check['detail'])}")
    for difference in about["differences"]:
        console.print(f"[yellow]differs[/] {escape(difference)}")


def print_gene(about: Mapping[str, Any]) -> None:
    """What a learngene holds, stack by stack."""
    about = shortened(about)
    source = about["source"]
    share = about["kept"] / about["parameters"] if about["parameters"] else 1.0
    console.print(
        f"[bold]learngene[/] of {escape(str(source.get('model') or 'a model'))}: {about['kept'] / 1e6:.2f} M of "
        f"{about['parameters'] / 1e6:.2f} M parameters ({share:.1%}), ratio {about['ratio']:g}, {about['band']} band, "
        f"scale {about['scale']}"
    )
    for chain in source.get("chains", []):
        console.print(f"  {escape(str(chain['name']))}: depth {chain['depth']}, width {chain['width'] or '?'}")
    if about["stacks"]:
        table = Table(title="stacks", title_justify="left", box=None, header_style="bold")
        for header in ("first tensor", "weights", "kept", "parameters", "energy"):
            table.add_column(header, justify="left" if header == "first tensor" else "right", overflow="fold")
        for stack in about["stacks"]:
            shape, kept = (" x ".join(map(str, stack[name])) for name in ("shape", "kept"))
            table.add_row(
                escape(stack["tensors"][0]), shape, kept, count(stack["parameters"]), f"{stack['energy']:.3f}"
            )
        console.print()
        print_table(table, drop=("energy", "parameters"))
    if about["whole"]:
        console.print(f"\n{len(about['whole'])} tensors are kept whole: nothing of them is cut at this ratio")


def print_spectrum(about: Mapping[str, Any]) -> None:
    """Energy in the low frequencies, beside white noise and permuted weights."""
    about = shortened(about)
    table = Table(title=f"energy in the low {about['ratio']:g}", title_justify="left", box=None, header_style="bold")
    for header in ("stack", "shape", "axis", "weights", "permuted", "white noise"):
        table.add_column(header, justify="left" if header in ("stack", "axis") else "right", overflow="fold")
    for row in about["axes"]:
        shape = " x ".join(map(str, row["shape"]))
        values = (f"{row[name]:.3f}" for name in ("energy", "permuted", "noise"))
        table.add_row(escape(row["stack"]), shape, row["axis"], *values)
    print_table(table, drop=("white noise",))
    console.print(f"\n{about['verdict']}")


def print_matches(rows: list[dict[str, Any]], unused: list[dict[str, Any]]) -> None:
    """What goes where, what stays as it is and why."""
    rows, unused = shortened(rows), shortened(unused)
    table = Table(title="weights by role", title_justify="left", box=None, header_style="bold")
    for header in ("where", "role", "target", "source"):
        table.add_column(header, overflow="fold")
    for row in rows:
        several = f" ({row['blocks']})" if row["blocks"] > 1 else ""
        if row["source"] is None:
            source = f"[yellow]keeps its own[/]: {escape(row['reason'] or '')}"
        else:
            behind = f" ({row['source_blocks']})" if row["source_blocks"] > 1 else ""
            source = escape(row["source"]) + behind + (f", {escape(row['reason'])}" if row["reason"] else "")
        table.add_row(row["where"], row["role"], escape(row["target"]) + several, source)
    print_table(table, drop=("where",))
    made = sum(row["source"] is not None for row in rows)
    console.print(f"\n{made} of {len(rows)} matched; {len(unused)} of the source's go nowhere")
    for row in unused:
        console.print(f"  not used: {row['where']}, {row['role']}: {escape(row['source'])}")


def print_calibration(about: Mapping[str, Any]) -> None:
    """The starts that were compared, and what was kept as it was in the best one."""
    about = shortened(about)
    made_up = ", made up" if about["made_up"] else ""
    table = Table(
        title=f"\nwhat is kept of the source, on held-out samples ({about['samples']} to calibrate on{made_up})",
        title_justify="left",
        box=None,
        header_style="bold",
    )
    for header in ("start", "output", "error", "cosine", "same top", "KL"):
        table.add_column(header, justify="left" if header in ("start", "output") else "right", overflow="fold")
    for candidate in about["candidates"]:
        best = candidate["name"] == about["best"]
        name = f"[bold]{escape(candidate['name'])}[/]" if best else escape(candidate["name"])
        if candidate["failed"]:
            table.add_row(name, f"[yellow]{escape(candidate['failed'])}[/]")
        for output, found in candidate["outputs"].items():
            top = "" if found["top"] is None else f"{100 * found['top']:.0f} %"
            apart = "" if found["divergence"] is None else f"{found['divergence']:.3f}"
            table.add_row(name, escape(output), f"{found['error']:.3f}", f"{found['cosine']:.3f}", top, apart)
            name = ""
    print_table(table, drop=("KL", "cosine"))
    fitted, decoded, kept = (
        [layer for layer in about["layers"] if layer["level"] == level] for level in ("fitted", "decoded", "kept")
    )
    if about["layers"]:
        console.print(f"{len(fitted)} layers and norms fitted, {len(kept)} left as they were")
    if decoded:
        nodes = ", ".join(dict.fromkeys(layer["node"] for layer in decoded))
        console.print(f"  fitted by what they read alone: {escape(nodes)}")
    few = [layer for layer in fitted if layer["rows"] < 10 * layer["columns"]]
    if few:
        least = min(few, key=lambda layer: layer["rows"] / layer["columns"])
        console.print(
            f"[yellow]warning[/] {len(few)} of {len(fitted)} layers have fewer rows than ten for each of their "
            f"inputs; the fewest has {escape(least['node'])}: {least['rows']} rows for {least['columns']} inputs"
        )
    for why, layers in _reasons(kept):
        more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
        console.print(f"  {escape(layers[0])}{more}: {escape(why)}")


def _reasons(kept: list[dict[str, Any]]) -> list[tuple[str, list[str]]]:
    """Layers that were left as they were, by why."""
    found: dict[str, list[str]] = {}
    for layer in kept:
        found.setdefault(layer["why"], []).append(layer["node"])
    return list(found.items())
