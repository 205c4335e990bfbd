"""`int8gate quantize-checkpoint DIR`: a language model too large for memory, to quantized ONNX."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from int8gate.cli.case_options import INTERRUPTED

if TYPE_CHECKING:
    from int8gate.quantizers.out_of_core.data_writer import Progress

app = typer.Typer(help=__doc__)


@app.command("quantize-checkpoint")
def quantize_checkpoint(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="config.json and *.safetensors, as on the Hub")
    ],
    output: Annotated[Path, typer.Option(help="the directory that the ONNX model goes to")],
    recipe: Annotated[
        str, typer.Option(help="onnx_weight_int4 or onnx_weight_int8")
    ] = "onnx_weight_int4",
    length: Annotated[
        int | None, typer.Option(help="fix the input to (1, LENGTH) tokens; else both are free")
    ] = None,
) -> None:
    """Quantize the weights of a LLaMA or Mistral checkpoint to ONNX, tensor by tensor.

    Memory holds a few megabytes of weights at a time. Killed or stopped with Ctrl-C, the same
    command goes on where it was; the result is the same, byte for byte. Exit code 0, 2 for what
    cannot be done, 130 after Ctrl-C.
    """
    from int8gate.quantizers.out_of_core.quantized_checkpoint import quantize_checkpoint as quantize
    from int8gate.quantizers.recipe import recipe as recipe_of

    try:
        with _shown_progress() as progress:
            made = quantize(directory, recipe_of(recipe), output, length, progress)
    except KeyboardInterrupt:
        typer.echo("stopped: the same command goes on from here", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except (ValueError, OSError, RuntimeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from error
    resumed = ", resumed" if made.is_resumed else ""
    typer.echo(
        f"{made.directory}: {made.stored_bytes / 1e6:,.1f} MB of {made.source_bytes / 1e6:,.1f} MB"
        f"{resumed}"
    )


@contextmanager
def _shown_progress() -> Iterator[Callable[[Progress], None]]:
    """A bar with bytes and time left; nothing where standard error is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Bar(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("preparing", total=None)

        def show(progress: Progress) -> None:
            bar.update(
                task,
                description=progress.tensor,
                completed=progress.done,
                total=progress.total,
            )

        yield show
