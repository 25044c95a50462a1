"""`synspect demo`: see the whole thing work on this machine."""

from pathlib import Path
from typing import Annotated

import typer


def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop the service at the end; do not wait for Ctrl-C.")] = False,
    out: Annotated[Path, typer.Option(help="Directory for the contact sheet and the batch.")] = Path("demo"),
    count: Annotated[int, typer.Option(min=32, max=4096, help="Slices of each condition.")] = 64,
    seed: Annotated[int, typer.Option(min=0, max=2**53 - 1, help="Seed of the batch.")] = 7,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to try first; a free one if it is taken.")] = 3000,
) -> None:
    """Seed a local registry with the reference model, serve its champion, fetch and judge a batch of each condition.

    Safe to run again: a registry that has a champion keeps it.

    Example: synspect demo --once
    """
    from synspect.demo import DemoOptions, run_demo

    run_demo(DemoOptions(out=out, count=count, seed=seed, port=port, stay=not once))
