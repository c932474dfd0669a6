"""A run on a table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..checkup import Density, density
from ..data import Table, read_table
from ..domains import TABLE, Recommendation, TableDomain
from .jobs import build_model, run_line
from .table_verbs import tensors

if TYPE_CHECKING:
    from ..flow import Flow
    from ..training import FitResult
    from .config import RunConfig

__all__ = ["TableJob"]

BASELINES = {"gaussian": "full-covariance Gaussian", "kde": "kernel density estimate"}


@dataclass(frozen=True, kw_only=True)
class TableJob:
    """A `Job`: training rows, held-out rows if they come from a file of their own, and advice for
    their number.
    """

    table: Table
    held_out: Table | None
    advice: Recommendation
    config: RunConfig
    domain: ClassVar[TableDomain] = TABLE

    @classmethod
    def read(cls, data: Any, out: Path, config: RunConfig) -> TableJob:
        table = read_table(
            data,
            columns=config.columns,
            context=config.context,
            drop=config.drop,
            max_bad=config.max_bad,
            rejects=out / "rejects.csv",
            dialect=config.dialect,
        )
        held_out = None
        if config.valid is not None:
            held_out = read_table(
                config.valid, schema=table.schema, max_bad=config.max_bad, dialect=config.dialect
            )
        advice = TABLE.recommend(len(table), len(table.schema.columns), len(table.schema.context))
        return cls(table=table, held_out=held_out, advice=advice, config=config)

    def describe(self) -> list[str]:
        beside = self.held_out.account() if self.held_out is not None else []
        return [*self.table.describe(), *beside, *self.density.lines()]

    @cached_property
    def density(self) -> Density:
        """Whether the rows have one."""
        table = self.table
        return density(
            table.values, table.schema.supports, table.schema.names, context=table.context
        )

    def flow(self) -> Flow:
        advised = self.advice.model_args(self.config.model or self.domain.default_model)
        flow = build_model(self.domain, self.table, self.config, advised=advised)
        flow.card = flow.card.having(data=self.table.schema, source=self.table.source)
        return flow

    def training(self) -> dict[str, Any]:
        config, advice = self.config, self.advice
        return {
            "x": self.table,
            "valid": config.valid_share if self.held_out is None else self.held_out,
            "batch_size": config.batch_size or advice.batch_size,
            "lr": config.lr or advice.lr,
            "weight_decay": (
                config.weight_decay if config.weight_decay is not None else advice.weight_decay
            ),
        }

    def headline(self, summary: dict[str, Any]) -> list[str]:
        s = summary
        s["density"] = self.density.as_dict()
        start = s.get("start")
        said = [
            *(f"no density: {text}" for text in self.density.problems),
            *([start["reason"]] if start else []),
        ]
        return [*said, *self._figures(s)]

    def _figures(self, s: dict[str, Any]) -> list[str]:
        if s["nll"] is None:
            return [
                (
                    f"trained on {s['train_rows']:,} rows for {s['steps']:,} steps; no rows were"
                    " held out"
                ),
                f"model    {s['out']}",
            ]
        bound = " (an upper bound: integer columns are dequantised)" if s["bound"] else ""
        return [
            run_line(s),
            f"negative log-likelihood of {s['rows']:,} held-out rows, nats per row{bound}",
            f"  {s['model']:<26} {s['nll']:10.4f} ± {s['nll_se']:.4f}",
        ]

    def report(
        self, out: Path, flow: Flow, result: FitResult, *, summary: dict[str, Any]
    ) -> list[str]:
        from ..checkup import check as measure
        from ..report import REPORTS

        rows, contexts = tensors(self.held_out if self.held_out is not None else self.table)
        checkup = measure(flow, rows, contexts)
        path, headline = REPORTS[self.domain.name](
            out, flow, self.table, result=result, checkup=checkup, held_out=self.held_out, seed=0
        )
        beside: dict[str, Any] = {name: headline[name] for name in BASELINES if name in headline}
        summary |= {**beside, "report": str(path), "check": checkup.ok}
        lines = [
            f"  {BASELINES[name]:<26} {b['nll']:10.4f} ± {b['nll_se']:.4f}"
            for name, b in beside.items()
        ]
        return [*lines, checkup.verdict, f"report   {path}"]
