"""Is the code easy to find and to read? Counts, before and after, as a Markdown table.

    python benchmarks/house.py                   # this tree beside the commit before the rooms
    python benchmarks/house.py v0.2.0            # beside another commit
    python benchmarks/house.py --list            # and every place that is counted
    python benchmarks/house.py --peers zuko ...  # the size of a function in installed packages

The size of a function is the number of characters of its body that are not white space, the
docstring left out; comments count. Methods and nested functions count as functions. By this count
zuko 1.6 has 82 at the median, httpx 0.28 111 and flowjax 19 126.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "d6da09c"  # the last commit with flat rooms
COLUMNS = 100
POSITIONAL = 3
# rooms that may ask for the shape of an event: models, and what models are made of
BELOW = {
    *("core", "errors", "kernels", "supports", "maps", "partitions", "conditioners"),
    *("layers", "bases", "flow", "models"),
}
WORDS = ("found", "own", "told", "twin", "pull", "mute", "cut", "diary", "world", "bend", "place")

Function = ast.FunctionDef | ast.AsyncFunctionDef
Places = list[str]


@dataclass(frozen=True)
class Module:
    """One Python file of the package."""

    path: Path
    name: str  # its path inside the package
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        return Path(self.name).parts[0].removesuffix(".py")

    def at(self, node: ast.AST, what: str = "") -> str:
        return f"{self.name}:{node.lineno} {what}".rstrip()  # type: ignore[attr-defined]

    def all(self, *kinds: type[ast.AST]) -> Iterator[ast.AST]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kinds))


def modules(package: Path) -> list[Module]:
    return [
        Module(path, str(path.relative_to(package)), text, ast.parse(text))
        for path in sorted(package.rglob("*.py"))
        for text in [path.read_text()]
    ]


# --- functions and their parameters ---------------------------------------------------------------


def size(module: Module, function: Function) -> int:
    """Characters of the body that are not white space, the docstring left out."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[has_docstring:]
    if not body:
        return 0
    lines = module.text.splitlines()[body[0].lineno - 1 : body[-1].end_lineno]
    return len(re.sub(r"\s", "", "".join(lines)))


def sizes(package: Path) -> list[int]:
    return [
        size(module, function)
        for module in modules(package)
        for function in module.all(*Function.__args__)
    ]


def positional(function: Function) -> int:
    """Parameters that may be given by position, without the first of a method."""
    names = [p.arg for p in (*function.args.posonlyargs, *function.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"], ["ctx"]))


def fields(cls: ast.ClassDef) -> int:
    """Parameters that the constructor of a dataclass or named tuple takes by position."""
    decorators = " ".join(ast.unparse(d) for d in cls.decorator_list)
    bases = " ".join(ast.unparse(base) for base in cls.bases)
    made = "dataclass" in decorators or "NamedTuple" in bases
    if not made or "kw_only=True" in decorators:
        return 0
    count = 0
    for line in cls.body:
        if not isinstance(line, ast.AnnAssign):
            continue
        if "KW_ONLY" in ast.unparse(line.annotation):
            break
        count += "ClassVar" not in ast.unparse(line.annotation) and (
            line.value is None or "init=False" not in ast.unparse(line.value)
        )
    return count


def exported(files: list[Module]) -> set[str]:
    """The names that rooms list in `__all__`: the public surface."""
    lists = [
        line.value
        for module in files
        if Path(module.name).name == "__init__.py"
        for line in module.all(ast.Assign)
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__all__"
    ]
    words = (
        node.value for names in lists for node in ast.walk(names) if isinstance(node, ast.Constant)
    )
    return {word for word in words if isinstance(word, str)}


def many_parameters(files: list[Module]) -> Places:
    """Functions with more than three positional parameters; constructors where not public."""
    public = exported(files)
    places = []
    for module in files:
        constructors = {
            id(line)
            for cls in module.all(ast.ClassDef)
            if isinstance(cls, ast.ClassDef) and cls.name in public
            for line in cls.body
            if isinstance(line, ast.FunctionDef) and line.name == "__init__"
        }
        for node in module.all(*Function.__args__, ast.ClassDef):
            if isinstance(node, ast.ClassDef):
                count = 0 if node.name in public else fields(node)
            else:
                count = 0 if id(node) in constructors else positional(node)
            if count > POSITIONAL:
                places.append(module.at(node, f"{node.name}: {count}"))
    return places


# --- expressions ----------------------------------------------------------------------------------


def nested_conditionals(files: list[Module]) -> Places:
    def inside(node: ast.AST) -> bool:
        return any(isinstance(part, ast.IfExp) for part in ast.walk(node) if part is not node)

    return [m.at(node) for m in files for node in m.all(ast.IfExp) if inside(node)]


def parallel_assignments(files: list[Module]) -> Places:
    """`a, b = x, y`; exchanges, in which a target stands on the right as well, left out."""
    places = []
    for module in files:
        for line in module.all(ast.Assign):
            assert isinstance(line, ast.Assign)
            if not (isinstance(line.value, ast.Tuple) and isinstance(line.targets[0], ast.Tuple)):
                continue
            targets = {ast.unparse(target) for target in line.targets[0].elts}
            values = {
                ast.unparse(part) for part in ast.walk(line.value) if isinstance(part, ast.expr)
            }
            if not targets & values:
                places.append(module.at(line))
    return places


def kinds_by_shape(files: list[Module]) -> Places:
    """Comparisons that ask an event or a context for its number of axes, above `models`."""
    asked = re.compile(r"len\([\w.]*(event_shape|context_shape)\)|[\w.]*context_shape$")

    def asks(node: ast.AST) -> bool:
        assert isinstance(node, ast.Compare)
        sides = [ast.unparse(side) for side in (node.left, *node.comparators)]
        about_axes = any(asked.fullmatch(side) for side in sides)
        return about_axes and any(re.fullmatch(r"\d+|\(\)", side) for side in sides)

    above = [module for module in files if module.room not in BELOW]
    return [
        module.at(node, ast.unparse(node))
        for module in above
        for node in module.all(ast.Compare)
        if asks(node)
    ]


def private_words(files: list[Module]) -> Places:
    """Names of functions, classes, arguments, variables and modules with a private word in them."""
    places = []
    for module in files:
        names = {Path(module.name).stem: 1}
        for node in ast.walk(module.tree):
            for attribute in ("name", "id", "arg", "attr"):
                name = getattr(node, attribute, None)
                if isinstance(name, str):
                    names.setdefault(name, getattr(node, "lineno", 1))
        for name, line in sorted(names.items()):
            parts = {part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name)}
            places += [f"{module.name}:{line} {name}" for word in WORDS if word in parts]
    return places


def private_prose(files: list[Module]) -> Places:
    """Files whose text, comments and docstrings included, has one of the words."""
    return [
        f"{module.name} {word}"
        for module in files
        for word in WORDS
        if re.search(rf"\b{word}\b", module.text, flags=re.IGNORECASE)
    ]


# --- lines and imports ----------------------------------------------------------------------------


def long_lines(tree: Path, *patterns: str) -> Places:
    """Lines anywhere in the tree that are too long without what they say to type checkers."""
    return [
        f"{path.relative_to(tree)}:{number}"
        for pattern in patterns
        for path in sorted(tree.rglob(pattern))
        if not any(part.startswith(".") for part in path.relative_to(tree).parts)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if len(re.sub(r"  # (type: ignore|noqa).*", "", line)) > COLUMNS
    ]


def circles(tree: Path) -> Places:
    """Circles among the children of any package; imports inside of functions count."""
    sys.path.insert(0, str(tree / "src"))
    try:
        graph = grimp.build_graph("diffeo", exclude_type_checking_imports=True, cache_dir=None)
    finally:
        sys.path.remove(str(tree / "src"))
    places = []
    for package in sorted(graph.modules):
        edges = siblings(graph, package)
        places += [" <-> ".join(sorted(circle)) for circle in components(edges)]
    return places


def siblings(graph: grimp.ImportGraph, package: str) -> dict[str, set[str]]:
    """Which children of a package import which, all that is inside of them included."""
    edges: dict[str, set[str]] = defaultdict(set)
    depth = package.count(".") + 2
    for child in graph.find_children(package):
        for module in {child, *graph.find_descendants(child)}:
            for imported in graph.find_modules_directly_imported_by(module):
                other = ".".join(imported.split(".")[:depth])
                if imported.startswith(package + ".") and other != child:
                    edges[child].add(other)
    return edges


def components(edges: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of more than one node that reach each other."""
    reached = {node: reachable(edges, node) for node in edges}
    together = {
        frozenset(other for other in others if node in reached.get(other, ()))
        for node, others in reached.items()
        if node in others
    }
    return {circle for circle in together if len(circle) > 1}


def reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = [start]
    while ahead:
        new = edges.get(ahead.pop(), set()) - seen
        seen |= new
        ahead += new
    return seen


# --- the table ------------------------------------------------------------------------------------

COUNTS: dict[str, Callable[[list[Module]], Places]] = {
    "functions with more than 3 positional parameters": many_parameters,
    "nested conditional expressions": nested_conditionals,
    "parallel assignments": parallel_assignments,
    "kinds asked by shape above `models`": kinds_by_shape,
    "names with a private word": private_words,
    "files and the private words in their text": private_prose,
}


def measure(tree: Path) -> dict[str, Places | float]:
    package = tree / "src" / "diffeo"
    files = modules(package)
    figures: dict[str, Places | float] = {
        "files of Python in the package": len(files),
        "functions": len(sizes(package)),
        "characters of a function, median": statistics.median(sizes(package)),
        "lines of Python over 100 columns": long_lines(tree, "*.py"),
        "lines of C++ over 100 columns": long_lines(tree, "*.cpp", "*.h"),
        "circles of imports at any level": circles(tree),
    }
    return figures | {name: count(files) for name, count in COUNTS.items()}


def unpack(commit: str, folder: Path) -> Path:
    """The tree of a commit."""
    archive = subprocess.run(
        ["git", "archive", commit], cwd=ROOT, check=True, capture_output=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def figure(value: Places | float) -> str:
    return f"{len(value)}" if isinstance(value, list) else f"{value:g}"


def table(before: dict[str, Places | float], after: dict[str, Places | float]) -> Iterable[str]:
    yield "| | before | after |"
    yield "|---|---:|---:|"
    for name, value in after.items():
        yield f"| {name} | {figure(before[name])} | {figure(value)} |"


def peers(names: list[str]) -> None:
    for name in names:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise SystemExit(f"{name} is not installed here")
        print(f"{name}: {statistics.median(sizes(Path(spec.origin).parent)):g}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", default=BEFORE)
    parser.add_argument("--list", action="store_true", help="print every place that is counted")
    parser.add_argument("--peers", nargs="+", metavar="PACKAGE", help="sizes of their functions")
    options = parser.parse_args()
    if options.peers:
        peers(options.peers)
        return
    with tempfile.TemporaryDirectory() as folder:
        before = measure(unpack(options.commit, Path(folder)))
    after = measure(ROOT)
    print("\n".join(table(before, after)))
    if options.list:
        for name, value in after.items():
            places = value if isinstance(value, list) else []
            print("", name, *places, sep="\n  ")


if __name__ == "__main__":
    main()
