"""The one exception of the package: a refusal says where, what it met, what it wanted and what to do."""

from __future__ import annotations

__all__ = ["FrontError"]


class FrontError(Exception):
    """A request that cannot be carried out, told in one line.

    Args:
        message: what went wrong, in one sentence without a full stop.
        node: the graph node in the way, by name.
        dim: the named dim in the way.
        got: what was found or asked for.
        wanted: what would have been right.
        hint: what the user can do about it (nearest possible sizes, an option to add).
        request: True if the request was wrong (exit code 2), False if the work failed (exit code 1).
    """

    def __init__(
        self,
        message: str,
        *,
        node: str | None = None,
        dim: str | None = None,
        got: object = None,
        wanted: object = None,
        hint: str | None = None,
        request: bool = False,
    ) -> None:
        self._given = {"message": message, "node": node, "dim": dim, "got": got, "wanted": wanted, "request": request}
        self.message, self.node, self.dim = message, node, dim
        self.got, self.wanted, self.hint = got, wanted, hint
        self.exit_code = 2 if request else 1
        details = [("node", node), ("dim", dim), ("got", got), ("wanted", wanted)]
        shown = ", ".join(f"{name} {value}" for name, value in details if value is not None)
        line = message + (f" ({shown})" if shown else "") + (f"; {hint}" if hint else "")
        super().__init__(" ".join(line.split()))

    def with_hint(self, hint: str | None) -> FrontError:
        """The same refusal with advice."""
        return FrontError(**self._given, hint=hint)  # type: ignore[arg-type]
