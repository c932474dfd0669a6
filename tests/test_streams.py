"""Streams of random numbers: each purpose has a number, and each number one purpose."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import diffeo
from diffeo.core.streams import Stream, generator_for, mix

SOURCES = Path(diffeo.__file__).parent
SHARED = {"VALIDATION"}  # a report repeats the noise of validation, to come to the same figure
# scoring numbers its passes and has no stream: scores of earlier versions depend on it
WITHOUT_STREAM = "training/evaluate.py"


def calls() -> list[tuple[str, ast.Call]]:
    return [
        (path.relative_to(SOURCES).as_posix(), node)
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("mix", "generator_for")
    ]


def test_seeds_are_made_from_the_streams_of_the_table() -> None:
    bare = {
        (path, ast.unparse(call))
        for path, call in calls()
        if path != "core/streams.py" and not ast.unparse(call.args[1]).lower().startswith("stream")
    }
    assert {path for path, _ in bare} == {WITHOUT_STREAM}, bare


def test_each_stream_is_of_one_file() -> None:
    places = defaultdict(set)
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Stream":
                places[node.attr].add(path.name)
    assert set(places) == {stream.name for stream in Stream}
    assert {name for name, files in places.items() if len(files) > 1} == SHARED


def test_streams_have_the_seeds_that_earlier_results_were_made_with() -> None:
    assert mix(0, Stream.SPLIT) == mix(0, 0) == 985363666577631307
    assert mix(7, Stream.STEP, 3) == mix(7, 2, 3)
    assert generator_for(7, Stream.BATCHES, 2).initial_seed() == mix(7, 1, 2)
