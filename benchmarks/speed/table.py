"""The results as Markdown: times, ratios round by round, aims, and what the checks said of every
contender.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from typing import Any

from .checks import problems, wanted
from .rows import ROWS, TORCH_PEERS, Aim, Row

__all__ = ["markdown", "ratio"]

Point = dict[str, Any]


def markdown(record: dict[str, Any]) -> str:
    """The page."""
    lines = ["# Speed", "", *machine(record), ""]
    for found in record["rows"]:
        row = ROWS[found["name"]]
        lines += [f"## {row.title}", ""]
        lines += swept(row, found["points"]) if row.vary else single(row, found["points"][0])
        lines += ["", *checks(row, found["points"]), ""]
    return "\n".join(lines)


def machine(record: dict[str, Any]) -> Iterator[str]:
    m, a = record["machine"], record["arguments"]
    yield (
        f"{m['cpu']}, {m['cores']} cores, {a['threads']} threads; Python {m['python']}, torch"
        f" {m['torch']}; {m['date']}."
    )
    yield (
        "Milliseconds per call: median (min-max) of rounds in which the contenders take turns. A"
        " ratio is the median over the"
    )
    yield (
        "rounds of a contender's time divided by diffeo's in the same round: above 1, diffeo is"
        " faster."
    )


def single(row: Row, point: Point) -> Iterator[str]:
    """A table with a line a contender."""
    jobs = [job for job in row.jobs if job != "peak"]
    yield "| | " + " | ".join(f"{job}, ms | ratio" for job in jobs) + " | parameters | peak MiB |"
    yield "|---" * (2 * len(jobs) + 3) + "|"
    for name in row.contenders:
        facts = point["contenders"][name]
        cells = [
            cell for job in jobs for cell in (spread(facts, job), times(ratio(point, name, job)))
        ]
        count = f"{facts['parameters']:,}" if "parameters" in facts else ""
        yield "| " + " | ".join([name, *cells, count, size(facts)]) + " |"
    if row.aims:
        yield from ("", "Aims: " + "; ".join(aimed(aim, point) for aim in row.aims) + ".")


def swept(row: Row, points: list[Point]) -> Iterator[str]:
    """A table with a line a value."""
    memory = row.jobs == ("peak",)
    yield (
        f"| {row.label} | "
        + " | ".join(f"{n}{', MiB' if memory else ', ms'} | ratio" for n in row.contenders)
        + " |"
    )
    yield "|---" * (2 * len(row.contenders) + 1) + "|"
    for point in points:
        cells = []
        for name in row.contenders:
            facts = point["contenders"][name]
            cells += [
                size(facts) if memory else spread(facts, "step"),
                times(ratio(point, name, row.jobs[0])),
            ]
        yield "| " + " | ".join([f"{point['value']:,}", *cells]) + " |"
    if memory:
        yield from ("", "Of a process before it trains: " + idle(row, points[0]) + " MiB.")


def idle(row: Row, point: Point) -> str:
    found = ((name, point["contenders"][name].get("idle_peak")) for name in row.contenders)
    return ", ".join(f"{name} {value:.0f}" for name, value in found if value is not None)


def spread(facts: dict[str, Any], job: str) -> str:
    found = values(facts, job)
    if not found:
        return "left out" if "skipped" in facts else "FAILED"
    digits = 2 if statistics.median(found) < 10 else 1
    return (
        f"{statistics.median(found):.{digits}f} ({min(found):.{digits}f}-{max(found):.{digits}f})"
    )


def size(facts: dict[str, Any]) -> str:
    missing = "left out" if "skipped" in facts else "FAILED"
    return f"{facts['peak']:.0f}" if "peak" in facts else missing


def times(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def ratio(point: Point, name: str, job: str) -> float:
    """A contender's time (or peak memory) divided by diffeo's, median over the rounds; NaN where
    either is missing.
    """
    theirs, ours = (values(point["contenders"][who], job) for who in (name, "diffeo"))
    return (
        statistics.median(a / b for a, b in zip(theirs, ours, strict=False))
        if theirs and ours
        else math.nan
    )


def values(facts: dict[str, Any], job: str) -> list[float]:
    if job == "peak":
        return [facts["peak"]] if "peak" in facts else []
    found: list[float] = facts["times"].get(job, [])
    return found


def aimed(aim: Aim, point: Point) -> str:
    """An aim with what was reached."""
    pool = {"fastest": (*TORCH_PEERS, "flowjax"), "fastest torch": TORCH_PEERS}.get(
        aim.peer, (aim.peer,)
    )
    there = {name: ratio(point, name, aim.job) for name in pool if name in point["contenders"]}
    there = {name: value for name, value in there.items() if not math.isnan(value)}
    words = (
        f"{aim.job} {aim.times:g} x as fast as"
        f" {'the ' if aim.peer in ('fastest', 'fastest torch') else ''}{aim.peer}"
    )
    if aim.peer == "bare":
        words = f"{aim.job} at most {1 / aim.times:g} x the bare networks"
    if not there:
        return f"{words}: not measured"
    name = min(there, key=lambda n: there[n])
    reached = f"{1 / there[name]:.2f}" if aim.peer == "bare" else f"{there[name]:.2f}"
    return (
        f"{words}: **{reached}**{f' ({name})' if name != aim.peer else ''},"
        f" {'met' if there[name] >= aim.times else 'missed'}"
    )


def checks(row: Row, points: list[Point]) -> Iterator[str]:
    """A line a contender: the same computation, or what is different, or what is wrong."""
    for name in row.contenders:
        said = [(point, point["contenders"][name]) for point in points]
        version = next((facts["version"] for _, facts in said if "version" in facts), name)
        yield f"* {name} ({version}): " + "; ".join(verdict(row, said)) + "."


def verdict(row: Row, said: list[tuple[Point, dict[str, Any]]]) -> list[str]:
    """In words, each once; what is wrong hides what is right."""
    if skipped := {facts["skipped"]: None for _, facts in said if "skipped" in facts}:
        return [f"left out: {reason}" for reason in skipped]
    at = {id(point): f"at {point['value']:,}: " if row.vary else "" for point, _ in said}
    if wrong := [
        f"**{at[id(point)]}{text}**"
        for point, facts in said
        for text in problems(facts, point["settings"])
    ]:
        return wrong
    same = all(
        facts["parameters"] == (wanted(point["settings"]) or facts["parameters"])
        for point, facts in said
    )
    notes = {facts["note"]: None for _, facts in said if facts["note"]}
    return ["checks passed" if same else "checks passed but for the parameter count", *notes]
