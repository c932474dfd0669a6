"""Saving and loading: bit-equal, atomic, and deaf to hostile folders."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import diffeo
from diffeo.card import Training
from diffeo.core.errors import StoreError
from diffeo.core.files import sha256
from diffeo.data.images.note import ImageNote
from diffeo.store import CONFIG, MANIFEST, WEIGHTS


def flow(seed: int = 0, **args: object) -> diffeo.Flow:
    model = diffeo.models.nsf(
        (3,), (2,), layers=2, hidden=(16,), mixing="lu", split="random", seed=seed, **args
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(1)
            )
    return model.initialize(torch.randn(50, 3) * 7 + 2, torch.randn(50, 2))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return diffeo.save(flow(), tmp_path / "model")


def forge(folder: Path, **changes: object) -> None:
    """Change config.json and make the manifest agree, as an attacker would."""
    config = json.loads((folder / CONFIG).read_text())
    for key, value in changes.items():
        place = config if key in config else config["args"]
        place[key] = value
    (folder / CONFIG).write_text(json.dumps(config))
    seal(folder)


def seal(folder: Path) -> None:
    files = {name: sha256(folder / name) for name in (WEIGHTS, CONFIG)}
    (folder / MANIFEST).write_text(json.dumps({"format": 1, "files": files}))


def test_load_gives_back_the_same_bits(tmp_path: Path) -> None:
    model = flow(supports=["real", "positive", "circular:0:6"])
    model.metadata = {"note": ["a", 1]}
    back = diffeo.load(diffeo.save(model, tmp_path / "m"))
    x, c = torch.rand(10, 3) + 0.1, torch.randn(10, 2)
    assert torch.equal(back.log_prob(x, c), model.log_prob(x, c))
    assert back.metadata == model.metadata
    assert back.recipe == model.recipe


def test_reg_27_a_train_mode_pass_after_loading_changes_nothing(folder: Path) -> None:
    back = diffeo.load(folder).train()
    before = [t.clone() for t in back.state_dict().values()]
    back.log_prob(torch.randn(5, 3), torch.randn(5, 2))
    assert all(torch.equal(a, b) for a, b in zip(before, back.state_dict().values(), strict=True))


def test_a_flow_built_by_hand_loads_into_the_same_flow(tmp_path: Path) -> None:
    def build() -> diffeo.Flow:
        return diffeo.Flow(diffeo.Chain([diffeo.layers.LULinear(2)]), diffeo.bases.Normal(2))

    model = build()
    torch.nn.init.normal_(model.transform[0].lower)
    diffeo.save(model, tmp_path)
    assert torch.equal(
        diffeo.load(tmp_path, into=build()).transform[0].lower, model.transform[0].lower
    )
    with pytest.raises(StoreError, match="into=flow"):
        diffeo.load(tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, MANIFEST])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "missing"])
def test_damage_is_said_in_one_line(folder: Path, name: str, damage: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 0x20
    new = {"flip": bytes(content), "truncate": bytes(content[:-9]), "empty": b""}
    (folder / name).unlink() if damage == "missing" else (folder / name).write_bytes(new[damage])
    with pytest.raises(StoreError) as caught:
        diffeo.load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 99}, "newer diffeo"),
        ({"model": "os.system"}, "unknown model"),
        ({"layers": 10**12}, "larger than the weights"),
        ({"event_shape": [10**12]}, "larger than the weights"),
        ({"bins": 10**12}, "larger than the weights"),
        ({"hidden": [10**9, 10**9]}, "larger than the weights"),
        ({"hidden": [17]}, "expects"),
        ({"layers": 3}, "expects"),
        ({"layers": "many"}, "do not build"),
        ({"bound": -1.0}, "do not build"),
        ({"activation": "__import__('os')"}, "unknown activation"),
        ({"supports": ["real"] * 10**5}, "more than the weights"),
        ({"event_shape": None}, "do not build"),
    ],
)
def test_hostile_configurations_are_refused_before_anything_is_built(
    folder: Path, changes: dict[str, object], words: str
) -> None:
    forge(folder, **changes)
    with pytest.raises(StoreError, match=words):
        diffeo.load(folder)


IMAGES: dict[str, tuple[str, tuple[int, ...], dict[str, object]]] = {
    "glow": ("glow", (1, 1080, 1920), {"scales": 1, "steps": 1, "width": 1}),
    "glow, colour": ("glow", (3, 1080, 1920), {"scales": 1, "steps": 1, "width": 1}),
    "glow, wide": ("glow", (1, 2000, 3000), {"scales": 1, "steps": 1, "width": 4}),
    "realnvp": ("realnvp", (1, 3000, 4000), {"scales": 1, "width": 2}),
    "realnvp, odd": ("realnvp", (1, 1081, 1921), {"scales": 1, "width": 1}),
    "flowpp": ("flowpp", (1, 270, 480), {"width": 2, "heads": 0}),
    "jet": ("jet", (1, 1080, 1920), {"patch": 40, "layers": 1, "width": 2, "heads": 1}),
    "jet, usual patch": ("jet", (1, 64, 64), {"layers": 1, "width": 2, "heads": 1}),
    "nice": ("nice", (1, 100, 90), {"width": 1, "depth": 1}),
}


@pytest.mark.parametrize("name", IMAGES)
def test_models_of_large_images_load(name: str, tmp_path: Path) -> None:
    """Weights of convolutions do not grow with the image, so they cannot account for its size."""
    model, event, options = IMAGES[name]
    made = diffeo.models.MODELS[model](event, size="tiny", **options)
    assert diffeo.load(diffeo.save(made, tmp_path)).event_shape == event


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("glow", {"event_shape": [1, 2**14, 2**14]}),
        ("glow", {"event_shape": [10**12, 1, 1]}),
        ("glow", {"context_shape": [1, 10**6, 10**6]}),
        ("glow", {"steps": 10**6}),
        ("glow", {"scales": 10**3}),
        ("glow", {"classes": 10**9}),
        ("nice", {"event_shape": [1, 2**13, 2**13]}),
        ("jet", {"event_shape": [1, 2**13, 2**13]}),
        ("jet", {"event_shape": [2**20, 8, 8]}),
        ("jet", {"event_shape": [1, 2**13, 2**13], "patch": 2**12}),
        ("jet", {"patch": 10**9}),
        ("jet", {"heads": 10**9}),
        ("flowpp", {"steps": [1, 1, 10**6]}),
        ("flowpp", {"steps": [1] * 10**6}),
        ("flowpp", {"components": 10**9}),
    ],
)
def test_hostile_images_are_refused_before_anything_is_built(
    model: str, changes: dict[str, object], tmp_path: Path
) -> None:
    diffeo.save(diffeo.models.MODELS[model]((1, 8, 8), size="tiny"), tmp_path)
    forge(tmp_path, **changes)
    with pytest.raises(StoreError, match=r"than the weights account for"):
        diffeo.load(tmp_path)


def test_a_pickle_is_never_opened(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(folder / "exploded"),)

    (folder / WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    seal(folder)
    with pytest.raises(StoreError, match="not a safetensors file"):
        diffeo.load(folder)
    assert not (folder / "exploded").exists()


def test_unknown_keys_deep_nesting_and_foreign_files_are_refused(folder: Path) -> None:
    (folder / MANIFEST).write_text(
        json.dumps({"format": 1, "files": {WEIGHTS: "0", "/etc/passwd": "0"}})
    )
    with pytest.raises(StoreError, match="nothing else"):
        diffeo.load(folder)
    (folder / CONFIG).write_text("[" * 100_000)
    seal(folder)
    with pytest.raises(StoreError, match="damaged"):
        diffeo.load(folder)
    with pytest.raises(StoreError, match="no such model folder"):
        diffeo.load(folder / "nowhere")


def test_a_missing_or_foreign_tensor_is_named(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    gone = sorted(tensors)[0]
    save_file({k: v for k, v in tensors.items() if k != gone}, folder / WEIGHTS)
    seal(folder)
    with pytest.raises(StoreError, match=gone.replace(".", r"\.")):
        diffeo.load(folder)


@pytest.mark.parametrize("crash", range(6))
def test_a_crash_while_saving_leaves_the_old_model_or_the_new(
    tmp_path: Path, crash: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = flow(seed=1), flow(seed=2)
    diffeo.save(old, tmp_path)
    calls, replace = [0], os.replace

    def fail(source: object, target: object) -> None:
        calls[0] += 1
        if calls[0] > crash:
            raise KeyboardInterrupt
        replace(source, target)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "replace", fail)
    monkeypatch.setattr(Path, "replace", lambda self, target: fail(self, target))
    with pytest.raises(KeyboardInterrupt):
        diffeo.save(new, tmp_path)
    monkeypatch.undo()
    x, c = torch.randn(5, 3), torch.randn(5, 2)
    found = diffeo.load(tmp_path).log_prob(x, c)
    assert any(torch.equal(found, model.log_prob(x, c)) for model in (old, new))
    diffeo.save(new, tmp_path)  # and saving again mends the folder
    assert torch.equal(diffeo.load(tmp_path).log_prob(x, c), new.log_prob(x, c))


def test_an_unwritable_place_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot save the model"):
        diffeo.save(flow(), tmp_path / "file")


def tagged(layers: int, tag: int) -> diffeo.Flow:
    """A flow whose metadata, arguments and weights say the same."""
    model = diffeo.models.nsf((2,), layers=layers, hidden=(4,))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(tag / 8)
    model.metadata = {"tag": tag}
    return model


def is_whole(model: diffeo.Flow) -> bool:
    """Are weights, arguments and metadata of one save?"""
    tag = model.metadata["tag"]
    right = tagged(model.recipe["args"]["layers"], tag).state_dict()
    return model.recipe["args"]["layers"] == 1 + tag % 2 and all(
        torch.equal(t, right[n]) for n, t in model.state_dict().items()
    )


def while_running(change: Callable[[int], None], check: Callable[[], None], times: int) -> None:
    """`check` so many times while `change(0)`, `change(1)`, ... go on in another thread."""
    done, faults = threading.Event(), list[BaseException]()

    def keep_on() -> None:
        try:
            for i in range(10**6):
                if done.is_set():
                    return
                change(i)
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=keep_on)
    thread.start()
    try:
        for _ in range(times):
            check()
    finally:
        done.set()
        thread.join()
        assert not faults


def test_a_reader_gets_one_model_while_another_saves(tmp_path: Path) -> None:
    models = [tagged(1 + i % 2, i) for i in range(4)]
    diffeo.save(models[0], tmp_path)

    def check() -> None:
        assert is_whole(diffeo.load(tmp_path))

    while_running(lambda i: diffeo.save(models[i % 4], tmp_path) and None, check, 60)


def test_several_may_save_to_one_folder(tmp_path: Path) -> None:
    models = [tagged(1 + i % 2, i) for i in range(4)]
    while_running(
        lambda i: diffeo.save(models[i % 4], tmp_path) and None,
        lambda: diffeo.save(models[3], tmp_path) and None,
        20,
    )
    assert is_whole(diffeo.load(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([WEIGHTS, CONFIG, MANIFEST])


def test_a_reader_gets_one_model_while_the_folder_is_replaced(tmp_path: Path) -> None:
    folder, aside = tmp_path / "model", tmp_path / "aside"
    others = [diffeo.save(tagged(1 + i, i), tmp_path / f"other{i}") for i in range(2)]
    shutil.copytree(others[0], folder)

    def replace(i: int) -> None:
        shutil.copytree(others[i % 2], aside)
        shutil.rmtree(folder)
        aside.rename(folder)

    def check() -> None:
        assert is_whole(diffeo.load(folder))

    while_running(replace, check, 40)


def test_a_folder_that_never_rests_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from diffeo.store import folder as files

    monkeypatch.setattr(files, "PATIENCE", 0.1)
    (folder / CONFIG).write_text("{}")
    ticks = iter(range(10**6))
    monkeypatch.setattr(files, "_stamp", lambda folder: [(next(ticks),)])
    with pytest.raises(StoreError, match="changes faster"):
        diffeo.load(folder)


def test_what_a_killed_save_leaves_is_cleared(folder: Path) -> None:
    (folder / f".{WEIGHTS}.new.abc.tmp").write_bytes(b"half")
    (folder / f"{CONFIG}.new").write_text("{}")
    diffeo.load(folder)
    diffeo.save(flow(), folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted([WEIGHTS, CONFIG, MANIFEST])


def test_modules_that_share_weights_are_saved(tmp_path: Path) -> None:
    def build() -> diffeo.Flow:
        layer = diffeo.layers.LULinear(2)
        return diffeo.Flow(diffeo.Chain([layer, layer]), diffeo.bases.Normal(2))

    model = build()
    torch.nn.init.normal_(model.transform[0].lower)
    back = diffeo.load(diffeo.save(model, tmp_path), into=build())
    assert torch.equal(back.transform[1].lower, model.transform[0].lower)


@pytest.mark.parametrize(
    "metadata", [{"a": object()}, {"a": "x" * (17 << 20)}, {"a": [0] * (1 << 20)}]
)
def test_what_could_not_be_read_again_is_not_written(
    folder: Path, metadata: dict[str, object]
) -> None:
    before = (folder / MANIFEST).read_bytes()
    model = flow()
    model.metadata = metadata
    with pytest.raises(StoreError, match=r"config\.json|cannot save"):
        diffeo.save(model, folder)
    assert (folder / MANIFEST).read_bytes() == before


# --- the card -------------------------------------------------------------------------------------


def carded() -> diffeo.Flow:
    """A flow of a table whose card says everything."""
    model = diffeo.models.nsf((2,), layers=1, hidden=(4,), supports=["real", "positive"])
    schema = diffeo.data.Schema(columns=[{"name": "a"}, {"name": "b", "support": "positive"}])
    model.card = model.card.having(
        data=schema,
        source="a.csv",
        training=Training(best={"nll": 1.5}, rows={"train": 9, "valid": 1}, steps=3),
        notes={"by": "me"},
    )
    return model


def test_a_card_comes_back_typed(tmp_path: Path) -> None:
    model = carded()
    assert diffeo.load(diffeo.save(model, tmp_path)).card == model.card
    images = diffeo.models.glow((1, 4, 4), size="tiny", classes=2)
    images.card = images.card.having(data=ImageNote(bits=8, classes=("cat", "dog"), resize="4x4"))
    assert diffeo.load(diffeo.save(images, tmp_path)).card == images.card


def test_a_card_is_written_as_0_2_wrote_it(tmp_path: Path) -> None:
    written = json.loads((diffeo.save(carded(), tmp_path) / CONFIG).read_text())
    assert written["format"] == 1
    assert written["metadata"] == {
        "by": "me",
        "schema": {
            "columns": [{"name": "a", "support": "real"}, {"name": "b", "support": "positive"}],
            "context": [],
            "set_aside": {},
            "dropped": [],
        },
        "source": "a.csv",
        "training": {"best": {"nll": 1.5}, "rows": {"train": 9, "valid": 1}, "steps": 3},
    }


def test_metadata_and_recipe_are_views_of_the_card() -> None:
    model = carded()
    assert model.recipe == {"model": "nsf", "args": model.card.args}
    model.metadata = {**model.metadata, "by": "you"}
    assert model.card == carded().card.having(notes={"by": "you"})
    with pytest.raises(TypeError):
        model.metadata["by"] = "nobody"
    assert diffeo.Flow(model.transform, model.base).recipe is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"schema": {"columns": []}},
        {"images": 3},
        {"training": 1},
        {"source": 1},
        {"schema": {"columns": [{"name": "a"}, {"name": "b"}]}, "images": {}},
    ],
)
def test_damaged_metadata_are_refused(tmp_path: Path, metadata: dict[str, object]) -> None:
    """When loading, and when saving what would not load again."""
    model = diffeo.models.nsf((2,), layers=1, hidden=(4,))
    forge(diffeo.save(model, tmp_path), metadata=metadata)
    with pytest.raises(StoreError, match=r"config\.json: its metadata are"):
        diffeo.load(tmp_path)
    model.card = model.card.having(notes=metadata)
    with pytest.raises(StoreError, match=r"config\.json: its metadata are"):
        diffeo.save(model, tmp_path)
