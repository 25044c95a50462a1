"""`synspect registry ...` and `synspect build`: what is released, what is champion, and where it goes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from registry.store.facts import DEFAULT_NAME, Alias
from spect.errors import GateError, VersionError
from synspect.gate_table import print_gates
from synspect.help_group import HelpGroup
from synspect.options import refuse_given
from synspect.screen import open_screen

if TYPE_CHECKING:
    from registry.bundle.promotion_note import PromotionNote
    from registry.store.model_store import ModelStore

app = typer.Typer(
    cls=HelpGroup, help="List released versions, promote one to champion, roll back, follow it.", no_args_is_help=True
)

Name = Annotated[str, typer.Option("--name", help="Registered model.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_versions(name: Name = DEFAULT_NAME, as_json: AsJson = False) -> None:
    """List every version with its aliases, its gates, and how it last became champion.

    Example: synspect registry list
    """
    from registry.promotion import read_history
    from registry.store.model_store import ModelStore
    from synspect.registry_tables import print_versions

    store = ModelStore(name=name)
    versions = store.versions()
    history = read_history(store)
    if as_json:
        champion = history.describe_champion()
        listed = []
        for v in versions:
            last = history.find_last(v.version)
            promoted = last.to_note().model_dump(exclude={"version"}) if last else None
            listed.append(
                {
                    **v.tags,
                    "version": v.version,
                    "aliases": v.aliases,
                    "created_at": v.created_at,
                    "last_promotion": promoted,
                }
            )
        typer.echo(json.dumps({"versions": listed, "champion": champion.model_dump() if champion else None}, indent=2))
    elif versions:
        print_versions(versions, history)
    else:
        open_screen().print(f"model {name} has no version yet: release a run first")


@app.command()
def show(version: str, name: Name = DEFAULT_NAME, as_json: AsJson = False) -> None:
    """Tell the whole story of a version (a number, candidate or champion): origin, gates, promotions, when it served.

    Example: synspect registry show champion
    """
    from registry.store.model_store import ModelStore
    from registry.story import tell_story
    from synspect.registry_tables import print_story

    store = ModelStore(name=name)
    story = tell_story(store, _resolve(store, version))
    if as_json:
        typer.echo(json.dumps(story.to_dict(), indent=2))
    else:
        print_story(story)
    if story.problem is not None:
        raise story.problem


@app.command()
def promote(
    version: str,
    override: Annotated[
        str | None, typer.Option("--override", metavar="REASON", help="Promote although gates fail; kept and shown.")
    ] = None,
    champion_panel: Annotated[
        Path | None,
        typer.Option(
            "--champion-panel",
            metavar="FILE",
            help="The champion's panel on this version's test cohort (what `synspect validate --json` prints), where "
            "the two were validated on different ones.",
        ),
    ] = None,
    name: Name = DEFAULT_NAME,
    as_json: AsJson = False,
) -> None:
    """Run the gates on a version (a number, candidate or champion) and make it champion if all pass.

    Example: synspect registry promote candidate
    """
    from registry.bundle.panel import load_printed_panel
    from registry.promotion import check_reason
    from registry.promotion import promote as promote_version
    from registry.store.model_store import ModelStore
    from registry.version_gates import judge_version

    panel = load_printed_panel(champion_panel) if champion_panel is not None else None
    override = check_reason(override) if override is not None else None
    store = ModelStore(name=name)
    version = _resolve(store, version)
    report = judge_version(store, version, champion_panel=panel)
    if not as_json:
        print_gates(report, about=f"of version {version}")
    try:
        note = promote_version(store, version, report=report, override=override)
    except GateError:
        if as_json:
            typer.echo(json.dumps({**report.to_dict(), "promotion": None}, indent=2))
        raise
    if as_json:
        typer.echo(json.dumps({**report.to_dict(), "promotion": note.model_dump()}, indent=2))
    else:
        how = _how(note)
        if override is not None and note.promotion == "gates":
            how += "; the override was not needed, and its reason is not kept"
        open_screen(soft_wrap=True).print(f"version {note.version} is champion {how}")


@app.command()
def rollback(name: Name = DEFAULT_NAME, as_json: AsJson = False) -> None:
    """Return to the champion before this one.

    Example: synspect registry rollback
    """
    from registry.promotion import rollback as roll_back
    from registry.store.model_store import ModelStore

    note = roll_back(ModelStore(name=name))
    if as_json:
        typer.echo(note.model_dump_json(indent=2))
    else:
        open_screen(soft_wrap=True).print(f"version {note.version} is champion again, {_how(note)}")


@app.command()
def follow(
    context: typer.Context,
    alias: Annotated[Alias, typer.Argument(help="Alias of the registry.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory a server serves (DIR/current).")],
    interval: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds between two looks.")] = 10.0,
    once: Annotated[bool, typer.Option("--once", help="Look once and stop.")] = False,
    name: Name = DEFAULT_NAME,
    metrics_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Answer GET /metrics on this port; nowhere if absent.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address that /metrics listens on.")] = "127.0.0.1",
) -> None:
    """Keep DIR/current at the version an alias points to, verified and switched atomically, until stopped.

    Example: synspect registry follow champion /var/lib/synspect
    """
    import logging

    from registry.follow import follow as follow_alias
    from registry.follow import follow_once, stopped_by_signals
    from registry.follow_metrics import FollowMetrics
    from registry.followed_directory import check_followable
    from registry.store.connection import check_address
    from registry.store.model_store import ModelStore
    from spect.home import tracking_uri

    if metrics_port is None:
        refuse_given(context, "metrics_host", reason="nothing listens without --metrics-port; give a port as well")
    check_followable(directory)
    check_address(tracking_uri())
    if once:
        refuse_given(
            context,
            "interval",
            "metrics_port",
            "metrics_host",
            reason="--once looks once and ends; leave out one of them",
        )
        followed = follow_once(ModelStore(name=name), alias.value, directory)
        typer.echo(f"{directory} serves version {followed.bundle.version}{'' if followed.changed else ', unchanged'}")
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    metrics = FollowMetrics()
    if metrics_port is not None:
        metrics.serve(metrics_host, metrics_port)
    with stopped_by_signals() as stop:
        follow_alias(
            lambda: ModelStore(name=name), alias.value, directory, stop=stop, interval_seconds=interval, metrics=metrics
        )


def build(
    context: typer.Context,
    name: Name = DEFAULT_NAME,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", metavar="DIR", help="Build from this bundle instead of the champion.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build a Bento that holds the champion's bundle and the service, without torch or MLflow.

    Example: synspect build && bentoml serve synspect:latest
    """
    from registry.bento import build_bento

    if bundle is not None:
        refuse_given(
            context, "name", reason="--bundle DIR is built, whatever the registry holds; leave out one of them"
        )
    built = build_bento(name=name, bundle_directory=bundle)
    if as_json:
        facts = {"tag": built.tag, "version": built.version, "sha256": built.sha256, "was_there": built.was_there}
        typer.echo(json.dumps(facts))
    else:
        before = " (it was built before)" if built.was_there else ""
        serve_it = f"serve it with: bentoml serve {built.tag}"
        open_screen(soft_wrap=True).print(f"{built.tag} holds version {built.version}{before}; {serve_it}")


def _how(note: "PromotionNote") -> str:
    if note.promotion == "gates":
        return "by its gates"
    return f"by override: {note.reason}" if note.promotion == "override" else f"outside the gates: {note.reason}"


def _resolve(store: "ModelStore", version: str) -> str:
    """Turn an alias into the version it points to; a number stays what it is."""
    from registry.store.facts import ALIASES

    if version not in ALIASES:
        return version
    resolved = store.alias_version(version)
    if resolved is None:
        raise VersionError(f"alias {version!r} of model {store.name} is not set; look at `synspect registry list`")
    return resolved
