"""The choices behind a model: settings with reasons, columns, and the account of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from ...data import Table
from ...flow import Flow
from ...training import FitResult, recommend
from ..page.content import Code, Grid, Heading, Part, Pictured, Section, Words, number

__all__ = ["Advice", "checkup_part", "choices", "closing", "settings", "usage"]

MOST_COLUMNS = 60


@dataclass(frozen=True)
class Advice:
    """Settings that were recommended, and why: a reason for some, `usual` for the others."""

    values: dict[str, Any]
    reasons: dict[str, str] = field(default_factory=dict)
    usual: str = "as recommended for this size of table"


def choices(flow: Flow, table: Table, result: FitResult, *, held: int) -> list[tuple[str, Grid]]:
    """Titled tables: model, training, rows, columns."""
    schema = table.schema
    sizes = (result.rows.get("train", 0), len(table))  # `fit` and the command size things by either
    recommended = [recommend(max(1, n), len(schema.columns), len(schema.context)) for n in sizes]
    advice = [Advice(one.as_dict(), one.reasons) for one in recommended]
    return [
        *settings(flow, result, advice),
        ("Rows", _rows(table, result, held)),
        ("Columns", _columns(table)),
    ]


def settings(flow: Flow, result: FitResult, advice: Sequence[Advice]) -> list[tuple[str, Grid]]:
    """Titled tables of how the model was built and trained, with a reason beside what was
    recommended.
    """
    args = {
        k: v
        for k, v in flow.card.args.items()
        if k not in ("event_shape", "context_shape", "supports")
    }
    parameters = f"{sum(p.numel() for p in flow.parameters()):,}"
    model = {"model": flow.card.model or "built by hand", "parameters": parameters, **args}
    training = {
        "steps done": f"{result.steps:,} in {result.seconds:.0f} s",
        "stopped by": {
            "limit": "the limit of steps or time",
            "patience": "no more gain on validation rows",
        }.get(result.stopped, result.stopped),
        "weights kept": f"those of step {int(result.best.get('step', result.steps)):,}",
        **result.settings,
    }
    return [("Model", _settings(model, advice)), ("Training", _settings(training, advice))]


def closing(
    made: Sequence[tuple[str, Part]], checkup: Any, usage: tuple[str, str]
) -> list[Section]:
    """The last sections of every report: the choices made, the checkup, and lines of `usage` in
    shell and Python.
    """
    tables: list[Part] = [part for name, made_of in made for part in (Heading(name), made_of)]
    part = checkup_part(checkup) or Words(
        ["No checkup was run: the command diffeo check runs one."]
    )
    lines: list[Part] = [Heading("Shell"), Code(usage[0]), Heading("Python"), Code(usage[1])]
    return [
        Section("Choices made", tables),
        Section("Checkup", [part]),
        Section("How to use the model", lines),
    ]


def usage(folder: Path, conditional: bool, schema: bool) -> tuple[str, str]:
    """Shell commands and Python lines that use the model in this folder."""
    name = quote(str(folder))
    given = " --context contexts.csv" if conditional else ""
    known = ", schema=flow.card.data" if schema else ""
    shell = [
        f"diffeo evaluate {name} rows.csv              # held-out likelihood",
        f"diffeo score {name} rows.csv -o scores.csv   # one log-density a row",
        f"diffeo sample {name} -n 1000{given} -o samples.csv",
        f"diffeo check {name} rows.csv                 # does it invert, are its log-dets right",
    ]
    python = [
        "import diffeo, torch",
        f"flow = diffeo.load({str(folder)!r})",
        f"table = diffeo.read_table('rows.csv'{known})",
        "x = torch.from_numpy(table.values)",
    ]
    if conditional:
        python += [
            "c = torch.from_numpy(table.context)",
            "log_p = flow.log_prob(x, c)",
            "samples = flow.sample((), c)",
        ]
    else:
        python += ["log_p = flow.log_prob(x)", "samples = flow.sample((1000,))"]
    return "\n".join(shell), "\n".join(python)


def checkup_part(checkup: Any) -> Pictured | None:
    """A `Checkup`, or a dict of the same content, in words."""
    if checkup is None:
        return None
    if isinstance(checkup, dict):
        lines = [
            (str(k), _plain(v))
            for k, v in checkup.items()
            if k not in ("ok", "verdict", "layers", "problems")
        ]
        return Pictured(
            None, [str(checkup.get("verdict", ""))], grid=Grid(("measured", "result"), lines)
        )
    lines = [(str(label), str(value)) for label, value in checkup.lines()]
    return Pictured(None, [str(checkup.verdict)], grid=Grid(("measured", "result"), lines))


def _settings(values: dict[str, Any], advice: Sequence[Advice]) -> Grid:
    rows = [
        (name.replace("_", " "), _plain(value), _reason(name, value, advice))
        for name, value in values.items()
    ]
    rows = [row for row in rows if row[1]]
    if not any(why for _, _, why in rows):
        return Grid(("setting", "value"), [row[:2] for row in rows])
    return Grid(("setting", "value", "why"), rows)


def _reason(name: str, value: Any, advice: Sequence[Advice]) -> str:
    """Why a setting is as recommended, or what was recommended instead."""
    wanted = [_plain(one.values.get(name)) for one in advice]
    if not wanted[0] or name == "seed":
        return ""
    if _plain(value) in wanted:
        one = advice[wanted.index(_plain(value))]
        return one.reasons.get(name, one.usual)
    return f"chosen by hand; recommended: {wanted[0]}"


def _rows(table: Table, result: FitResult, held: int) -> Grid:
    i = table.intake
    schema = table.schema
    rows = [
        ("rows in the source", f"{i.total:,}"),
        ("kept", f"{i.kept:,}"),
        ("rejected: could not be read", f"{i.rejected:,}"),
        ("left out: an empty, NaN or infinite cell", f"{i.nonfinite:,}"),
        *[(f"… {reason}", f"{count:,}") for reason, count in list(i.reasons.items())[:10]],
        ("trained on", f"{result.rows.get('train', 0):,}"),
        ("held out", f"{held:,}"),
        ("seed of split, weights and batches", str(result.settings.get("seed", 0))),
    ]
    if i.rejects_file is not None and i.bad:
        rows.append(("bad rows are listed in", str(i.rejects_file)))
    if schema.dropped:
        rows.append(("columns dropped by choice", ", ".join(schema.dropped)))
    return Grid(("", "count"), rows)


def _columns(table: Table) -> Grid:
    schema = table.schema
    rows = [(c.name, c.support, "modelled") for c in schema.columns[:MOST_COLUMNS]]
    if len(schema.columns) > MOST_COLUMNS:
        rows.append((f"and {len(schema.columns) - MOST_COLUMNS:,} more", "", "modelled"))
    rows += [(c.name, c.support, "context: conditioned on") for c in schema.context[:MOST_COLUMNS]]
    aside = list(schema.set_aside.items())
    rows += [
        (name, "constant", f"set aside: always {value:g}") for name, value in aside[:MOST_COLUMNS]
    ]
    if len(aside) > MOST_COLUMNS:
        rows.append((f"and {len(aside) - MOST_COLUMNS:,} more", "constant", "set aside"))
    return Grid(("column", "kind", "use"), rows)


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else number(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return " × ".join(map(_plain, value)) if isinstance(value, (list, tuple)) else str(value)
