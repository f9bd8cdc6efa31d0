"""Writes the pages that say what the code says, from the code: `python docs/build.py`, or with `--check` to compare.

    reference.md   the Python interface: public names, signatures, docstrings
    methods.md     probes, attacks, mitigations, explainers, planted faults: question, source, needs, settings, metrics
    figures.md     the tables of metrics, and in README.md the table of probes, between markers; the rest of those
                   pages is written by hand
    systems.md     reproductions/results.json in words, where that file is there
    findings.schema.json   the shape of findings.json

Only what ships with Muroan is on these pages; methods of installed plugins are left out.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import enum
import importlib
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import muroan
from muroan import registry
from muroan.data.benchmarks import BENCHMARKS
from muroan.interventions.perturbations import TABLE
from muroan.report import schema

DOCS = Path(__file__).resolve().parent
RESULTS = DOCS.parent / "reproductions" / "results.json"
README = DOCS.parent / "README.md"
BEGIN, END = "<!-- from here written by docs/build.py -->", "<!-- to here -->"
WRITTEN = "<!-- Written by docs/build.py from the code. Change the code, then run `make docs`. -->\n"

PERTURBATIONS = (
    "What `robustness.corruptions` changes, and others borrow from: one table. Rows that want something take it from "
    "the probe's setting `given`, as `given: [[frost, ./frost]]`."
)
COPIES = (
    "Published benchmarks that are read from your own copy, as `NAME:FOLDER?split=...`. `size=` sets the side that "
    "pictures are scaled to, `answers=FILE` the labels in the order of your model's scores, `partial=true` takes a "
    "copy that lacks something."
)
GROUPS: dict[str, list[str]] = {
    "Auditing": ["audit", "AuditRun", "Gate"],
    "Hardening": ["harden", "Mitigation", "Mitigated"],
    "What is found": ["Finding", "Metric", "Verdict", "Estimate"],
    "Models": ["Model", "TorchModel", "BlackBox", "Capability"],
    "Data": ["Table", "TableSpec", "open_table", "InMemory", "Splits", "Dataset", "Sample", "Schema", "Batch"],
    "Kinds of input": ["Modality", "Image", "Text", "Audio", "Tabular", "Series"],
    "Methods": [
        "Probe",
        "Observation",
        "Figure",
        "Rows",
        "Say",
        "Evidence",
        "Intervention",
        "Arrived",
        "Outcome",
        "outcome",
        "Attack",
        "Attacked",
        "Budget",
        "Explainer",
        "Attribution",
    ],
    "What methods work with, and are tested on": ["Clean", "Metered", "register", "Organism", "plant"],
    "References": ["open_model", "open_data"],
    "Errors": ["MuroanError"],
}
"""The names of `muroan.__all__` by what somebody wants to do with them; one that is in no group stands last."""
MODULES: dict[str, tuple[str, list[str]]] = {
    "muroan.data.inputs": (
        "What the columns of a table can be",
        ["ImageInput", "TextInput", "AudioInput", "TabularInput", "SeriesInput"],
    ),
    "muroan.data.spec": ("Parts of a table", ["SplitColumn"]),
    "muroan.errors": ("More errors", ["AskedWrongly", "CannotComplete", "BadSample", "NotApplicable"]),
    "muroan.estimate": ("Estimates", []),
    "muroan.checks": ("Conformance checks", []),
}
"""Modules whose names are public too: title, and names where the module has no `__all__` of its own."""


# Text from docstrings, as Markdown.


def doc(thing: Any) -> str:
    """A docstring as Markdown: code stays code, everything else means itself."""
    return markdown(inspect.cleandoc(thing.__doc__ or ""))


def markdown(text: str) -> str:
    out: list[str] = []
    for line in text.splitlines():
        if line.startswith("    ") or re.match(r"^\|.*\|$", line):
            out.append(line)
        else:
            pieces = re.split(r"(`[^`]*`)", line)
            out.append("".join(p if p.startswith("`") else escaped(p) for p in pieces))
    return "\n".join(out)


def escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("](", "]\\(").replace("<", "&lt;")


def cell(text: object) -> str:
    """Text in one cell of a table."""
    return " ".join(markdown(str(text)).replace("|", "\\|").split())


def table(head: list[str], rows: list[list[object]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return [*lines, *(f"| {' | '.join(cell(c) for c in row)} |" for row in rows)]


def attribute_docs(cls: type) -> dict[str, str]:
    """The strings that stand below attributes in a class body, those of its bases included."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not base.__module__.startswith("muroan"):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for before, after in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)):
                continue
            target = before.target if isinstance(before, ast.AnnAssign) else None
            if isinstance(before, ast.Assign):
                target = before.targets[0]
            if isinstance(target, ast.Name):
                found[target.id] = inspect.cleandoc(str(after.value.value))
    return found


# Signatures.


def shown_type(annotation: Any) -> str:
    if annotation is inspect.Parameter.empty:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\b(?:muroan|typing|collections|pathlib|os|torch|polars|numpy)(?:\.\w+)*\.(\w+)", r"\1", text)
    return text.strip("'")


class _Bare(ast.NodeTransformer):
    """`Annotated[X, ...]` as X."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "Annotated" and isinstance(node.slice, ast.Tuple):
            return node.slice.elts[0]
        return node


def written_type(cls: type, name: str) -> str:
    """A field's type as the class body has it, without what only validates it."""
    text = next(
        str(base.__annotations__[name]) for base in cls.__mro__ if name in vars(base).get("__annotations__", {})
    )
    return ast.unparse(_Bare().visit(ast.parse(text, mode="eval")))


def shown_default(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, frozenset | set):
        return "{" + ", ".join(sorted(map(shown_default, value))) + "}" if value else "{}"
    if callable(value):
        return getattr(value, "__name__", "...")
    return "..." if repr(value).startswith("<") else repr(value)


def parameters(thing: Any) -> list[str]:
    if isinstance(thing, type) and issubclass(thing, BaseModel):
        out = ["*"]
        for name, field in thing.model_fields.items():
            default = "" if field.is_required() else f" = {shown_default(field.get_default(call_default_factory=True))}"
            out.append(f"{name}: {written_type(thing, name)}{default}")
        return out
    out = []
    seen_star = False
    for p in inspect.signature(thing).parameters.values():
        if p.name == "self":
            continue
        if p.kind is p.KEYWORD_ONLY and not seen_star:
            out.append("*")
            seen_star = True
        seen_star |= p.kind is p.VAR_POSITIONAL
        star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        kind = shown_type(p.annotation)
        default = "" if p.default is p.empty else f" = {shown_default(p.default)}"
        out.append(f"{star}{p.name}{': ' + kind if kind else ''}{default}")
    return out


def signature(name: str, thing: Any) -> str:
    """A call, on one line where it fits."""
    words = parameters(thing)
    back = "" if isinstance(thing, type) else shown_type(inspect.signature(thing).return_annotation)
    tail = f" -> {back}" if back and back != "None" else ""
    line = f"{name}({', '.join(words)}){tail}"
    if len(line) <= 100:
        return line
    return f"{name}(\n" + "".join(f"    {w},\n" for w in words) + f"){tail}"


def members(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class defines itself."""
    for name, value in vars(cls).items():
        if name.startswith("_") or name in ("model_config", "model_fields"):
            continue
        plain = value.__func__ if isinstance(value, staticmethod | classmethod) else value
        if inspect.isfunction(plain) or isinstance(value, property) or type(value).__name__ == "cached_property":
            yield name, plain


def described(name: str, thing: Any) -> list[str]:
    """One public name: signature, docstring, and for a class its members."""
    lines = [f"### `{name}`", ""]
    if isinstance(thing, type) and issubclass(thing, enum.Enum):
        told = attribute_docs(thing)
        lines += [doc(thing), "", *table(["value", "meaning"], [[f"`{m.value}`", told.get(m.name, "")] for m in thing])]
        return [*lines, ""]
    if not (isinstance(thing, type) and issubclass(thing, Exception)):
        lines += ["```python", signature(name, thing), "```", ""]
    lines += [doc(thing), ""]
    if isinstance(thing, type) and not issubclass(thing, Exception):
        told = [(n, m) for n, m in members(thing) if doc(member_function(m))]
        for member, value in told:
            function = member_function(value)
            call = signature(member, function) if inspect.isfunction(value) else member
            lines += [f"- **`{' '.join(call.split())}`**: {' '.join(doc(function).split())}"]
        lines += [""] if told else []
    return lines


def member_function(value: Any) -> Any:
    return getattr(value, "fget", None) or getattr(value, "func", None) or value


def reference() -> str:
    """The Python interface."""
    grouped = [n for names in GROUPS.values() for n in names]
    gone, new = sorted(set(grouped) - set(muroan.__all__)), [n for n in muroan.__all__ if n not in grouped]
    if gone:
        raise SystemExit(f"docs/build.py, GROUPS: muroan has no {', '.join(gone)}")
    lines = [
        WRITTEN,
        "# The Python interface",
        "",
        "Everything under the first headings is imported from `muroan` itself. Shapes: N samples, K classes, "
        "m a modality's name.",
        "",
    ]
    for title, names in (*GROUPS.items(), ("More", new)):
        lines += [f"## {title}", ""] if names else []
        for name in names:
            lines += described(name, getattr(muroan, name))
    for module_name, (title, names) in MODULES.items():
        module = importlib.import_module(module_name)
        lines += [f"## {title}: `{module_name}`", ""]
        if not names:
            lines += [doc(module), ""]
        for name in names or module.__all__:
            lines += described(name, getattr(module, name)) if name not in muroan.__all__ else []
    return "\n".join(lines).rstrip() + "\n"


# Methods.


def shipped(kind: str) -> dict[str, Any]:
    """Methods of a kind that are Muroan's own."""
    return {n: c for n, c in registry.methods(kind).items() if c.__module__.startswith("muroan.")}


def settings(cls: type) -> list[str]:
    told = attribute_docs(cls)
    rows: list[list[object]] = []
    for field in dataclasses.fields(cls):
        default = field.default if field.default is not dataclasses.MISSING else field.default_factory()  # type: ignore[misc]
        rows.append([f"`{field.name}`", f"`{shown_default(default)}`", told.get(field.name, "")])
    if not rows:
        return ["No settings."]
    # Many a probe says in its own text what its settings are.
    full = any(row[2] for row in rows)
    return (
        table(["setting", "default", "meaning"], rows) if full else table(["setting", "default"], [r[:2] for r in rows])
    )


def limit(metric: muroan.Metric) -> str:
    if metric.limit is None:
        return "none"
    return f"at {'most' if metric.better == 'lower' else 'least'} {metric.limit:g}"


def metric_rows(cls: type) -> list[str]:
    rows: list[list[object]] = [
        [f"`{m.name}`", m.says, m.unit, m.better, limit(m)]
        for m in sorted(cls.metrics, key=lambda m: m.limit is None)  # type: ignore[attr-defined]
    ]
    return table(["metric", "what it says", "unit", "better", "default limit"], rows)


def needs(cls: Any) -> str:
    words = sorted(c.value for c in cls.needs)
    return ", ".join(words) if words else "labels are enough"


def found_by(fault: str) -> str:
    """The shipped probes that are meant to find a fault."""
    names = [f"`{n}`" for n, c in shipped("probes").items() if fault in c.finds]
    return ", ".join(names) if names else "none yet"


def methods() -> str:
    """Probes by pillar, attacks, explainers."""
    lines = [
        WRITTEN,
        "# Methods",
        "",
        "What `muroan list` shows, at length. Settings are given as `--probe NAME:setting=value`, in `audit.yaml`, or "
        "in Python as `{name: {setting: value}}`.",
        "",
    ]
    probes = shipped("probes")
    for pillar in registry.PILLARS:
        here = {n: c for n, c in probes.items() if c.place.split("/")[0] == pillar}
        lines += [f"## {pillar.capitalize()}", ""] + ([] if here else ["No probe yet.", ""])
        for name, cls in here.items():
            facts = [f"- place: {cls.place}", f"- source: {markdown(cls.source)}", f"- needs: {needs(cls)}"]
            facts += [f"- data: {', '.join(cls.splits)}"]
            if cls.finds:
                facts += [f"- should find: {', '.join(f'`{f}`' for f in cls.finds)}"]
            if cls.joins:
                facts += [f"- also reads, where they were audited: {', '.join(cls.joins)}"]
            lines += [f"### `{name}`", "", f"**{cls.question}**", "", doc(cls), "", *facts, ""]
            lines += [*settings(cls), "", *metric_rows(cls), ""]
    lines += ["## Planted faults", "", "What probes are tested on (`muroan selftest`, [results](selftest.md)).", ""]
    faults: list[list[object]] = [
        [f"`{n}`", c.fault, c.dose, ", ".join(f"{d:g}" for d in c.doses), f"{c.matters:g}", c.bed.name, found_by(n)]
        for n, c in shipped("organisms").items()
    ]
    lines += [*table(["fault", "what is wrong", "dose", "doses", "matters from", "planted in", "found by"], faults), ""]
    lines += ["## Mitigations", "", "What `muroan harden MODEL DATA --with NAME:setting=value` applies.", ""]
    for name, cls in shipped("mitigations").items():
        facts = [f"- source: {markdown(cls.source)}", f"- needs: {needs(cls)}"]
        better = [f"`{p}` (" + ", ".join(m) + ")" for p, m in cls.improves.items()]
        facts += [f"- improves: {', '.join(better)}"]
        if cls.removes:
            facts += [f"- should remove: {', '.join(f'`{f}`' for f in cls.removes)}"]
        lines += [f"### `{name}`", "", f"**{cls.does}**", "", doc(cls), "", *facts, "", *settings(cls), ""]
    lines += ["## Interventions", "", "Named changes of inputs that probes ask about.", ""]
    changes: list[list[object]] = [[f"`{n}`", c.does, markdown(c.source)] for n, c in shipped("interventions").items()]
    lines += [*table(["name", "does", "source"], changes), ""]
    lines += ["## Perturbations", "", PERTURBATIONS, ""]
    rows: list[list[object]] = [
        [f"`{p.name}`", p.kind, p.family, "; ".join(map(str, p.levels)), p.source, p.wants or ""] for p in TABLE
    ]
    lines += [*table(["name", "of", "imitates", "constants at severity 1, 2, ...", "source", "wants"], rows), ""]
    lines += ["## Benchmarks", "", COPIES]
    held: list[list[object]] = [
        [f"`{b.name}`", b.says, b.source, b.home, b.layout, ", ".join(f"{s} ({n or '?'})" for s, n in b.counts.items())]
        for _, b in sorted(BENCHMARKS.items())
    ]
    lines += ["", *table(["name", "asks", "source", "where to get it", "the folder holds", "splits (items)"], held), ""]
    for kind in ("attacks", "explainers"):
        lines += [f"## {kind.capitalize()}", ""]
        for name, cls in shipped(kind).items():
            lines += [f"### `{name}`", "", doc(cls), "", f"- place: {cls.place}", f"- source: {markdown(cls.source)}"]
            lines += [f"- needs: {needs(cls)}", "", *settings(cls), ""]
    return "\n".join(lines).rstrip() + "\n"


def between(path: Path, lines: list[str]) -> str:
    """A page by hand with the part between its markers replaced."""
    head, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{path.name} has lost its markers")
    return head + BEGIN + "\n\n" + "\n".join(lines).rstrip() + "\n\n" + END + tail


def figures() -> str:
    """The page by hand with its tables of metrics."""
    lines: list[str] = []
    for name, cls in shipped("probes").items():
        lines += [f"### `{name}`", "", cls.question, "", *metric_rows(cls), ""]
    return between(DOCS / "figures.md", lines)


def readme() -> str:
    """The page by hand with its table of probes."""
    probes = sorted(shipped("probes").items(), key=lambda item: registry.PILLARS.index(item[1].place.split("/")[0]))
    rows: list[list[object]] = [[c.place.split("/")[0], f"`{n}`", c.question, needs(c)] for n, c in probes]
    return between(README, table(["pillar", "probe", "asks", "needs"], rows))


# Reproductions.


def verdict(found: Any) -> str:
    return "; ".join(f"{k}: {v}" for k, v in found.items()) if isinstance(found, Mapping) else str(found)


def tree(value: Any, depth: int = 0) -> Iterator[str]:
    """Nested figures as a list. Deep or long ones stay on one line."""
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value, 1)
    for key, inner in pairs:
        plain = not isinstance(inner, Mapping | list) or not inner
        short = json.dumps(inner, ensure_ascii=False)
        start = f"{'  ' * depth}- {markdown(str(key))}:"
        if plain or (isinstance(inner, list) and len(short) <= 120) or depth >= 4:
            yield f"{start} {markdown(short if isinstance(inner, list | Mapping) else str(inner))}"
        else:
            yield start
            yield from tree(inner, depth + 1)


def systems() -> str:
    """Which claims of published systems were measured here, and what came of them."""
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = found["rows"]
    counts: dict[str, int] = {}
    for r in rows:
        for v in r["verdict"].values() if isinstance(r["verdict"], Mapping) else [r["verdict"]]:
            counts[str(v).split(":")[0]] = counts.get(str(v).split(":")[0], 0) + 1
    lines = [
        WRITTEN,
        "# Systems of the taxonomy, measured here",
        "",
        "Each row is a published method that Muroan implements: what it claims, measured by one script on real data "
        "that ship with Muroan's dependencies. A claim that does not hold here is shown like any other; nothing was "
        "tuned until it held. These are small models and small data: a row says that the method is built as "
        "described and behaves so here, not that its paper's figures are confirmed.",
        "",
        f"Measured with Muroan {found['muroan']} and torch {found['torch']}. "
        + "; ".join(f"{v}: {n}" for v, n in sorted(counts.items()))
        + ". Measure again with `make reproductions`.",
        "",
        *table(
            ["row", "claim", "source", "verdict"],
            [[r["row"], r["claim"], r["source"], verdict(r["verdict"])] for r in rows],
        ),
        "",
    ]
    if found.get("unmeasured"):
        without: list[list[object]] = [[row, why] for row, why in found["unmeasured"].items()]
        lines += [
            "Rows of the taxonomy's robustness part without a script, and why:",
            "",
            *table(["row", "why"], without),
            "",
        ]
    for r in rows:
        lines += [f"## {r['row']}", "", f"{markdown(r['claim'])}", ""]
        lines += [f"- verdict: **{markdown(verdict(r['verdict']))}**"]
        told = {k: v for k, v in r.items() if k not in ("row", "claim", "verdict", "command", "measured", "script")}
        lines += [*tree(told), f"- command: `{r['command']}`"]
        if r.get("measured"):
            lines += ["", "Measured:", "", *tree(r["measured"])]
        lines += [""]
    return "\n".join(lines).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Every page that is written from the code, as it should be."""
    out = {DOCS / "reference.md": reference(), DOCS / "methods.md": methods(), DOCS / "figures.md": figures()}
    out[README] = readme()
    out[DOCS.parent / schema.PUBLISHED] = schema.text()
    if RESULTS.is_file():
        out[DOCS / "systems.md"] = systems()
    return out


def stale() -> list[str]:
    """Names of the pages that are not as they should be."""
    return [p.name for p, text in pages().items() if not p.is_file() or p.read_text(encoding="utf-8") != text]


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the pages that come from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; end with 1 if a page is out of date")
    if parser.parse_args().check:
        old = stale()
        if old:
            print(f"out of date: {', '.join(old)}; run `make docs`", file=sys.stderr)
        return 1 if old else 0
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
