"""Backpropagation through links whose inputs are not stored but computed again by inverting;
`Recompute` is the layer.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...core.links import context_for
from ...core.numerics import gradients
from ...core.seeds import RandomState, exclusive, random_state, seeded, set_random_state
from ...core.transform import Transform
from ...kernels import planner

__all__ = ["Step", "go", "invert"]

Gradients = dict[Tensor, Tensor]  # of weights and of the context
# of the random number generators before a step that draws, by position
States = dict[int, RandomState]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A link in one of its directions, and its position in its chain."""

    index: int
    link: Transform
    inverse: bool
    draws: bool = False
    """May it draw from the global generators?"""

    def go(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """The direction taken."""
        run = self.link.inverse if self.inverse else self.link.__call__
        pair: tuple[Tensor, Tensor] = run(x, context_for(self.link, context))
        return pair

    def undo(self, y: Tensor, context: Tensor | None) -> Tensor:
        """The other direction: x again."""
        return Step(index=self.index, link=self.link, inverse=not self.inverse).go(y, context)[0]


def go(steps: Sequence[Step], x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """x through at least one step, the log-dets summed, recorded by autograd as usual."""
    total = None
    for step in steps:
        x, logdet = step.go(x, context)
        total = logdet if total is None else total + logdet
    assert total is not None
    return x, total


def invert(
    steps: Sequence[Step], x: Tensor, context: Tensor | None, *, kept: set[int], tolerance: float
) -> tuple[Tensor, Tensor]:
    """x through `steps`, of which only x, the output and the inputs of the links in `kept` are
    stored for backward.

    Backward goes from the last step to the first, finds the input of each by its inverse and runs
    it once more with gradients. The first step of every segment between two stored inputs is run on
    what was stored, so its output is known: if it and the one computed by inverting differ by more
    than `tolerance` (relative, the worst entry), the segment is run again with all its inputs
    stored, and the links that spoil them are added to `kept`. So each gradient is right, and from
    the next pass on such a link is one that is checkpointed.
    """
    weights = dict.fromkeys(p for step in steps for p in step.link.parameters() if p.requires_grad)
    out: tuple[Tensor, Tensor] = _Invert.apply(_Run(steps, kept, tolerance), x, context, *weights)  # type: ignore[no-untyped-call]
    return out


class _Invert(torch.autograd.Function):
    """Weights are arguments, so that autograd, and whoever hooks into it, knows them."""

    @staticmethod
    def forward(
        ctx: Any, run: _Run, x: Tensor, context: Tensor | None, *weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.run = run
        ctx.precision = _precision(x)
        ctx.stored_at = [i for i, step in enumerate(run.steps) if i == 0 or step.index in run.kept]
        alone = exclusive() if any(step.draws for step in run.steps) else contextlib.nullcontext()
        with torch.autocast(**ctx.precision), alone as ctx.turn:
            y, logdet, starts, ctx.states = run.go(x, context, ctx.stored_at)
        # Weights are stored so that one changed before backward is an error, as it always is.
        ctx.save_for_backward(context, y, *starts, *weights)
        return y, logdet

    @staticmethod
    def backward(ctx: Any, grad: Tensor, grad_logdet: Tensor) -> tuple[Any, ...]:
        context, y, *stored = ctx.saved_tensors
        starts, weights = stored[: len(ctx.stored_at)], stored[len(ctx.stored_at) :]
        with (
            torch.autocast(**ctx.precision),
            seeded(turn=ctx.turn) if ctx.states else contextlib.nullcontext(),
        ):
            if torch.is_grad_enabled():  # derivatives of the gradients are wanted
                # Under other names, for the context may be a function of x.
                x, context = (
                    starts[0].view_as(starts[0]),
                    None if context is None else context.view_as(context),
                )
                back = _Backward(
                    run=ctx.run, context=context, grad_logdet=grad_logdet, states=ctx.states
                )
                return None, *back.differentiable(x, grad, (x, context, *weights))
            # stored tensors remember where they came from
            y, starts = y.detach(), [x.detach() for x in starts]
            if context is not None:
                context = context.detach().requires_grad_(ctx.needs_input_grad[2])
            back = _Backward(
                run=ctx.run, context=context, grad_logdet=grad_logdet, states=ctx.states
            )
            sums: Gradients = {}
            ends = [*ctx.stored_at[1:], len(ctx.run.steps)]
            for start, stop, x in reversed(list(zip(ctx.stored_at, ends, starts, strict=True))):
                grad, more = back.segment(range(start, stop), x, y, grad=grad)
                _add(sums, more)
                y = x
        return (
            None,
            grad,
            None if context is None else sums.get(context),
            *(sums.get(w) for w in weights),
        )


@dataclass(frozen=True)
class _Run:
    steps: Sequence[Step]
    kept: set[int]
    tolerance: float

    def go(
        self, x: Tensor, context: Tensor | None, stored_at: Sequence[int]
    ) -> tuple[Tensor, Tensor, list[Tensor], States]:
        """The output, the summed log-det, the inputs at `stored_at`, and the states of the
        generators where a step draws.
        """
        starts: list[Tensor] = []
        states: States = {}
        total = None
        for i, step in enumerate(self.steps):
            if i in stored_at:
                starts.append(x)
            before = random_state() if step.draws else []
            x, logdet = step.go(x, context)
            total = logdet if total is None else total + logdet
            if any(not torch.equal(state, generator.get_state()) for generator, state in before):
                states[i] = before
        assert total is not None
        return x, total, starts, states


@dataclass(frozen=True, kw_only=True)
class _Backward:
    """One backward pass."""

    run: _Run
    context: Tensor | None
    grad_logdet: Tensor
    states: Mapping[int, RandomState]

    def segment(self, at: range, x: Tensor, y: Tensor, *, grad: Tensor) -> tuple[Tensor, Gradients]:
        """The gradients by x and by all else of the steps that lead from x to y, for the gradient
        by y.
        """
        sums: Gradients = {}
        here = y
        back = grad
        for i in reversed(at[1:]):
            here, back, more = self.retrace(i, here, back)
            _add(sums, more)
        known, back, more = self.vjp(at[0], x, back)
        if len(at) > 1 and not self.close(here, known):
            return self.stored(at, x, y, grad=grad)
        _add(sums, more)
        return back, sums

    def stored(self, at: range, x: Tensor, y: Tensor, *, grad: Tensor) -> tuple[Tensor, Gradients]:
        """The same with the input of every step stored, and those that inverting does not give
        noted.
        """
        inputs = [x]
        for i in at[:-1]:
            inputs.append(self.redo(i, inputs[-1])[0])
        sums: Gradients = {}
        for i, known in reversed(list(zip(at, inputs, strict=True))):
            _, grad, more = self.vjp(i, known, grad)
            _add(sums, more)
            if i > at[0]:
                y = self.undo(i, y)
                if not self.close(y, known):
                    self.run.kept.add(self.run.steps[i].index)
                    y = known
        return grad, sums

    def retrace(self, i: int, y: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Gradients]:
        """Step i, of which y came out: its input, and for the gradient by y those by the input and
        by all else.
        """
        step, others = self.run.steps[i], self.others(i)
        if not step.inverse:
            self.draw_again(i)
            shortcut = planner.retrace(
                step.link,
                y,
                context_for(step.link, self.context),
                (grad, self.grad_logdet),
                others,
            )
            if shortcut is not None:
                x, grad, rest = shortcut
                return x, grad, _by_tensor(others, rest)
        x = self.undo(i, y)
        return x, *self.vjp(i, x, grad)[1:]

    def vjp(self, i: int, x: Tensor, grad: Tensor) -> tuple[Tensor, Tensor, Gradients]:
        """Step i at x: its output, and for the gradient by that the gradients by x and by all
        else.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            y, logdet = self.redo(i, x)
        others = self.others(i)
        back, *rest = gradients([(y, grad), (logdet, self.grad_logdet)], [x, *others])
        return y.detach(), torch.zeros_like(x) if back is None else back, _by_tensor(others, rest)

    def others(self, i: int) -> list[Tensor]:
        """What step i depends on besides its input, and needs a gradient."""
        link = self.run.steps[i].link
        weights: list[Tensor] = [p for p in link.parameters() if p.requires_grad]
        reads = (
            self.context is not None
            and self.context.requires_grad
            and link.context_shape is not None
        )
        return [*weights, self.context] if reads and self.context is not None else weights

    def differentiable(
        self, x: Tensor, grad: Tensor, wanted: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """The gradients by x and others as functions that can be differentiated again, with all
        stored, as a chain would.
        """
        y, total = x, torch.zeros_like(self.grad_logdet)
        for i in range(len(self.run.steps)):
            y, logdet = self.redo(i, y)
            total = total + logdet
        by = [t for t in wanted if t is not None and t.requires_grad]
        sums = _by_tensor(
            by, gradients([(y, grad), (total, self.grad_logdet)], by, create_graph=True)
        )
        return [None if t is None else sums.get(t) for t in wanted]

    def redo(self, i: int, x: Tensor) -> tuple[Tensor, Tensor]:
        self.draw_again(i)
        return self.run.steps[i].go(x, self.context)

    def undo(self, i: int, y: Tensor) -> Tensor:
        self.draw_again(i)
        return self.run.steps[i].undo(y, self.context)

    def draw_again(self, i: int) -> None:
        """Dropout, forwards or back, draws what it drew before."""
        if i in self.states:
            set_random_state(self.states[i])

    def close(self, inverted: Tensor, known: Tensor) -> bool:
        """Is what inverting gave right? In half precision networks jump by its rounding, whatever
        finer is asked for.
        """
        device = known.device.type
        half = torch.is_autocast_enabled(device)
        limit = max(
            self.run.tolerance, torch.finfo(torch.get_autocast_dtype(device)).eps if half else 0.0
        )
        size = known.abs().nan_to_num(0.0, 0.0)
        gap = (inverted - known).abs() / torch.maximum(size, size.mean())
        right = (inverted == known) | known.isnan() | (gap <= limit)
        return bool(right.all())


def _precision(x: Tensor) -> dict[str, Any]:
    """The arguments of `torch.autocast` that bring back what holds now, without its cache: a weight
    that was cast where there are no gradients must not serve where there are."""
    device = x.device.type
    enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    return {"device_type": device, "enabled": enabled, "dtype": dtype, "cache_enabled": False}


def _by_tensor(of: Sequence[Tensor], grads: Sequence[Tensor | None]) -> Gradients:
    return {t: grad for t, grad in zip(of, grads, strict=True) if grad is not None}


def _add(total: Gradients, more: Gradients) -> None:
    for of, grad in more.items():
        total[of] = total[of] + grad if of in total else grad
