"""Style as a test: the rules of the house that no linter knows, each shown an example that it must refuse.

An exception is an entry of ALLOWED with its reason; an entry that nothing needs any more fails too.
"""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = ("lexchange", "gateway")

FILE_LINES = 400
FUNCTION_LINES = 70
PARAMETERS = 5
PARAMETERS_WITH_KEYWORDS = 7

# (rule, "path" or "path::function") -> why this place is right to differ.
ALLOWED: dict[tuple[str, str], str] = {
    (
        "tasks",
        "lexchange/background.py::spawn",
    ): "work that outlives its request; kept, logged and drained there",
    (
        "tasks",
        "lexchange/buyers/tokens.py::_start",
    ): "a fetch that several calls wait for; kept and cancelled there",
    (
        "tasks",
        "gateway/protocol.py::_begin_straight",
    ): "a call; kept where uvicorn keeps those of ASGI, and waits for them when it is stopped",
    (
        "tasks",
        "lexchange/turbo/calls.py::_begin",
    ): "a call; kept in its server's set until it ends, and waited for when that is stopped",
    ("names", "lexchange/servicer.py::data"): "the proto calls it so",
    ("names", "lexchange/turbo/server.py::add_generic_rpc_handlers"): "generated code of grpcio calls it so",
    ("names", "lexchange/turbo/server.py::add_registered_method_handlers"): "likewise",
    (
        "money_is_whole",
        "lexchange/campaign_file/value_lists.py::_places",
    ): "degrees of latitude and longitude",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One Python file, read once."""

    path: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """The name that imports it."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
Finding = tuple[int, str]
Rule = Callable[[Source], Iterator[Finding]]


def parse(path: str, text: str) -> Source:
    return Source(path=path, text=text, tree=ast.parse(text, filename=path))


def product_sources() -> list[Source]:
    files = sorted(file for package in PRODUCT for file in (ROOT / package).rglob("*.py"))
    return [parse(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in files]


def functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(source.tree) if isinstance(node, FUNCTION))


def spelled(node: ast.AST) -> str:
    """`a.b.c` for names and attributes; calls and subscripts on the way are looked through."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{spelled(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return spelled(node.func)
    return spelled(node.value) if isinstance(node, ast.Subscript) else ""


def imported_names(source: Source) -> Iterator[tuple[int, str]]:
    """Every imported name in full, as (line, `package.module.name`)."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


# ----------------------------------------------------------------------------------------------------- rules


VAGUE_WORDS = {"manager", "helper", "helpers", "util", "utils", "common", "base", "processor", "service"}
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")  # base62 is a word of its own, not a base


def names(source: Source) -> Iterator[Finding]:
    """Names say what a thing is: no manager, helper, util, common, base, processor, service, …Data, …Info."""
    speaks_http = source.path.startswith("gateway/") or "http" in source.path
    definitions = [node for node in ast.walk(source.tree) if isinstance(node, (ast.ClassDef, *FUNCTION))]
    module = source.module.rpartition(".")[2]
    for line, name in [(1, module), *((node.lineno, node.name) for node in definitions)]:
        words = [word.lower() for word in WORDS.findall(name)]
        for word in VAGUE_WORDS.intersection(words):
            yield line, f"`{name}` says `{word}`, which anything could be: name what it does or is"
        if not speaks_http and {"handler", "handlers"}.intersection(words):
            yield line, f"`{name}` says `handler` outside HTTP: name what happens"
        if words and words[-1] in {"data", "info"}:
            yield line, f"`{name}` ends in `{words[-1]}`: name the thing itself"


def file_length(source: Source) -> Iterator[Finding]:
    """A file tells one story in at most 400 lines."""
    count = len(source.text.splitlines())
    if count > FILE_LINES:
        yield FILE_LINES, f"{count} lines, at most {FILE_LINES}: split it where its second story starts"


def function_length(source: Source) -> Iterator[Finding]:
    """A function fits a screen: at most 70 lines, better 30."""
    for node in functions(source):
        count = (node.end_lineno or node.lineno) - node.lineno + 1
        if count > FUNCTION_LINES:
            yield (
                node.lineno,
                f"`{node.name}` has {count} lines, at most {FUNCTION_LINES}: give its steps names",
            )


def parameter_count(source: Source) -> Iterator[Finding]:
    """At most 5 parameters, 7 with keyword-only ones; more are a value with a name."""
    for node in functions(source):
        positional = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args)]
        if positional[:1] in (["self"], ["cls"]):
            del positional[0]
        count = len(positional) + len(node.args.kwonlyargs)
        if len(positional) > PARAMETERS or count > PARAMETERS_WITH_KEYWORDS:
            yield node.lineno, f"`{node.name}` takes {count} parameters: put them into a frozen dataclass"


def task_groups(source: Source) -> set[str]:
    """The names that hold a TaskGroup: entered, annotated or made as one, or assigned from such a name."""
    held: list[tuple[ast.AST | None, ast.AST | None]] = []
    for node in ast.walk(source.tree):
        if isinstance(node, ast.AsyncWith):
            held += [(item.optional_vars, item.context_expr) for item in node.items]
        elif isinstance(node, ast.Assign):
            held += [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            held.append((node.target, node.annotation))
        elif isinstance(node, ast.arg):
            held.append((ast.Name(node.arg), node.annotation))
    pairs = [(spelled(name), spelled(value)) for name, value in held if name and value]
    groups = {name for name, value in pairs if value.endswith("TaskGroup")}
    return groups | {name for name, value in pairs if value in groups}


def tasks(source: Source) -> Iterator[Finding]:
    """Tasks live in an asyncio.TaskGroup, so that none outlives its parent and no error is lost."""
    groups = task_groups(source)
    for node in ast.walk(source.tree):
        if not isinstance(node, ast.Call):
            continue
        receiver, _, called = spelled(node.func).rpartition(".")
        if called in {"gather", "ensure_future"}:
            yield node.lineno, f"`{called}` loses siblings and errors: use asyncio.TaskGroup"
        if called == "create_task" and receiver not in groups:
            yield (
                node.lineno,
                "`create_task` outside a TaskGroup: open one, or say whose task this is in ALLOWED",
            )


def money_is_whole(source: Source) -> Iterator[Finding]:
    """Money is int micros; a float is made only where a number leaves or enters as JSON."""
    if source.path in {"lexchange/money.py", "gateway/wire.py"}:
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and spelled(node.func) == "float":
            yield node.lineno, "`float(` outside money.py and wire.py: keep int micros (money.parse_micros)"


WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}


def one_clock(source: Source) -> Iterator[Finding]:
    """Instants come from the injected Clock, so that a test can set them."""
    if source.path == "lexchange/clock.py":
        return
    advice = "reads the wall clock: take a Clock and call now_ms()"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and ".".join(spelled(node).split(".")[-2:]) in WALL_CLOCKS:
            yield node.lineno, f"`{spelled(node)}` {advice}"
    for line, name in imported_names(source):
        if name in WALL_CLOCKS:
            yield line, f"`{name}` {advice}"


CONNECTING = {
    "create_connection",
    "create_datagram_endpoint",
    "create_unix_connection",
    "open_connection",
    "open_unix_connection",
    "sock_connect",
    "urlopen",
}


def one_way_out(source: Source) -> Iterator[Finding]:
    """Only buyers/client opens connections, because it checks every address first."""
    if source.path.startswith(("lexchange/buyers/client.py", "lexchange/buyers/client/")):
        return
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Call) and spelled(node.func).rpartition(".")[2] in CONNECTING:
            yield (
                node.lineno,
                f"`{spelled(node.func)}` reaches the network: go through lexchange.buyers.client",
            )


EXCEPTION = re.compile(
    r"#\s*(?:ruff:\s*)?noqa(?::\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?|#\s*(?:type|mypy):\s*ignore[\w-]*(?:\[[^]]*\])?"
)


def reasons_for_exceptions(source: Source) -> Iterator[Finding]:
    """A lint exception says why, on its line: `# noqa: BLE001 - a buyer may raise anything`."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and EXCEPTION.search(token.string):
            reason = re.findall(r"\w{2,}", EXCEPTION.sub("", token.string))
            if len(reason) < 2:
                yield token.start[0], "lint exception without a reason: add ` - why` on the same line"


# Each rule with a file it must refuse.
RULES: list[tuple[Rule, str]] = [
    (names, "class BuyerManager: ..."),
    (names, "def on_reply_handler(): ..."),
    (names, "class LeadInfo: ..."),
    (file_length, "\n" * (FILE_LINES + 1)),
    (function_length, "def long():\n" + "    pass\n" * FUNCTION_LINES),
    (parameter_count, "def many(a, b, c, d, e, f): ..."),
    (parameter_count, "def many(self, a, *, b, c, d, e, f, g, h): ..."),
    (tasks, "asyncio.gather(a(), b())"),
    (tasks, "asyncio.create_task(a())"),
    (tasks, "self._loop.create_task(a())"),
    (money_is_whole, "float(bid)"),
    (one_clock, "started = time.time()"),
    (one_clock, "now = datetime.datetime.now(UTC)"),
    (one_clock, "from time import time"),
    (one_way_out, "await asyncio.open_connection(host, 80)"),
    (reasons_for_exceptions, "import os  # noqa: F401"),
    (reasons_for_exceptions, "x = y  # type: ignore[attr-defined]"),
]


def places(source: Source, line: int) -> Iterator[str]:
    """Where an entry of ALLOWED may stand for a line: its file, or the functions around it."""
    yield source.path
    around = (node for node in functions(source) if node.lineno <= line <= (node.end_lineno or line))
    yield from (f"{source.path}::{node.name}" for node in around)


def report(problems: list[str]) -> None:
    """Fail with the list alone: a traceback of this file would tell nobody anything."""
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


# ----------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _ in RULES), ids=lambda rule: rule.__name__)
def test_product_code_keeps(rule: Rule) -> None:
    """Every file of lexchange/ and gateway/ keeps the rule, or has its reason in ALLOWED."""
    problems, used = [], set()
    for source in product_sources():
        for line, what in rule(source):
            excused = {(rule.__name__, place) for place in places(source, line)} & ALLOWED.keys()
            used |= excused
            if not excused:
                problems.append(f"{source.path}:{line} {what}")
    stale = {key for key in ALLOWED if key[0] == rule.__name__} - used
    report(problems + [f"ALLOWED has {key}, which nothing needs: take it out" for key in sorted(stale)])


@pytest.mark.parametrize(("rule", "bad"), RULES, ids=[rule.__name__ for rule, _ in RULES])
def test_rule_refuses(rule: Rule, bad: str) -> None:
    """A rule that cannot fail guards nothing."""
    assert list(rule(parse("lexchange/example.py", bad)))


def test_rules_accept_what_the_house_does() -> None:
    """Task groups in any spelling, exceptions with reasons, and methods with five parameters pass."""
    good = """
async def pings(self, a, b, c, d, e, *, f, g):
    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
    self._tasks = asyncio.TaskGroup()
    self._tasks.create_task(ask())

def keep(self, background: asyncio.TaskGroup):
    self._background = background
    self._background.create_task(_base62())
    risky()  # noqa: BLE001 - a buyer may raise anything
"""
    source = parse("lexchange/example.py", good)
    assert [finding for rule, _ in RULES for finding in rule(source)] == []


def test_every_exception_to_a_lint_has_its_reason() -> None:
    """Tests and benchmarks owe reasons for lint exceptions too."""
    files = [file for folder in ("tests", "bench") for file in sorted((ROOT / folder).rglob("*.py"))]
    sources = [parse(file.relative_to(ROOT).as_posix(), file.read_text("utf-8")) for file in files]
    report([f"{s.path}:{line} {what}" for s in sources for line, what in reasons_for_exceptions(s)])


def test_every_module_is_imported_by_something() -> None:
    """A module that nothing imports is dead, or a `__main__`."""
    sources = product_sources()
    wanted = {name for source in sources for _, name in imported_names(source)}
    wanted |= {name.rpartition(".")[0] for name in wanted}
    report(
        [
            f"{source.path}:1 imported by nothing: use it or delete it"
            for source in sources
            if source.module not in wanted and not source.path.endswith(("/__main__.py", "/__init__.py"))
        ]
    )


def tracked_files() -> list[Path]:
    """What git has or is about to have; nothing outside a clone, where there is nothing to keep clean."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    found = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    files = (ROOT / name for name in found.stdout.split("\0") if name)
    return [file for file in files if file.is_file()]


# In pieces, so that this file does not find itself.
HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "registry." + "npmjs", "deb." + "debian.org"]
HOSTS += ["proxy.golang" + ".org", "crates" + ".io"]
FOREIGN = re.compile("|".join([*map(re.escape, HOSTS), r"(?<![\w.~/-])/(?:work|root)" + "/"]))


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    """A clone works behind any mirror and in any folder."""
    problems = []
    for file in tracked_files():
        text = file.read_bytes().decode("utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1) if FOREIGN.search(text) else ():
            if found := FOREIGN.search(line):
                problems.append(f"{file.relative_to(ROOT)}:{number} names `{found[0]}`: leave it to configuration")
    report(problems)
