"""Nothing is exported that the table does not cover, and importing costs what it must and no
more.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from torch import nn

import diffeo
from cases import (
    BASES,
    CONDITIONERS,
    IMAGE_CONDITIONERS,
    LATTICE_CONDITIONERS,
    MAPS,
    PARTITIONS,
    TOKEN_CONDITIONERS,
    TRANSFORMS,
    Encoder,
)
from diffeo import domains
from diffeo.cli.run import jobs
from diffeo.cli.verbs import VERBS
from diffeo.core import errors as core_errors
from diffeo.report import REPORTS

ROOT = Path(__file__).parent.parent
SOURCES = Path(diffeo.__file__).parent


def exported(room: str) -> dict[str, Any]:
    """The concrete classes and functions that a room exports, protocols and abstract classes left
    out.
    """
    if room == "core":  # its public classes are exported by diffeo itself
        things: dict[str, Any] = {
            name: getattr(diffeo, name)
            for name in ("Chain", "Distribution", "Inverse", "Transform")
        }
    else:
        module = importlib.import_module(f"diffeo.{room}")
        things = {name: getattr(module, name) for name in module.__all__}
    return {name: thing for name, thing in things.items() if not _abstract(thing)}


def _abstract(thing: Any) -> bool:
    return inspect.isabstract(thing) or getattr(thing, "_is_protocol", False)


def covered() -> set[type]:
    """Every class that occurs in some case."""
    found: set[type] = {type(map) for map in MAPS.values()}
    for factory in [
        *CONDITIONERS.values(),
        *IMAGE_CONDITIONERS.values(),
        *LATTICE_CONDITIONERS.values(),
        *TOKEN_CONDITIONERS.values(),
    ]:
        found |= {type(factory), type(getattr(factory, "inner", factory))}
    found |= {type(build(3)) for build in PARTITIONS.values()}
    for case in BASES.values():
        found |= _types(case.build())
    for transform_case in TRANSFORMS.values():
        found |= _types(transform_case.build())
    return found


def _types(module: nn.Module) -> set[type]:
    return {type(part) for part in module.modules()}


COVERED = covered()


def _classes(*rooms: str) -> Iterator[Any]:
    for room in rooms:
        for name, thing in exported(room).items():
            if inspect.isclass(thing):
                yield pytest.param(thing, id=f"{room}.{name}")


@pytest.mark.parametrize(
    "cls", [*_classes("core", "layers", "maps", "partitions", "conditioners", "bases")]
)
def test_class_has_a_case(cls: type) -> None:
    assert cls in COVERED, f"{cls.__name__} is exported but has no line in tests/cases.py"


@pytest.mark.parametrize("name", ["alternating", "random"])
def test_partition_function_has_a_case(name: str) -> None:
    assert name in PARTITIONS
    assert name in exported("partitions")


def test_partition_functions_are_all_known() -> None:
    assert {n for n, thing in exported("partitions").items() if inspect.isfunction(thing)} == {
        "alternating",
        "random",
    }


FIELDS = {"lattice"}  # models of real fields, without context


@pytest.mark.parametrize("name", list(diffeo.models.MODELS))
def test_model_has_cases(name: str) -> None:
    """With and without context, with data of a type of its own (supports, pixels); exported under
    its name in the registry.
    """
    mine = {key: case for key, case in TRANSFORMS.items() if key.split("/")[0] == name}
    assert any(case.context is None for case in mine.values())
    if name not in FIELDS:
        assert any(case.context is not None for case in mine.values())
        assert any(case.data_dtype is not None for case in mine.values())
    assert all(isinstance(case.build(), Encoder) for case in mine.values())
    assert getattr(diffeo.models, name) is diffeo.models.MODELS[name]
    assert name in diffeo.models.__all__


def test_models_exported_are_registered() -> None:
    others = {
        "MODELS",
        "SPECS",
        "Held",
        "ModelSpec",
        "default_model",
        "domain_of",
        "models_for",
        "takes_classes",
    }
    functions = set(diffeo.models.__all__) - others
    assert functions == set(diffeo.models.MODELS) == set(diffeo.models.SPECS)


@pytest.mark.parametrize("name", list(diffeo.models.SPECS))
def test_model_has_a_signature_that_one_can_read(name: str) -> None:
    """All parameters by name, those of every domain that it serves."""
    spec = diffeo.models.SPECS[name]
    shown = inspect.signature(getattr(diffeo.models, name)).parameters
    assert set(shown) == {setting for domain in spec.builders for setting in spec.settings(domain)}
    assert all(p.kind is not p.VAR_KEYWORD for p in shown.values())
    assert list(shown)[:2] == ["event_shape", "context_shape"]


def test_each_use_has_one_default_model() -> None:
    specs = diffeo.models.SPECS.values()
    for use in {use for spec in specs for use in spec.uses}:
        chosen = [spec.name for spec in specs if use in spec.default_for]
        assert chosen == [diffeo.models.default_model(use)]
        assert set(chosen) <= set(diffeo.models.models_for(use))


def test_models_are_known_by_name_in_their_own_room_alone() -> None:
    """Others ask the registry. Options of the command name them in their help, which starts
    without torch.
    """
    for path in sorted(SOURCES.rglob("*.py")):
        if path.is_relative_to(SOURCES / "models"):
            continue
        words = {node.value for node in _constants(path) if isinstance(node.value, str)}
        assert not words & set(diffeo.models.SPECS), path


@pytest.mark.parametrize(
    ("verb", "use"), [("fit", "table"), ("fit", "image"), ("infer", "posterior")]
)
def test_help_names_the_models(verb: str, use: str) -> None:
    function = getattr(importlib.import_module(f"diffeo.cli.{verb}"), verb)
    hint = get_type_hints(function, include_extras=True)["model"]
    said = next(option.help for option in hint.__metadata__)
    assert all(name in said for name in diffeo.models.models_for(use))
    assert re.search(rf"{diffeo.models.default_model(use)} \((tables' )?default\)", said)


def test_every_domain_is_registered_and_served() -> None:
    """A kind of data has its file in domains/, a line in `DOMAINS`, a model, and says all that it
    is asked.
    """
    files = {path.stem for path in (SOURCES / "domains").glob("*.py")}
    assert files - {"__init__", "base", "recommend"} == set(domains.DOMAINS)
    for name, domain in domains.DOMAINS.items():
        assert name in diffeo.models.SPECS[domain.default_model].builders
        assert all(hasattr(domain, said) for said in get_type_hints(domains.Domain))
    served = {use for spec in diffeo.models.SPECS.values() for use in spec.builders}
    assert served == set(domains.DOMAINS)
    assert set(VERBS) == set(domains.DOMAINS)
    assert set(jobs()) == set(REPORTS) == {"table", "image"}  # no file is taken for a field


BY_SHAPE = re.compile(
    r"len\((flow|self\.flow)\.event_shape\)"
    r"|event_shape\) *([=!]=|[<>]) *\d"
    r"|context_shape *[=!]= *\(\)"
)
TENSORS = {  # rooms that work on events of any shape, and the one that knows what shapes stand for
    *("bases", "conditioners", "core", "kernels", "layers", "maps", "models", "partitions"),
    *("supports", "flow.py"),
}


def test_no_room_above_the_models_asks_for_a_kind_of_data_by_its_shape() -> None:
    for path in sorted(SOURCES.rglob("*.py")):
        if path.relative_to(SOURCES).parts[0] in TENSORS:
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        assert not [line for line in lines if BY_SHAPE.search(line)], path


def _constants(path: Path) -> Iterator[ast.Constant]:
    return (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))


def test_every_public_class_is_abstract_or_final() -> None:
    """No concrete class of a room derives from another concrete class of diffeo."""
    for room in ("core", "layers", "maps", "partitions", "conditioners", "bases"):
        for cls in (c for c in exported(room).values() if inspect.isclass(c)):
            parents = [p for p in cls.__mro__[1:] if p.__module__.startswith("diffeo")]
            # FixedShape is abstract: it leaves both directions to its children
            assert all(inspect.isabstract(p) for p in parents), (
                f"{cls.__name__} derives from a concrete class"
            )


# --- names ----------------------------------------------------------------------------------------


PAGES = ["README.md", "CONTRIBUTING.md", "docs/*.md", "examples/*.py"]


def mentioned() -> set[str]:
    """The names of diffeo that pages and examples use: `diffeo.NAME`, `from diffeo import NAME`."""
    texts = [page.read_text() for pattern in PAGES for page in sorted(ROOT.glob(pattern))]
    text = "\n".join(texts)
    names = set(re.findall(r"(?<![\w./-])diffeo\.([A-Za-z]\w*)", text))
    for line in re.findall(r"^from diffeo import (.+)$", text, flags=re.MULTILINE):
        names |= {name.strip() for name in line.split(",")}
    return names


def test_public_names_are_those_of_the_stub() -> None:
    """`__init__.pyi` is the one list: what type checkers see is what there is."""
    stub = ast.parse(Path(diffeo.__file__).with_suffix(".pyi").read_text())
    imported = {
        alias.asname
        for line in stub.body
        if isinstance(line, ast.ImportFrom)
        for alias in line.names
    }
    assert imported == set(diffeo.__all__)
    assert set(dir(diffeo)) >= imported


@pytest.mark.parametrize("name", diffeo.__all__)
def test_public_name_resolves(name: str) -> None:
    thing = getattr(diffeo, name)
    assert inspect.ismodule(thing) or callable(thing)


def test_pages_and_examples_use_public_names_alone() -> None:
    assert "infer" in mentioned()  # the pages were read
    assert mentioned() <= set(diffeo.__all__)


def test_errors_are_one_tree() -> None:
    """Public as `diffeo.errors`; the rooms import the same classes from `core`."""
    classes = {name: thing for name, thing in vars(diffeo.errors).items() if inspect.isclass(thing)}
    assert sorted(classes) == sorted(diffeo.errors.__all__)
    for name, error in classes.items():
        assert issubclass(error, diffeo.errors.DiffeoError)
        assert getattr(core_errors, name) is error


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        diffeo.nonsense  # noqa: B018


@pytest.mark.parametrize(
    "room", ["bases", "conditioners", "layers", "maps", "models", "partitions"]
)
def test_all_lists_what_exists(room: str) -> None:
    module = importlib.import_module(f"diffeo.{room}")
    assert all(hasattr(module, name) for name in module.__all__)
    assert sorted(set(module.__all__)) == sorted(module.__all__)


# --- what importing costs -------------------------------------------------------------------------


def loaded_after(statement: str) -> set[str]:
    """Top-level packages in `sys.modules` after a statement in a fresh interpreter."""
    code = f"{statement}\nimport sys; print(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(diffeo.__file__).parents[1])},
    )
    return set(done.stdout.split())


HEAVY = {"duckdb", "pyarrow", "sklearn", "matplotlib", "typer", "rich", "pandas", "polars", "scipy"}


TO_COPY = {"tables/choices.py", "images/choices.py"}  # commands that a report offers


def test_only_the_command_speaks_of_options() -> None:
    """Elsewhere messages name arguments by `core.wording.argument`."""
    source = Path(diffeo.__file__).parent
    for path in source.rglob("*.py"):
        name = "/".join(path.parts[-2:])
        if path.is_relative_to(source / "cli") or name in TO_COPY:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str):
                assert not re.search(r"(?<![\w-])--[a-z]{2}", text) or HELP in text, (name, text)


HELP = "diffeo --help"  # whose speed the package's docstring explains


def test_import_diffeo_is_lazy() -> None:
    statement = "import diffeo; diffeo.__version__; dir(diffeo); diffeo.errors.DiffeoError"
    assert not loaded_after(statement) & (HEAVY | {"torch", "numpy"})


def test_import_models_is_light() -> None:
    loaded = loaded_after("import diffeo.models")
    assert "torch" in loaded
    assert not loaded & HEAVY


def test_import_has_no_side_effects() -> None:
    """Threads, default dtype, global random state and validation are as PyTorch set them."""
    code = (
        "import torch\nbefore = (torch.get_num_threads(), torch.get_default_dtype(),"
        " torch.initial_seed(), torch.distributions.Distribution._validate_args)\nstate ="
        " torch.get_rng_state()\nimport diffeo.models, diffeo.layers, diffeo.bases\nassert before"
        " == (torch.get_num_threads(), torch.get_default_dtype(), torch.initial_seed(),"
        " torch.distributions.Distribution._validate_args)\nassert torch.equal(state,"
        " torch.get_rng_state())\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
