"""How a run was made, as the page shows it: on which machines, in how much time and memory, and the run in time."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.amounts import in_time
from accord.report import style
from accord.report.chapter import Chapter
from accord.report.draw_timeline import draw_timeline
from accord.report.drawn import on_page
from accord.report.making import Making
from accord.report.metric import plain
from accord.report.wording import count, number
from accord.study.run_folder import Run

KEY = "making"
_TEMPLATE = Path(__file__).parent / "templates" / "making.html"
_UNKNOWN = "–"


def chapters(run: Run) -> list[Chapter]:
    """One, where stages say by which machine they were made: those of earlier versions do not."""
    making = Making.of(run)
    if making.sessions.empty:
        return []
    return [Chapter(KEY, "How it was made", _TEMPLATE, making_shown(making), gist=_how(making))]


def making_shown(making: Making) -> dict[str, Any]:
    """All that `making.html` shows. Hosts are named in the list of machines alone: tables and figures, which go into
    papers, have the machines' numbers.
    """
    with style.house_style():
        pictures = on_page([draw_timeline(making)], KEY)
    rows = [_row(name, manifest, making) for name, manifest in making.stages.items()]
    return {
        "how": _how(making),
        "machines": list(_machines(making).items()),
        "figures": pictures,
        "rows": rows,
        "workers": any(row["worker"] for row in rows),
        "unknown": sum(not manifest.get("spans") for manifest in making.stages.values()),
    }


def _how(making: Making) -> str:
    took = sum(float(manifest.get("seconds", 0.0)) for manifest in making.stages.values())
    workers = f", by {count(making.workers, 'worker')}" if making.workers > 1 else ""
    machines = f" on {count(len(making.machines), 'machine')}" if len(making.machines) > 1 else ""
    return f"{count(len(making.stages), 'stage')}, {in_time(took)} of work{workers}{machines}."


def _machines(making: Making) -> dict[str, str]:
    """What each machine is called -> its name, and the cards and processors that stages were made on there."""
    found: dict[str, list[str]] = {}
    for host, i in making.machines.items():
        found[f"machine {i}"] = [plain(host)]
    for manifest in making.stages.values():
        machine = manifest.get("machine") or {}
        called = f"machine {making.machines.get(machine.get('host', ''), 0)}"
        if called in found and (card := _card(machine)) not in found[called]:
            found[called].append(card)
    return {called: ", ".join(words) for called, words in found.items()}


def _card(machine: Mapping[str, Any]) -> str:
    return plain(str(machine.get("card", ""))) or _UNKNOWN


def _row(name: str, manifest: Mapping[str, Any], making: Making) -> dict[str, Any]:
    machine = manifest.get("machine") or {}
    sessions = len(manifest.get("spans", []))
    peak = machine.get("peak_memory")
    return {
        "stage": plain(name),
        "machine": making.machines.get(machine.get("host", ""), _UNKNOWN),
        "worker": plain(machine.get("worker", "")),
        "card": _card(machine),
        "threads": machine.get("threads") or _UNKNOWN,
        "seconds": f"{float(manifest.get('seconds', 0.0)):,.1f}",
        "memory": _UNKNOWN if peak is None else number(peak / 1e9, bare=False),
        "note": f"in {sessions} sessions" if sessions > 1 else "",
    }
