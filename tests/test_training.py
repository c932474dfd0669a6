"""The trainer: reproducible, resumable bit for bit, finite whatever comes, honest about what it
kept.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import diffeo
from diffeo.core.errors import CheckpointError, ConfigError, DataError, ShapeError, TrainingError
from diffeo.core.files import sha256
from diffeo.runs import stop_on_signals
from diffeo.training import Objective, Progress, TrainConfig, Trainer, recommend
from diffeo.training.sampler import ArrayBatches, StreamBatches
from diffeo.training.schedule import learning_rate


def rows(n: int = 300, d: int = 3, seed: int = 0) -> Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    x[:, 1:] += 0.5 * x[:, :1] ** 2
    return x * torch.tensor([1.0, 10.0, 0.1][:d]) + 3


def small(d: int = 3, **args: object) -> diffeo.Flow:
    return diffeo.models.nsf((d,), layers=2, hidden=(16,), bins=4, dropout=0.1, **args)


def weights(flow: diffeo.Flow) -> Tensor:
    return torch.cat([t.double().flatten() for t in flow.state_dict().values()])


def test_training_improves_on_the_start_and_keeps_the_best() -> None:
    result = diffeo.fit(small(), rows(1000), steps=300)
    values = [line["valid"] for line in result.history if "valid" in line]
    assert result.best["nll"] == min(values) < values[0] - 0.3
    kept = diffeo.training.evaluate(result.flow, rows(1000)[result.valid_index]).nll
    assert kept == pytest.approx(result.best["nll"], abs=1e-5)


def test_same_seed_same_weights_other_seed_others() -> None:
    one, two, three = (diffeo.fit(small(), rows(), steps=20, seed=s).flow for s in (1, 1, 2))
    assert torch.equal(weights(one), weights(two))
    assert not torch.equal(weights(one), weights(three))


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    diffeo.fit(small(), rows(), steps=5)
    assert torch.equal(torch.rand(3), expected)


def test_standardisation_is_fitted_on_training_rows_only() -> None:
    x = rows(200)
    result = diffeo.fit(small(), x, steps=1)
    layer = result.flow.transform[0]
    assert torch.allclose(layer.mean, x[result.train_index].mean(0), rtol=1e-5)
    assert len(result.train_index) + len(result.valid_index) == 200
    assert not set(result.train_index.tolist()) & set(result.valid_index.tolist())


def interrupted(out: Path, at: int, **args: object) -> diffeo.training.FitResult:
    """A run that gets SIGTERM when it reports a step at or after `at`."""

    def tell(p: Progress) -> None:
        if p.step >= at:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_on_signals(send_again=False):
        return diffeo.fit(small(), rows(), steps=60, out=out, progress=tell, **args)


@pytest.mark.parametrize("every", [7, 10])
def test_a_signal_saves_and_resume_is_bit_identical(tmp_path: Path, every: int) -> None:
    whole = diffeo.fit(small(), rows(), steps=60, out=tmp_path / "whole", eval_every=every)
    stopped = interrupted(tmp_path / "cut", 25, eval_every=every)
    assert stopped.stopped == "signal"
    assert stopped.signum == signal.SIGTERM
    assert stopped.steps < 60
    resumed = diffeo.fit(
        small(), rows(), steps=60, out=tmp_path / "cut", eval_every=every, resume=True
    )
    assert torch.equal(weights(whole.flow), weights(resumed.flow))
    assert (tmp_path / "whole/metrics.jsonl").read_text() == (
        tmp_path / "cut/metrics.jsonl"
    ).read_text()
    assert torch.equal(weights(diffeo.load(tmp_path / "cut")), weights(whole.flow))


CHILD = """
import os, signal, sys, torch, diffeo
sys.path.insert(0, {tests!r})
from test_training import rows, small
torch.set_num_threads(1)
count, real = [0], os.fsync
def fsync(descriptor):                      # die inside the save window, at a chosen system call
    count[0] += 1
    if count[0] == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)
os.fsync = fsync
diffeo.fit(
    small(), rows(), steps=60, out=sys.argv[1], eval_every=10, checkpoint_seconds=0.0, resume=True
)
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run of CHILD, had nothing stopped it."""
    out = tmp_path_factory.mktemp("whole")
    diffeo.fit(small(), rows(), steps=60, out=out, eval_every=10, checkpoint_seconds=0.0)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [3, 14, 27])
def test_kill_9_inside_the_save_window_then_resume(
    tmp_path: Path, kill_at: int, whole: Path
) -> None:
    script, out = tmp_path / "child.py", tmp_path / "out"
    script.write_text(textwrap.dedent(CHILD.format(tests=str(Path(__file__).parent))))
    command = [sys.executable, str(script), str(out), str(kill_at)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    diffeo.fit(
        small(), rows(), steps=60, out=out, eval_every=10, checkpoint_seconds=0.0, resume=True
    )
    assert torch.equal(weights(diffeo.load(out)), weights(diffeo.load(whole)))
    assert (out / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.filterwarnings("ignore:step-")
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    whole = diffeo.fit(small(), rows(), steps=60, out=tmp_path / "whole", eval_every=10)
    interrupted(tmp_path / "cut", 25, eval_every=10, checkpoint_seconds=0.0)
    newest = max((tmp_path / "cut/checkpoints").glob("step-*"))
    content = bytearray((newest / "state.safetensors").read_bytes())
    content[-5] ^= 1
    (newest / "state.safetensors").write_bytes(content)
    resumed = diffeo.fit(
        small(), rows(), steps=60, out=tmp_path / "cut", eval_every=10, resume=True
    )
    assert torch.equal(weights(whole.flow), weights(resumed.flow))
    assert any(line.get("event") == "damaged" for line in resumed.history)


def spoil_manifest(checkpoint: Path, text: str) -> None:
    (checkpoint / "manifest.json").write_text(text)


def spoil_state(checkpoint: Path, text: str) -> None:
    """With a manifest that vouches for it."""
    (checkpoint / "state.json").write_text(text)
    hashes = {name: sha256(checkpoint / name) for name in ("state.json", "state.safetensors")}
    (checkpoint / "manifest.json").write_text(json.dumps(hashes))


def spoil_type(checkpoint: Path, text: str) -> None:
    """One value of the state is of another type."""
    state = json.loads((checkpoint / "state.json").read_text())
    spoil_state(checkpoint, json.dumps({**state, "step": json.loads(text)}))


def spoil_names(checkpoint: Path, text: str) -> None:
    """One name is missing, or one too many."""
    state = json.loads((checkpoint / "state.json").read_text())
    del state["stale"]
    spoil_state(checkpoint, json.dumps({**state, text: 0}))


OTHER_JSON = ["[]", "null", "3", '"x"', "{}", "{", "", '{"a": ' * 2000, '[["a", 1]]']
SPOILED = [
    *[(spoil, text) for spoil in (spoil_manifest, spoil_state) for text in OTHER_JSON],
    *[(spoil_type, text) for text in ("null", "[]", '"7"', "1.5", "true")],
    (spoil_names, "other"),
]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    """A run that was stopped with two checkpoints, and the weights it would have ended with."""
    folder = tmp_path_factory.mktemp("cut")
    interrupted(folder, 25, eval_every=10, checkpoint_seconds=0.0)
    return folder, weights(diffeo.fit(small(), rows(), steps=60, eval_every=10).flow)


def resumed(folder: Path) -> diffeo.training.FitResult:
    return diffeo.fit(small(), rows(), steps=60, out=folder, eval_every=10, resume=True)


@pytest.mark.parametrize(("spoil", "text"), SPOILED)
@pytest.mark.filterwarnings("ignore:step-")
def test_json_of_another_kind_is_a_damaged_checkpoint(
    spoil: Callable[[Path, str], None], text: str, cut: tuple[Path, Tensor], tmp_path: Path
) -> None:
    folder = shutil.copytree(cut[0], tmp_path / "run")
    older, newest = sorted((folder / "checkpoints").glob("step-*"))
    spoil(newest, text)
    result = resumed(folder)
    assert any(
        line.get("event") == "damaged" and newest.name in line["note"] for line in result.history
    )
    assert torch.equal(weights(result.flow), cut[1])
    shutil.rmtree(folder)
    shutil.copytree(cut[0], folder)
    spoil(newest, text)
    spoil(older, text)
    with pytest.raises(CheckpointError, match="no undamaged checkpoint") as caught:
        resumed(folder)
    assert "\n" not in str(caught.value)


def test_a_damaged_checkpoint_is_said(cut: tuple[Path, Tensor], tmp_path: Path) -> None:
    folder = shutil.copytree(cut[0], tmp_path / "run")
    spoil_state(max((folder / "checkpoints").glob("step-*")), "[]")
    with pytest.warns(UserWarning, match=r"step-\d+ is damaged"):
        resumed(folder)


@pytest.mark.parametrize("text", [None, "", "[]\n", "{", '{"step": 0}\n', "\0", "\xff"])
def test_weights_do_not_depend_on_the_metrics_log(
    text: str | None, cut: tuple[Path, Tensor], tmp_path: Path
) -> None:
    folder = shutil.copytree(cut[0], tmp_path / "run")
    log = folder / "metrics.jsonl"
    log.unlink() if text is None else log.write_bytes(text.encode("latin1"))
    with pytest.warns(UserWarning, match=r"metrics.jsonl: \d+ of \d+ lines are lost"):
        result = resumed(folder)
    assert torch.equal(weights(result.flow), cut[1])
    assert [json.loads(line) for line in log.read_text().splitlines()] == result.history


def run_of(**changes: object) -> Callable[[str], str]:
    return lambda text: json.dumps({**json.loads(text), **changes})


RUN_FILES = {
    **{text: lambda _, text=text: text for text in OTHER_JSON},
    "data a list": run_of(data=[]),
    "data of numbers": run_of(data={"training rows": 3}),
    "rows a word": run_of(data={"rows": {"rows": "many", "columns": {}}}),
    "settings a list": run_of(settings=[]),
    "eval_every a word": run_of(settings={"eval_every": "often"}),
    "eval_every 0": run_of(settings={"eval_every": 0}),
    "warmup null": run_of(settings={"warmup": None}),
}


@pytest.mark.parametrize("change", RUN_FILES.values(), ids=[name[:20] for name in RUN_FILES])
def test_a_run_file_of_another_kind_is_damaged(
    change: Callable[[str], str], cut: tuple[Path, Tensor], tmp_path: Path
) -> None:
    folder = shutil.copytree(cut[0], tmp_path / "run")
    path = folder / "run.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(CheckpointError, match=r"run.json: damaged"):
        diffeo.fit(small(), rows(), steps=60, out=folder, resume=True)


def test_checkpoints_of_an_unknown_run_are_neither_resumed_nor_removed(
    cut: tuple[Path, Tensor], tmp_path: Path
) -> None:
    folder = shutil.copytree(cut[0], tmp_path / "run")
    (folder / "run.json").unlink()
    with pytest.raises(CheckpointError, match=r"run.json is lost"):
        resumed(folder)
    assert len(list((folder / "checkpoints").iterdir())) == 2


def test_only_two_checkpoints_are_kept_and_none_is_a_pickle(tmp_path: Path) -> None:
    diffeo.fit(small(), rows(), steps=60, out=tmp_path, eval_every=5, checkpoint_seconds=0.0)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} <= {
        ".safetensors",
        ".json",
        ".jsonl",
        "",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x[:-1], "269 rows instead of 270"),
        (lambda x: torch.cat([x[:, :2], x[:, 2:] + 1e-6], 1), "other values in column 'x2'"),
    ],
)
def test_resume_on_changed_data_names_the_difference(
    tmp_path: Path, change: object, words: str
) -> None:
    diffeo.fit(small(), rows(), steps=10, out=tmp_path)
    with pytest.raises(CheckpointError, match=words):
        diffeo.fit(small(), change(rows()), steps=10, out=tmp_path, resume=True)


@pytest.mark.parametrize(
    ("args", "words"),
    [({"lr": 0.5}, "lr was 0.001"), ({"batch_size": 7}, "batch_size"), ({"seed": 9}, "changed")],
)
def test_resume_with_other_settings_names_them(
    tmp_path: Path, args: dict[str, object], words: str
) -> None:
    diffeo.fit(small(), rows(), steps=10, out=tmp_path)
    with pytest.raises(CheckpointError, match=words):
        diffeo.fit(small(), rows(), steps=10, out=tmp_path, resume=True, **args)


def test_a_finished_run_resumes_to_itself_and_can_be_prolonged(tmp_path: Path) -> None:
    first = diffeo.fit(small(), rows(), steps=20, out=tmp_path, eval_every=5)
    again = diffeo.fit(small(), rows(), steps=20, out=tmp_path, eval_every=5, resume=True)
    assert torch.equal(weights(first.flow), weights(again.flow))
    assert again.steps == 20
    assert diffeo.fit(small(), rows(), steps=40, out=tmp_path, resume=True).steps == 40


def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    def intrude(p: Progress) -> None:
        if p.step == 0:
            code = (
                "import diffeo, torch; diffeo.fit(diffeo.models.nsf((1,)), torch.randn(20, 1),"
                f" steps=1, out={str(tmp_path)!r})"
            )
            seen.append(
                subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
            )

    seen: list[str] = []
    diffeo.fit(small(), rows(), steps=3, out=tmp_path, progress=intrude)
    assert "in use by process" in seen[0]


def test_a_row_outside_the_support_stops_with_row_and_column_named() -> None:
    x = rows().abs() + 0.1
    x[17, 1] = -1.0
    flow = diffeo.models.nsf((3,), layers=2, hidden=(16,), supports=["positive"] * 3)
    with pytest.raises(TrainingError, match=r"row 17 \(column 'x1' = -1\)"):
        diffeo.fit(flow, x, valid=None, steps=50, batch_size=300)
    assert all(bool(p.isfinite().all()) for p in flow.parameters())


class Poisoned(Objective):
    """A loss that is NaN, or enormous, at chosen steps."""

    def __init__(self, bad: dict[int, float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([5.0]))
        self.bad, self.step = bad, -1

    def forward(self, *batch: Tensor) -> Tensor:
        self.step += self.training
        loss = (self.weight - batch[0]) ** 2
        return loss.flatten() * self.bad.get(self.step, 1.0) if self.training else loss.flatten()


def run_poisoned(bad: dict[int, float], steps: int = 150) -> Trainer:
    data = torch.zeros(64, 1)
    config = TrainConfig(
        steps=steps, minutes=None, lr=0.2, eval_every=10, patience=None, warmup=1, ema=0.9
    )
    batches = ArrayBatches([data], torch.arange(64), batch_size=8, seed=0)
    trainer = Trainer(objective=Poisoned(bad), batches=batches, config=config, valid=[data])
    trainer.run()
    return trainer


def events(trainer: Trainer, name: str) -> list[dict[str, Any]]:
    return [line for line in trainer.metrics.history if line.get("event") == name]


def test_one_bad_step_is_skipped_and_counted() -> None:
    trainer = run_poisoned({20: float("nan"), 50: float("inf")})
    assert trainer.state.skipped == 2
    assert trainer.state.rollbacks == 0
    assert abs(trainer.objective.weight.item()) < 0.5


def test_three_bad_steps_roll_back_to_half_the_learning_rate() -> None:
    trainer = run_poisoned(dict.fromkeys((20, 21, 22), float("nan")))
    assert (trainer.state.rollbacks, trainer.state.lr_scale) == (1, 0.5)
    assert [line["to"] for line in events(trainer, "rollback")] == [20]


def test_three_roll_backs_stop_with_finite_weights() -> None:
    with pytest.raises(TrainingError, match="3 roll-backs"):
        run_poisoned(dict.fromkeys(range(20, 60), float("nan")))


def test_reg_18_a_jump_of_the_loss_is_noticed_and_the_best_weights_kept() -> None:
    trainer = run_poisoned({120: 1e9})
    assert [line["step"] for line in events(trainer, "jump")] == [120]
    assert trainer.state.best is not None
    assert trainer.state.best["loss"] < 0.5


def test_reg_10_a_wide_range_of_values_trains() -> None:
    x = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 200 - 100
    result = diffeo.fit(small(), x, steps=60)
    assert result.best["nll"] < 17
    assert not any("event" in line for line in result.history)


def test_reg_48_ten_rows_then_sampling_far_away_returns() -> None:
    generator = torch.Generator().manual_seed(41)
    x, c = torch.randn(10, 2, generator=generator), torch.randn(10, 3, generator=generator)
    flow = diffeo.models.nsf((2,), (3,), layers=2, hidden=(16,))
    diffeo.fit(flow, x, c, steps=30)
    assert bool(flow.sample((100,), 50 + torch.randn(3, generator=generator)).isfinite().all())


def test_a_held_out_row_outside_the_support_is_named() -> None:
    x = rows().abs() + 0.1
    held = x[:20].clone()
    held[3, 1] = -1.0
    flow = diffeo.models.nsf((3,), layers=2, hidden=(16,), supports=["positive"] * 3)
    with pytest.raises(DataError, match=r"row 3 \(column 'x1' = -1\)"):
        diffeo.fit(flow, x, valid=held, steps=5)


def test_weights_of_a_run_that_failed_are_kept(tmp_path: Path) -> None:
    x = rows(400).abs() + 0.1
    flow = diffeo.models.nsf((3,), layers=2, hidden=(16,), supports=["positive"] * 3)
    x[17, 1] = -1.0
    with pytest.raises(TrainingError):
        diffeo.fit(flow, x, valid=None, steps=50, batch_size=400, out=tmp_path)
    assert torch.equal(weights(diffeo.load(tmp_path)), weights(flow))


def test_a_shuffling_loader_resumes_bit_for_bit(tmp_path: Path) -> None:
    loader = torch.utils.data.DataLoader(rows(120), batch_size=20, shuffle=True)
    whole = diffeo.fit(small(), loader, steps=30, eval_every=5)
    torch.manual_seed(99)

    def tell(p: Progress) -> None:
        if p.step == 15:
            os.kill(os.getpid(), signal.SIGTERM)

    with stop_on_signals(send_again=False):
        diffeo.fit(small(), loader, steps=30, eval_every=5, out=tmp_path, progress=tell)
    again = diffeo.fit(
        small(), loader, steps=30, eval_every=5, out=tmp_path, resume=True, valid=None
    )
    assert torch.equal(weights(whole.flow), weights(again.flow))


def test_more_patience_goes_on(tmp_path: Path) -> None:
    first = diffeo.fit(
        small(), rows(100), steps=300, patience=1, eval_every=5, lr=0.05, out=tmp_path
    )
    assert first.stopped == "patience"
    assert (
        diffeo.fit(
            small(),
            rows(100),
            steps=300,
            patience=500,
            eval_every=5,
            lr=0.05,
            out=tmp_path,
            resume=True,
        ).steps
        == 300
    )


def test_contexts_of_the_wrong_shape_are_said() -> None:
    flow = diffeo.models.nsf((3,), (1,), layers=2, hidden=(16,))
    with pytest.raises(ShapeError, match="the contexts have shape"):
        diffeo.fit(flow, rows(), torch.randn(300), steps=2)


def test_few_rows() -> None:
    diffeo.fit(small(), rows(5), steps=2, batch_size=512)
    with pytest.raises(DataError, match="1 row is too few"):
        diffeo.fit(small(), rows(1), steps=2)


def test_non_finite_rows_are_refused_by_row_and_column() -> None:
    x = rows()
    x[4, 2] = float("inf")
    with pytest.raises(DataError, match="row 4, column 2"):
        diffeo.fit(small(), x, steps=2)


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"steps": 0}, ConfigError),
        ({"steps": 5, "epochs": 2}, ConfigError),
        ({"valid": 1.5}, ConfigError),
    ],
)
def test_limits_are_checked(args: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        diffeo.fit(small(), rows(), **args)


def test_epochs_minutes_and_patience_stop() -> None:
    assert diffeo.fit(small(), rows(100), epochs=3, batch_size=30, valid=None).steps == 9
    assert diffeo.fit(small(), rows(100), minutes=0.01).seconds < 30
    assert (
        diffeo.fit(small(), rows(100), steps=5000, patience=2, eval_every=5, lr=0.05).stopped
        == "patience"
    )


def test_arrays_frames_and_streams_are_data(tmp_path: Path) -> None:
    import numpy as np
    import pandas as pd

    x = rows(100)
    frame = pd.DataFrame(x.numpy(), columns=["a", "b", "c"])
    for data in (x.numpy(), x.tolist(), frame):
        diffeo.fit(small(), data, steps=2)
    batches = [x[:50], x[50:]]
    assert diffeo.fit(small(), batches, steps=5).steps == 5
    assert diffeo.fit(small(), batches, steps=5, valid=np.asarray(x)).best["nll"] < 100
    with pytest.raises(DataError, match="started again"):
        diffeo.fit(small(), iter(batches), steps=5)


def test_epochs_are_permutations_and_functions_of_the_seed() -> None:
    data = torch.arange(20.0)[:, None]
    batches = ArrayBatches([data], torch.arange(20), batch_size=5, seed=3)
    epoch = torch.cat([batches.batch(step)[0] for step in range(4, 8)]).flatten()
    assert sorted(epoch.tolist()) == data.flatten().tolist()
    assert torch.equal(
        ArrayBatches([data], torch.arange(20), batch_size=5, seed=3).batch(6)[0],
        batches.batch(6)[0],
    )
    assert not torch.equal(batches.batch(0)[0], batches.batch(4)[0])
    halves = [
        ArrayBatches([data], torch.arange(20), batch_size=4, seed=3, share=(rank, 2))
        for rank in (0, 1)
    ]
    parts = [half.batch(1)[0] for half in halves]
    assert set(torch.cat(parts).flatten().tolist()) == set(
        ArrayBatches([data], torch.arange(20), batch_size=4, seed=3).batch(1)[0].flatten().tolist()
    )


def test_streams_pass_over_what_a_resumed_run_has_seen() -> None:
    stream = StreamBatches([torch.tensor([float(i)]) for i in range(3)], torch.device("cpu"))
    assert stream.batch(4)[0].item() == 1.0


def test_the_schedule_warms_up_and_decays() -> None:
    values = [learning_rate(1.0, step / 100, step=step, warmup=10) for step in range(101)]
    assert values[0] == pytest.approx(0.1)
    assert max(values) == values[9] > 0.97
    assert values[100] == pytest.approx(0.01)
    assert all(a >= b for a, b in pairwise(values[9:]))


def test_recommendations_grow_with_the_table() -> None:
    few, many = recommend(200, 5), recommend(100_000, 5)
    assert few.dropout > many.dropout
    assert few.hidden < many.hidden
    assert recommend(3, 5).batch_size <= 3


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights(tmp_path: Path) -> None:
    script = tmp_path / "child.py"
    script.write_text(
        f"import sys, os, torch, diffeo; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_training import rows, small, weights\n"
        f"r = diffeo.fit(small(), rows(), steps=20, out={str(tmp_path / 'm')!r})\n"
        f"torch.save(weights(r.flow), {str(tmp_path)!r} + '/w' + os.environ['RANK'])\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--master-port=29571",
        str(script),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / f"w{rank}") for rank in (0, 1))
    assert torch.equal(one, two)
    assert torch.equal(weights(diffeo.load(tmp_path / "m")), one)


def test_the_metrics_log_has_no_clock_in_it(tmp_path: Path) -> None:
    diffeo.fit(small(), rows(), steps=20, out=tmp_path)
    keys = {
        key
        for line in (tmp_path / "metrics.jsonl").read_text().splitlines()
        for key in json.loads(line)
    }
    assert keys == {"step", "epoch", "train", "valid", "valid_se", "lr", "skipped"}


def test_an_unwritable_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot write here"):
        diffeo.fit(small(), rows(), steps=2, out=tmp_path / "file" / "model")


def test_a_full_disk_keeps_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = diffeo.fit(small(), rows(), steps=60, out=tmp_path / "whole", eval_every=10)
    interrupted(tmp_path / "cut", 25, eval_every=10)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("diffeo.runs.checkpoint.save_file", full)
        with pytest.raises(CheckpointError, match="No space left on device"):
            diffeo.fit(
                small(),
                rows(),
                steps=60,
                out=tmp_path / "cut",
                eval_every=10,
                resume=True,
                checkpoint_seconds=0.0,
            )
    resumed = diffeo.fit(
        small(), rows(), steps=60, out=tmp_path / "cut", eval_every=10, resume=True
    )
    assert torch.equal(weights(whole.flow), weights(resumed.flow))
    shutil.rmtree(tmp_path / "cut")


def test_set_up_noise_comes_from_the_seed() -> None:
    """Integer columns and pixels are dequantised before anything is fitted to them: two runs start
    alike.
    """
    rows = torch.randint(0, 5, (200, 2)).double()
    digits = torch.randint(0, 4, (50, 1, 4, 4), dtype=torch.uint8)
    for make, x in (
        (
            lambda: diffeo.models.nsf(
                (2,), layers=2, hidden=(8, 8), supports=["integer", "integer"]
            ),
            rows,
        ),
        (lambda: diffeo.models.glow((1, 4, 4), size="tiny", width=4, bits=2), digits),
    ):
        runs = []
        for _ in range(2):
            torch.rand(3)  # whatever was drawn before
            runs.append(diffeo.fit(make(), x, steps=3).history)
        assert runs[0] == runs[1]
