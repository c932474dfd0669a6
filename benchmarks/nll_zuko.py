"""zuko's NSF coupling on one table, same split, layout, steps and schedule: prints its test NLL as
JSON.

Run by nll.py in an environment of its own. AdamW, warm-up and cosine, clipping at 5, best
validation weights: what diffeo.fit does, but for the EMA, which zuko's users do not get (with --ema
it is given one).
"""

from __future__ import annotations

import copy
import json
import math
import sys

import torch
import zuko
from tables import LAYOUT, split


def main() -> None:
    name, seed, ema = sys.argv[1], int(sys.argv[2]), "--ema" in sys.argv
    torch.manual_seed(seed)
    train, valid, test = (torch.tensor(rows) for rows in split(name, seed))
    mean, sd = train.mean(0), train.std(0, correction=0)
    sd[sd == 0] = 1
    train, valid, test = (((rows - mean) / sd).float() for rows in (train, valid, test))
    plan = LAYOUT[name]
    size = train.shape[1]
    flow = zuko.flows.NSF(
        size,
        transforms=plan["layers"],
        bins=8,
        passes=2,
        randperm=True,
        hidden_features=[plan["hidden"]] * 2,
    )
    average = copy.deepcopy(flow)
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-3, weight_decay=1e-4)
    best, kept = math.inf, None
    for step in range(plan["steps"]):
        progress = step / plan["steps"]
        rate = min(1, (step + 1) / (plan["steps"] // 10)) * (
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        )
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * rate
        rows = train[torch.randint(len(train), (min(plan["batch"], len(train)),))]
        loss = -flow().log_prob(rows).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimizer.step()
        decay = min(0.998, (1 + step) / (10 + step)) if ema else 0.0
        with torch.no_grad():
            for mine, live in zip(average.parameters(), flow.parameters(), strict=True):
                mine.lerp_(live, 1 - decay)
        if (step + 1) % max(1, plan["steps"] // 100) == 0:
            with torch.no_grad():
                value = -average().log_prob(valid).mean().item()
            if value < best:
                best, kept = value, copy.deepcopy(average)
    with torch.no_grad():
        losses = (-kept().log_prob(test)).double() + sd.log().sum()
    print(
        json.dumps({"nll": losses.mean().item(), "se": (losses.std() / len(losses) ** 0.5).item()})
    )


if __name__ == "__main__":
    main()
