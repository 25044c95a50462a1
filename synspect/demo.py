"""The whole thing on embedded defaults: registry, promotion, follower, service, one batch per condition, drift."""

import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from registry.bundle.promotion_note import PromotionNote
from registry.follow import follow_once
from registry.seeding import seed_registry
from registry.store.facts import CHAMPION
from registry.store.model_store import ModelStore
from spect.atomic import write_atomically
from spect.conditions import CONDITIONS, Condition
from spect.density import LOG_LEFT_RIGHT_RATIO, MEAN_COUNTS
from spect.errors import ServiceError
from spect.formats import npz
from spect.formats.png import labelled_rows_png
from spect.home import home_directory
from spect.slices import SyntheticBatch
from synspect.client import Client
from synspect.lifeline import describe_end
from synspect.screen import open_screen
from synspect.server_process import ServerOptions, ServerProcess, find_free_port, start_server
from synspect.source import find_reference_bundle

# The first model of a registry has nothing to be compared with; the reason is shown wherever its version is.
OVERRIDE_REASON = "first reference model"
_SHOWN_PER_CONDITION = 10
_DRIFT_WAIT_SECONDS = 60.0
_POLL_SECONDS = 0.25
_SMALLEST_WINDOW = 32
_INTERRUPTED = 130  # what a shell says of a command that Ctrl-C ended
_VERDICT_STYLES = {"ok": "green", "drift": "bold red"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What a user may choose of the demo."""

    out: Path
    count: int
    seed: int
    port: int
    stay: bool  # serve until Ctrl-C


@dataclass(frozen=True, slots=True, kw_only=True)
class ConditionResult:
    """One condition: its slices, and mean counts and left/right ratio of each as the service measured them."""

    batch: SyntheticBatch
    mean_counts: np.ndarray
    log_left_right_ratio: np.ndarray


def run_demo(options: DemoOptions) -> None:
    """Run the demo, writing contact-sheet.png and batch.npz into `options.out`.

    Raises `ServiceError` where the service ends by itself, and exits with 130 where Ctrl-C came before the end.
    """
    console = open_screen()
    is_complete = False
    with _stop_on_signals() as stop:
        served = home_directory() / "demo-served"
        note = _put_champion_in_place(served, console)
        options.out.mkdir(parents=True, exist_ok=True)
        log_path = options.out / "server.log"
        server_options = ServerOptions(
            bundle_dir=served, port=find_free_port(preferred=options.port), environment=_drift_of_every_slice(options)
        )
        if server_options.port != options.port:
            console.print(f"Port {options.port} is in use; another is taken")
        console.print(f"Starting the service on {server_options.url} (its log: {log_path})")
        with (
            start_server(server_options, log_path=log_path, tell=lambda what: _tell_slow(console, what)) as server,
            Client(url=server.url) as client,
        ):
            _fetch_and_judge(client, options, note, console)
            is_complete = True
            if options.stay:
                _stay(server, stop, log_path, console)
    if not is_complete:
        console.print("The demo was stopped before it was complete; run this again whenever you like.")
        raise SystemExit(_INTERRUPTED)
    console.print("The service has stopped; run this again whenever you like.")


def _stay(server: ServerProcess, stop: threading.Event, log_path: Path, console: Console) -> None:
    """Wait until somebody stops the demo; raise `ServiceError` where the service ends by itself."""
    where = Text.assemble(
        "\nServing on ", (server.url, "bold"), " (page /, API /docs, metrics /metrics). Ctrl-C stops."
    )
    console.print(where)
    while not stop.is_set():
        if (code := server.poll()) is not None:
            raise ServiceError(f"the service ended by itself ({describe_end(code)}); {log_path} says why")
        stop.wait(_POLL_SECONDS)


def _tell_slow(console: Console, what: str) -> None:
    console.print(f"The service is only slow, {what}; the machine is busy, and the demo goes on by itself")


def _put_champion_in_place(served: Path, console: Console) -> PromotionNote:
    store = ModelStore()
    console.print("Preparing the local registry and its champion")
    seeded = seed_registry(store, find_reference_bundle(), override=OVERRIDE_REASON)
    follow_once(store, CHAMPION, served)
    return seeded.champion


def _drift_of_every_slice(options: DemoOptions) -> dict[str, str]:
    """Return settings that judge one batch: every slice is measured, in the largest window it fills."""
    window = 2 ** int(math.log2(max(options.count, _SMALLEST_WINDOW)))
    return {
        "SYNSPECT_DRIFT_SAMPLE_EVERY": "1",
        "SYNSPECT_DRIFT_WINDOW_SLICES": str(min(window, 2048)),
        "SYNSPECT_DRIFT_CPU_SHARE": "1",
    }


def _fetch_and_judge(client: Client, options: DemoOptions, note: PromotionNote, console: Console) -> None:
    model = client.model()
    results = {
        condition: _fetch(client, condition, options)
        for condition in track(CONDITIONS, description="Fetching slices", console=console, transient=True)
    }
    drift = _wait_for_windows(client)
    batch_path, sheet_path = options.out / "batch.npz", options.out / "contact-sheet.png"
    npz.save_batch(SyntheticBatch.concatenate([result.batch for result in results.values()]), batch_path)
    write_atomically(sheet_path, _draw_sheet(results, note))
    console.print(_describe_model(model, note))
    console.print(_tabulate(results, drift))
    console.print(f"Wrote {sheet_path} and {batch_path} ({options.count * len(results)} slices, seed {options.seed}).")


def _fetch(client: Client, condition: Condition, options: DemoOptions) -> ConditionResult:
    batch = client.generate(condition.level, condition.pattern, count=options.count, seed=options.seed)
    measured = client.quantify(batch.counts, pixel_spacing_mm=batch.pixel_spacing_mm)
    return ConditionResult(
        batch=batch,
        mean_counts=np.array([slice_["mean_counts"] for slice_ in measured]),
        log_left_right_ratio=np.log([slice_["left_right_ratio"] for slice_ in measured]),
    )


def _wait_for_windows(client: Client) -> dict[str, Any]:
    """Return the drift report once every condition has a window, or as it stands when patience ends."""
    deadline = time.monotonic() + _DRIFT_WAIT_SECONDS
    while True:
        report = client.drift()
        waiting = [entry for entry in report["conditions"] if entry["window"] is None]
        if not waiting or time.monotonic() > deadline:
            return report
        time.sleep(_POLL_SECONDS)


def _draw_sheet(results: Mapping[Condition, ConditionResult], note: PromotionNote) -> bytes:
    rows = {str(condition): result.batch.counts[:_SHOWN_PER_CONDITION] for condition, result in results.items()}
    batch = next(iter(results.values())).batch
    title = f"synspect model version {note.version}"
    return labelled_rows_png(rows, title=title, pixel_spacing_mm=batch.pixel_spacing_mm, unit=batch.intensity_unit)


def _describe_model(model: Mapping[str, Any], note: PromotionNote) -> Text:
    text = Text.assemble("Model version ", (note.version, "bold"), f" on {model['provider']}, ")
    text.append(f"reference scans {model['reference_source']}. Promoted by {note.promotion}")
    text.append(f': "{note.reason}".' if note.reason else ".", style="yellow" if note.promotion == "override" else "")
    return text


def _tabulate(results: Mapping[Condition, ConditionResult], drift: Mapping[str, Any]) -> Table:
    """Put synthetic and reference values one above the other: the table fits 80 columns."""
    title = f"Served slices, above, against the {drift['reference_source']} reference scans, below (mean ± SD)"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for heading in ("condition", "slices", "mean counts", "ratio", "log left/right", "drift: shift, distance"):
        table.add_column(heading, justify="left" if heading[0] in "cd" else "right", overflow="fold")
    by_name = {f"{entry['level']}/{entry['pattern']}": entry for entry in drift["conditions"]}
    for condition, result in results.items():
        entry = by_name[str(condition)]
        reference = entry["reference"]["features"]
        is_described = MEAN_COUNTS in reference
        mean_counts = f"{result.mean_counts.mean():.1f} ± {result.mean_counts.std(ddof=1):.1f}"
        log_ratio = f"{result.log_left_right_ratio.mean():+.3f} ± {result.log_left_right_ratio.std(ddof=1):.3f}"
        table.add_row(
            str(condition),
            f"{len(result.batch)}\n{entry['reference']['slices']}",
            f"{mean_counts}\n{_describe_reference(reference, MEAN_COUNTS, '.1f')}",
            f"{result.mean_counts.mean() / reference[MEAN_COUNTS]['mean']:.3f}" if is_described else "",
            f"{log_ratio}\n{_describe_reference(reference, LOG_LEFT_RIGHT_RATIO, '.3f', sign='+')}",
            Text("\n").join([_verdict(entry, "shift"), _verdict(entry, "distance")]),
        )
    return table


def _describe_reference(features: Mapping[str, Any], feature: str, form: str, *, sign: str = "") -> str:
    """Return mean and SD of the reference scans; a profile describes no condition of very few patients."""
    if feature not in features:
        return "not described"
    return f"{features[feature]['mean']:{sign}{form}} ± {features[feature]['sd']:{form}}"


def _verdict(entry: Mapping[str, Any], test: str) -> Text:
    """Return the worst verdict of one test, with the features behind a drift."""
    if entry["window"] is None:
        return Text("not enough data")
    judgements = [judgement for judgement in entry["window"]["judgements"] if judgement["test"] == test]
    drifting = [judgement["feature"] for judgement in judgements if judgement["verdict"] == "drift"]
    if drifting:
        return Text(f"drift: {', '.join(drifting)}", style=_VERDICT_STYLES["drift"])
    verdicts = sorted({judgement["verdict"].replace("_", " ") for judgement in judgements} - {"ok"})
    return Text(", ".join(verdicts) or "ok", style=_VERDICT_STYLES["ok"] if not verdicts else "")


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event set by SIGTERM; Ctrl-C sets it while the service is up and interrupts everything before."""
    stop = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    except KeyboardInterrupt:
        stop.set()
    finally:
        signal.signal(signal.SIGTERM, before)
