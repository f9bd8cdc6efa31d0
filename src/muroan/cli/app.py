"""The commands of `muroan`. Exit codes: 0 all limits hold, 1 a limit is broken, 2 asked wrongly, 3 undecided under
a strict gate, 4 the audit could not be completed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muroan.cli.ending import errors, say

if TYPE_CHECKING:
    from rich.console import Console

    from muroan.api import AuditRun

app = typer.Typer(
    name="muroan",
    help="Where is this multimodal model unsafe, how sure are we, what makes it safer?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[
    Path | None, typer.Option("--out", help="Run directory; given again, the audit goes on where it stopped.")
]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Audit a random subset of this many samples.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Of every random choice; 0 if left out.")]
Probes = Annotated[
    list[str] | None,
    typer.Option("--probe", help="NAME or NAME:setting=value,...; again for more. All probes if left out."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no table; only errors and the exit code.")]


def _version(wanted: bool) -> None:
    if wanted:
        from muroan.version import __version__

        typer.echo(f"muroan {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def _console() -> Console:
    from rich.console import Console

    console = Console()
    # Where there is no terminal nobody's lines are too narrow for a table.
    return console if console.is_terminal else Console(width=max(console.width, 140))


def _show(done: AuditRun, quiet: bool) -> None:
    if quiet:
        return
    from muroan.report import summary_table

    console = _console()
    console.print(summary_table(done.result))
    say(f"report: {done.path / 'report.html'}")
    say(f"{done.result.summary.why} (exit code {done.exit_code})")


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Run directory.")] = Path("demo-run"),
    limit: Limit = None,
    seed: Seed = None,
    quiet: Quiet = False,
) -> None:
    """Audit what ships: a real visual question answering model on the easy-VQA test data.

    Ends with 0 once the audit is complete, whatever it finds: the model is there to be found wanting.
    """
    with errors(out):
        from muroan.api import audit as carry

        done = carry("easy-vqa", "easy-vqa", out=out, limit=limit, seed=seed or 0, show_progress=not quiet)
        _show(done, quiet)
        if not quiet and done.exit_code:
            say(f"(as a step of a pipeline, `muroan audit` would end with {done.exit_code} here)")
        raise typer.Exit(4 if done.exit_code == 4 else 0)


@app.command()
def audit(
    model: Annotated[str, typer.Argument(help="MODEL reference, an audit.yaml, or a run directory to go on with.")],
    data: Annotated[
        str | None, typer.Argument(help="DATA reference: a name, or a table with its .yaml beside it.")
    ] = None,
    probe: Probes = None,
    gate: Annotated[Path | None, typer.Option("--gate", help="YAML file of limits per metric.")] = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Data on which thresholds are fitted.")] = None,
    members: Annotated[str | None, typer.Option("--members", help="A sample of the model's training data.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="NAME=DATA, for what asks for a split of that name; again for more."),
    ] = None,
    out: Out = None,
    engine: Annotated[str, typer.Option("--engine", help="Where shards are worked on.")] = "local",
    limit: Limit = None,
    seed: Seed = None,
    strict: Annotated[bool, typer.Option("--strict", help="Undecided limits end with exit code 3.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would take.")] = False,
    quiet: Quiet = False,
) -> None:
    """Audit a model on data and end with an exit code that a pipeline understands."""
    with errors():
        from muroan.auditing.request import request

        asked = request(
            model,
            data,
            probes=probe,
            gate=gate,
            reference=reference,
            members=members,
            splits=split,
            out=out,
            limit=limit,
            seed=seed,
            strict=strict,
        )
    with errors(asked.out):
        plan = asked.plan()
        if dry_run:
            from muroan.auditing.trial import trial
            from muroan.cli.tables import cost_table

            _console().print(cost_table(trial(plan), len(plan.data.audited)))
            return
        from muroan.api import carry_out

        if not quiet:
            say(f"run directory: {asked.out}")
        done = carry_out(plan, asked.out, engine=engine, show_progress=not quiet)
        _show(done, quiet)
        raise typer.Exit(done.exit_code)


@app.command("list")
def list_(
    what: Annotated[
        str,
        typer.Argument(
            help="probes, attacks, explainers, mitigations, organisms, perturbations, models, datasets or benchmarks."
        ),
    ] = "all",
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """What there is: probes with their questions, attacks, mitigations, planted faults, models, data, benchmarks."""
    with errors():
        from muroan.cli.tables import listing, listing_tables

        found = listing(what)
        if json:
            import json as js

            typer.echo(js.dumps(found, indent=1))
            return
        for table in listing_tables(found):
            _console().print(table)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    gate: Annotated[Path | None, typer.Option("--gate", help="Judge the same evidence by other limits.")] = None,
    quiet: Quiet = False,
) -> None:
    """Draw the conclusions and the page again, from the evidence alone."""
    with errors():
        from muroan.api import draw_again
        from muroan.auditing.gate import read_gate
        from muroan.auditing.store import Run

        done = draw_again(Run(run), gate=read_gate(gate) if gate else None)
        _show(done, quiet)
        raise typer.Exit(done.exit_code)


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="Run directory.")],
    after: Annotated[Path, typer.Argument(help="Run directory of the same samples.")],
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Compare two audits sample by sample; ends with 1 if anything got worse beyond doubt."""
    with errors():
        from muroan.auditing.diff import compare
        from muroan.auditing.store import Run

        found = compare(Run(before), Run(after))
        if json:
            typer.echo(found.model_dump_json(indent=1))
        else:
            from muroan.cli.tables import diff_table

            _console().print(diff_table(found))
            say(found.why)
        raise typer.Exit(1 if found.worse else 0)


@app.command()
def harden(
    model: Annotated[str, typer.Argument(help="MODEL reference.")],
    data: Annotated[str, typer.Argument(help="DATA reference; its members train, what is audited is held out.")],
    with_: Annotated[
        list[str], typer.Option("--with", help="NAME[,NAME...] or NAME:setting=value,...; again for more, in order.")
    ],
    probe: Probes = None,
    reference: Annotated[str | None, typer.Option("--reference", help="Data on which thresholds are fitted.")] = None,
    members: Annotated[str | None, typer.Option("--members", help="Data to train on.")] = None,
    out: Out = None,
    limit: Limit = None,
    seed: Seed = None,
    strict: Annotated[bool, typer.Option("--strict", help="End with 3 where nothing promised improved.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    quiet: Quiet = False,
) -> None:
    """Apply mitigations, save the safer model, audit before and after: what improved, and what did it cost?

    OUT/model is a MODEL reference. Ends with 1 if something that a mitigation promises to improve got worse.
    """
    with errors(out):
        from muroan.auditing.request import fresh_folder
        from muroan.hardening import harden as carry

        where = out or fresh_folder(model, "harden-")
    with errors(where):
        if not quiet:
            say(f"directory: {where}", error=json)
        done = carry(
            model,
            data,
            with_,
            probes=probe,
            reference=reference,
            members=members,
            out=where,
            limit=limit,
            seed=seed or 0,
            show_progress=not quiet,
        )
        if json:
            typer.echo(done.outcome.model_dump_json(indent=1))
        elif not quiet:
            from muroan.cli.tables import attacked_table, harden_table

            _console().print(harden_table(done.outcome))
            if done.outcome.attacked:
                _console().print(attacked_table(done.outcome))
            else:
                say(f"not attacked before and after: {done.outcome.not_attacked}")
            for note in done.outcome.notes:
                say(note)
            say(f"model: {done.path / 'model'}")
            say(done.outcome.why)
        raise typer.Exit(done.exit_code if strict or done.exit_code != 3 else 0)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run directory.")],
    sample: Annotated[str, typer.Argument(help="Sample id, as the evidence has it.")],
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """One sample: what the model said, what every probe saw, and which modality and parts spoke for it."""
    with errors():
        from muroan.auditing.explain import explain as story
        from muroan.auditing.store import Run

        found = story(Run(run), sample)
        if json:
            typer.echo(found.model_dump_json(indent=1))
            return
        from muroan.cli.tables import story_tables

        for part in story_tables(found):
            _console().print(part)


@app.command()
def selftest(
    probe: Annotated[
        list[str] | None, typer.Option("--probe", help="NAME of a probe to examine; again for more. All if left out.")
    ] = None,
    fault: Annotated[
        list[str] | None, typer.Option("--fault", help="NAME of a planted fault; again for more. All if left out.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the dose that matters; under three minutes.")] = False,
    out: Annotated[Path, typer.Option("--out", help="Keeps every trial; given again, goes on there.")] = Path(
        "selftest-run"
    ),
    page: Annotated[
        Path | None, typer.Option("--page", help="Markdown page to write, pictures beside it; OUT/selftest.md if none.")
    ] = None,
    seeds: Annotated[int | None, typer.Option("--seeds", min=1, help="No more than so many of anything.")] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.1, help="Begin nothing new after this; seeds as time allows.")
    ] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one a core if left out.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    quiet: Quiet = False,
) -> None:
    """Audit the auditor: plant known faults, measure what each probe finds, misses, and cries wolf about.

    Ends with 0, or with 1 if a probe misses a fault that it is meant to find or alarms about clean twins too often.
    """
    with errors(out):
        from muroan.selftest import examine, organisms
        from muroan.selftest.page import command, write

        result = examine(
            probe, fault, out=out, quick=quick, seeds=seeds, minutes=minutes, workers=workers, show_progress=not quiet
        )
        again = command(probe, fault, quick=quick, seeds=seeds, minutes=minutes, page=page)
        written = write(page or out / "selftest.md", result, organisms(fault), again)
        if json:
            typer.echo(result.model_dump_json(indent=1))
        elif not quiet:
            from muroan.cli.tables import selftest_tables

            for table in selftest_tables(result):
                _console().print(table)
            say(f"page: {written[0]}")
        raise typer.Exit(result.exit_code)
