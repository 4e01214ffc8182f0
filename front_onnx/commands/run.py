"""How every command ends: one clear line and an exit code, never a traceback."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
from typing import Any, NoReturn

import click

from front_onnx.commands.help import Context, write_codes, write_commands, write_help
from front_onnx.commands.output import any_encoding, complain, console
from front_onnx.commands.signals import Ended, raising_signals
from front_onnx.errors import FrontError

__all__ = ["COLLECTIONS", "CommandGroup"]

# A large graph is millions of objects in hardly any cycles: looking for those often takes a fifth of the time.
COLLECTIONS = (100_000, 20, 20)
_JSON = "--json"
_arguments: list[str] = []  # of the command that runs


class CommandGroup(click.Group):
    """Turns errors into one line on stderr: exit code 2 for wrong requests, 1 for failures."""

    context_class = Context

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what it is, and examples."""
        write_help(self.help or "", formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what exit codes mean."""
        write_codes(formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what each command does, whole."""
        write_commands([(name, self.commands[name]) for name in self.list_commands(ctx)], formatter)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run a command."""
        standalone = kwargs.get("standalone_mode", True)
        kwargs["standalone_mode"] = False
        gc.set_threshold(*COLLECTIONS)
        _arguments[:] = kwargs.get("args") or (args[0] if args and args[0] is not None else sys.argv[1:])
        any_encoding()
        console.quiet = False
        try:
            with raising_signals():
                code = super().main(*args, **kwargs)
        except click.ClickException as error:
            if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
                error.show()  # the help is what was asked for
                sys.exit(error.exit_code)
            _end(_usage(error), error.exit_code, error)
        except click.Abort as error:
            _end(_interrupted(error.__cause__ or error.__context__), 130)
        except FrontError as error:
            _end(error.typed_line, error.exit_code, error)
        except KeyboardInterrupt as error:
            _end(_interrupted(error), 130)
        except Ended as ended:
            complain(f"ended by {ended.name}")
            raise
        except BrokenPipeError:
            os._exit(1)
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            _end(f"{error.strerror or error}{where}", 1, error)
        except MemoryError:
            _end("out of memory", 1)
        except Exception as error:
            if os.environ.get("FRONT_ONNX_DEBUG"):
                raise
            line = " ".join(str(error).split())[:300]
            _end(f"{type(error).__name__}: {line}; this is a bug, FRONT_ONNX_DEBUG=1 shows where", 1, error)
        if standalone:
            sys.exit(code or 0)
        return code


def _interrupted(error: BaseException | None) -> str:
    """What was interrupted has perhaps something to say."""
    return f"interrupted: {error}" if isinstance(error, KeyboardInterrupt) and str(error) else "interrupted"


def _usage(error: click.ClickException) -> str:
    """What click found wrong, in one line, with the command whose help tells more."""
    message = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    return f"{message}; see {context.command_path} --help" if context is not None else message


def _end(message: str, code: int, error: BaseException | None = None) -> NoReturn:
    """End with one line on stderr; a script that asked for JSON gets some on stdout."""
    if _JSON in _arguments:
        about = {"error": message, "kind": type(error).__name__ if error is not None else None, "exit_code": code}
        details = {"node": "node", "dim": "dim", "hint": "typed_hint"}
        about |= {name: value for name, key in details.items() if (value := getattr(error, key, None)) is not None}
        with contextlib.suppress(OSError):
            click.echo(json.dumps(about, indent=2))
    complain(message)
    sys.exit(code)
