"""`synspect release`: a run becomes a bundle and a registered version."""

import json
from pathlib import Path
from typing import Annotated

import typer

from registry.store.facts import DEFAULT_NAME
from synspect.commands.validate import stage_progress
from synspect.gate_table import print_gates
from synspect.screen import open_screen


def release(
    run: Annotated[str, typer.Argument(help="A run's name or path.")],
    test: Annotated[Path, typer.Option(help="Cohort of patients the run never saw.")],
    name: Annotated[str, typer.Option(help="Name of the registered model.")] = DEFAULT_NAME,
    profile_slices: Annotated[
        int, typer.Option(min=256, help="Slices per condition of the model's own output, for the drift check.")
    ] = 20_000,
    out: Annotated[
        Path | None, typer.Option(help="Write the bundle to this new directory, and register nothing.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; one a core by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Export, validate, profile and bundle a run's best checkpoint, and register it with the alias candidate.

    Failed gates do not stop a release; `synspect registry promote` asks them. Ctrl-C leaves nothing behind, and the
    command can be repeated.

    Example: synspect release brain64-seed0 --test cohorts/test
    """
    from registry.store.model_store import ModelStore
    from training.release.release import ReleaseNumbers, choose_destination
    from training.release.release import release as release_run
    from training.run import resolve_run
    from training.validation.simulators import compare_simulators

    found = resolve_run(run)
    store = ModelStore(name=name) if out is None else None
    with stage_progress() as on_progress:
        released = release_run(
            found,
            test,
            destination=out or choose_destination(found),
            name=name,
            numbers=ReleaseNumbers(profile=profile_slices),
            store=store,
            workers=workers,
            on_progress=on_progress,
        )
    bundle = released.bundle
    if as_json:
        answer = {"bundle": str(bundle.path), "sha256": bundle.sha256, "version": released.version, "name": name}
        typer.echo(json.dumps({**answer, "gates": released.gates.to_dict()}))
        return
    print_gates(released.gates, about=f"against a {bundle.panel.cohort_source if bundle.panel else 'test'} cohort")
    console = open_screen(soft_wrap=True)
    simulators = compare_simulators(bundle.manifest, bundle.panel) if bundle.panel else None
    if simulators:
        console.print(simulators)
    if released.version is None:
        console.print(f"{bundle.path}: bundle {bundle.sha256[:12]}, not registered")
    else:
        console.print(f"{bundle.path}: registered as {name} version {released.version}, alias candidate; next:")
        console.print(f"  synspect registry promote {released.version}")
