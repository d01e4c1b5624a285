"""The command line: parses, calls one pipeline, turns what went wrong into an exit code.

Exit codes: 0 done, 1 failure, 2 the user's mistake, 130 interrupted. Nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from recbayes.console import Console
from recbayes.files import unwritable
from recbayes.pipelines import stages
from recbayes.types import UserError

Config = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of a shipped config (recbayes ls).", show_default=False)
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Dotted keys: train.epochs=3 posterior=map.", show_default=False)
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The run folder; it is made if need be.", show_default=False)]
MaybeOut = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="The run folder; left out: runs/CONFIG.", show_default=False)]
RunFolderArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Engine = Annotated[
    str | None,
    typer.Option("--engine", metavar="local|ray", help="Where chunks and posteriors run, with the same results.", show_default=False),
]
Address = Annotated[
    str | None,
    typer.Option("--address", metavar="HOST:PORT", help="With ray: the cluster's head; left out: this machine alone.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a machine-readable summary.")]

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


@app.callback()
def about() -> None:
    """From a click log to an uncertainty-aware click model, a policy chosen by replay, and an exported SavedModel.

    Start with: recbayes run quickstart
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # read when pyarrow is imported: its own holds 100 MB more


@app.command()
def run(config: Config, overrides: Overrides = None, out: MaybeOut = None, engine: Engine = None, address: Address = None,
        as_json: AsJson = False) -> None:  # fmt: skip
    """Every stage that the config asks for, skipping those whose inputs have not changed."""
    _stages(config, [*(overrides or []), *_where(engine, address)], out or Path("runs", Path(config).stem), "report", as_json)


def _stage_command(stage: str, what: str) -> None:
    def command(config: Config, out: Out, overrides: Overrides = None, engine: Engine = None, address: Address = None,
                as_json: AsJson = False) -> None:  # fmt: skip
        _stages(config, [*(overrides or []), *_where(engine, address)], out, stage, as_json)

    command.__doc__ = f"{what} Runs the stages it needs first."
    app.command(name=stage)(command)


for _stage, _what in stages().items():
    _stage_command(_stage, _what)


@app.command()
def predict(run_folder: RunFolderArgument, rows: Annotated[Path, typer.Argument(metavar="ROWS.parquet")],
            out: Annotated[Path, typer.Argument(metavar="OUT.parquet")], as_json: AsJson = False) -> None:  # fmt: skip
    """Mean and uncertainty of the click rate of each row, streamed."""
    _pipeline("predict", run_folder, rows, out, as_json=as_json)


@app.command()
def check(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder, or an export's.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Hold an export, of a run or by itself, against its record, its known answers and the trained model."""
    _pipeline("check", run_folder, as_json=as_json)


@app.command()
def monitor(run_folder: RunFolderArgument, log: Annotated[Path, typer.Argument(metavar="LOG.parquet")], as_json: AsJson = False) -> None:
    """Hold served decisions and what came of them against the model that made them."""
    _pipeline("monitor", run_folder, log, as_json=as_json)


@app.command()
def ls(as_json: AsJson = False) -> None:
    """The shipped configs."""
    from recbayes.configs import headline, shipped

    lines = {name: headline(name) for name in shipped()}
    Console(as_json=as_json).result(lines, "\n".join(f"{name:<14}{line}" for name, line in lines.items()))


@app.command()
def cp(name: Annotated[str, typer.Argument(metavar="NAME")], file: Annotated[Path, typer.Argument(metavar="FILE")]) -> None:
    """Copy a shipped config, to change it."""
    from recbayes.configs import source

    with _outcome(file):
        if file.exists():
            raise UserError(f"{file}: is there already. Give another name, or remove it first.")
        if not file.parent.is_dir():
            raise UserError(f"{file}: there is no folder {file.parent}. Make it first, or give another name.")
        file.write_text(source(name), encoding="utf-8")
    Console().say(f"{file}: change it, then: recbayes run {file}")


@app.command()
def validate(config: Config, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Every fault of a config at once."""
    from recbayes.config import load

    with _outcome():
        load(config, overrides or [])
        Console(as_json=as_json).result({"config": config, "valid": True}, f"{config}: no fault found")


def main() -> None:
    """Entry point of the `recbayes` command."""
    if sys.argv[1:] in (["ls"], ["ls", "--json"]):  # typed by reflex: not after building every command's parser, which takes longer
        try:
            ls(as_json="--json" in sys.argv)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        app()


def _where(engine: str | None, address: str | None) -> list[str]:
    """The engine's options as overrides of the config."""
    given = {"runtime.engine": engine, "runtime.address": address}
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _stages(config: str, overrides: list[str], out: Path, until: str, as_json: bool) -> None:
    """Runs stages of a config up to one."""
    console = Console(as_json=as_json)
    with _outcome(out):
        from recbayes.config import load
        from recbayes.pipelines.run import run_stages

        resolved = load(config, overrides)
        console.result(run_stages(resolved, out, until, console), f"{out}: done")


def _pipeline(name: str, folder: Path, *given: Any, as_json: bool) -> None:
    """Runs a pipeline on a finished run folder."""
    from importlib import import_module

    console = Console(as_json=as_json)
    with _outcome(given[-1] if given else folder):
        summary = import_module(f"recbayes.pipelines.{name}").run(folder, *given, console=console)
        console.result(summary, summary["says"])
    if not summary.get("ok", True):
        raise typer.Exit(1)


@contextmanager
def _outcome(place: Path | None = None) -> Iterator[None]:
    """Turns what went wrong in the block into a message and an exit code."""
    try:
        yield
    except UserError as mistake:
        _stop(2, f"error: {mistake}")
    except KeyboardInterrupt:
        _stop(130, "interrupted; the same command goes on from here")
    except Exception as failure:
        cause = unwritable(failure)
        if cause:
            mend = "Make room or get permission, or give another folder. What was there is as it was."
            _stop(2, f"error: {place or 'output'}: cannot write: {cause} ({failure}). {mend}")
        traceback.print_exc()
        _stop(1, "error: this is a failure of recbayes, not a mistake of yours")


def _stop(code: int, message: str) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(code)
