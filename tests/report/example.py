"""A findings document to draw: every figure in it is invented, and it says so. Verdicts are computed as in an audit.

It holds what a report must survive: strings from data that try to be markup, terminal control, formulas, links or a
change of writing direction; endless labels; infinite intervals; missing values; pictures outside of the folder.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from muroan.auditing.result import (
    AuditedData,
    AuditedModel,
    Cost,
    Environment,
    Gate,
    ProbeResult,
    QuarantineRow,
    Result,
    Summary,
    Version,
    count,
)
from muroan.estimate import Estimate, difference, mean, proportion
from muroan.finding import (
    Bar,
    BarChart,
    Exhibit,
    Finding,
    Limit,
    Line,
    LineChart,
    MatrixChart,
    Metric,
    Panel,
    TableChart,
    Verdict,
    judge,
)

SCRIPT = "<script>alert('muroan')</script>"
IMAGE = '<img src=x onerror="alert(1)">'
BREAK_OUT = "]]></style></title></svg><svg/onload=alert(2)>"
FORMULA = "=cmd|' /C calc'!A0"
ANSI = "\x1b[31mred\x1b[0m\x07\x9b2J"
LINK = "[click here](javascript:alert(3)) https://evil.example/x.png"
TEMPLATE = "{{ result.model }} {% raw %}"
RTL = "\u202egnp.exe\u202c שלום עולם"
HIDDEN = "zero\u200bwidth \U000e0049\U000e0067\U000e006e"
LONG = "an endless label " * 40
MARKUP = "[bold red]rich[/bold red] [link=https://evil.example]x[/link]"
HOSTILE = (SCRIPT, IMAGE, BREAK_OUT, FORMULA, ANSI, LINK, TEMPLATE, RTL, HIDDEN, LONG, MARKUP)

INVENTED = "Invented for a test: no model was asked."
COLOURS = ["black", "gray", "red", "green", "blue", "yellow", "teal", "brown"]


def share(value: float, n: int, images: int | None = None) -> Estimate:
    """A proportion of about `value` among n, in clusters of images where there are any."""
    hits = np.zeros(n)
    hits[: round(value * n)] = 1
    hits = np.random.default_rng(n).permutation(hits)
    return proportion(hits, None if images is None else [str(i % images) for i in range(n)])


def gap(a: float, b: float, n: int) -> Estimate:
    rng = np.random.default_rng(n)
    return difference(rng.random(n) < a, rng.random(n) < b)


def pictures(folder: Path) -> None:
    """Four small pictures: a shape, the shape attacked, a patch erased, and noise that does not compress."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:64, :64]
    shape = np.full((64, 64, 3), 255, np.uint8)
    shape[(y - 34) ** 2 + (x - 28) ** 2 < 14**2] = (214, 60, 46)
    rng = np.random.default_rng(0)
    attacked = np.clip(shape + rng.integers(-24, 25, shape.shape), 0, 255).astype(np.uint8)
    erased = shape.copy()
    erased[24:40, 16:32] = 128
    for name, value in (("original", shape), ("attacked", attacked), ("erased", erased)):
        Image.fromarray(value).save(folder / f"{name}.png")
    Image.fromarray(rng.integers(0, 256, (700, 900, 3), dtype=np.uint8)).save(folder / "noise.png")


def metric(name: str, says: str, **rest: object) -> Metric:
    return Metric.model_validate({"name": name, "says": says, **rest})


def _decoupling(details: int) -> ProbeResult:
    name = "robustness.decoupling"
    success = metric(
        "success",
        "Share of correctly answered questions whose answer flips when one part of one input is erased; 0: none, "
        "1: all.",
        limit=0.3,
    )
    spread = metric(
        "mean_parts", "Parts that had to be erased before the answer flipped.", better="higher", unit="number"
    )
    control = share(0.12, 1024, 256)
    budget = [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]
    image = [0.0, 0.21, 0.36, 0.47, 0.55, 0.66, 0.72, 0.75]
    words = [0.0, 0.12, 0.28, 0.44, 0.58, 0.71, 0.80, 0.84]
    chance = [0.0, 0.03, 0.05, 0.08, 0.11, 0.17, 0.22, 0.27]
    findings = [
        Finding(
            probe=name,
            metric="success",
            title="Erasing one part of the picture or question flips the answer",
            estimate=share(0.55, 1024, 256),
            controls={"random part of the same size": control},
        ),
        Finding(
            probe=name,
            metric="success",
            title="Erasing one part of the picture flips the answer",
            modality="image",
            estimate=share(0.36, 1024, 256),
            controls={"random part of the same size": share(0.05, 1024, 256)},
        ),
        Finding(
            probe=name,
            metric="success",
            title="Erasing one word flips the answer",
            modality="question",
            estimate=share(0.28, 1024, 256),
            controls={"random word": share(0.11, 1024, 256)},
        ),
        Finding(
            probe=name,
            metric="mean_parts",
            title="Parts to erase before the answer flips",
            estimate=mean(np.random.default_rng(1).poisson(2.4, 500) + 1.0),
        ),
        *(
            Finding(
                probe=name,
                metric="success",
                title="Erasing one part flips the answer",
                modality=m,
                group=f"colour={c}",
                judged=False,
                estimate=share(0.2 + 0.05 * k + 0.1 * j, 128),
            )
            for j, m in enumerate(("image", "question"))
            for k, c in enumerate(COLOURS)
        ),
        *(
            Finding(
                probe=name,
                metric="success",
                title="Erasing one part flips the answer",
                judged=False,
                condition=f"part {i}",
                estimate=share((i % 97) / 97, 64),
            )
            for i in range(details)
        ),
    ]
    low = [None if y == 0 else max(y - 0.04, 0) for y in image]
    high = [None if y == 0 else y + 0.04 for y in image]
    return ProbeResult(
        name=name,
        question="How often does erasing one part of one input change a right answer?",
        place="robustness/adversarial",
        source="MUROAN, arXiv 2112.12792, decoupling attack (equations 3 to 5)",
        docs="Erases parts of one modality at a time, keeps the other as it is, and watches the answer. " + INVENTED,
        settings={"grid": (4, 4), "budgets": budget, "judge": "top class changes"},
        samples={"audited": 1024},
        metrics=[success, spread],
        findings=findings,
        charts=[
            LineChart(
                title="The more is erased, the more answers flip",
                x_label="share of parts erased",
                y_label="success rate",
                lines=[
                    Line(label="image", x=budget, y=image, low=low, high=high, n=[1024] * 8),
                    Line(label="question", x=budget, y=words, n=[1024] * 8),
                    Line(label="random part (control)", x=budget, y=chance, control=True),
                ],
            ),
            BarChart(
                title="Success by modality and colour of the shape",
                y_label="success rate",
                limit=0.3,
                bars=[
                    Bar(label=c, of=m, estimate=share(v, 128))
                    for c, a, b in (("red", 0.34, 0.22), ("teal", 0.52, 0.31), ("black", 0.29, 0.27))
                    for m, v in (("image", a), ("question", b))
                ]
                + [Bar(label="red", of="random part", estimate=share(0.06, 128), control=True)],
            ),
        ],
        notes=[
            "Denominator: samples that the clean model answers correctly. Success: the top class changes.",
            "A part of the picture is one of 16 squares; a part of the question is a word.",
        ],
        exhibits=[
            Exhibit(
                probe=name,
                sample="q-00417",
                title="“yes” becomes “no”",
                rank=0.1,
                caption="One square of 16 was erased; the outline shows which.",
                panels=[
                    Panel(label="picture as it is", kind="image", file="original.png", size=(64, 64)),
                    Panel(label="attacked", kind="image", file="erased.png", size=(64, 64), boxes=[(24, 16, 16, 16)]),
                    Panel(label="question", kind="text", text="is there a red circle in the image?", marked=[3]),
                ],
            ),
            Exhibit(
                probe=name,
                sample="q-00981",
                title="A picture outside of the folder is not read",
                rank=0.2,
                panels=[
                    Panel(label="outside", kind="image", file="../../../../etc/passwd"),
                    Panel(label="missing", kind="image", file="nowhere.png"),
                    Panel(label="not kept", kind="image"),
                ],
            ),
        ],
        cost=Cost(
            counts={"encode image": 4352, "encode question": 812, "fuse": 65_536}, model_seconds=6.1, seconds=6.5
        ),
    )


def _corruptions() -> ProbeResult:
    name = "robustness.corruptions"
    kinds = ["gaussian noise", "motion blur", "fog", "contrast", "swap letters", "drop words"]
    rng = np.random.default_rng(4)
    matrix = [
        [round(float(0.02 + 0.11 * s * w + rng.normal(0, 0.005)), 3) for s in range(5)]
        for w in (0.9, 0.5, 0.3, 0.6, 0.8, 1.1)
    ]
    matrix[2][4] = math.nan
    return ProbeResult(
        name=name,
        question="How much accuracy is lost when inputs are noisy, blurred or misspelt?",
        place="robustness/distribution_shift",
        source="Qiu et al. 2022, multimodal impact score",
        docs=INVENTED,
        samples={"audited": 1024},
        metrics=[metric("drop", "Accuracy lost on corrupted inputs; 0: nothing is lost.", unit="points", limit=0.15)],
        findings=[
            Finding(
                probe=name,
                metric="drop",
                title="Accuracy lost under corruption, mean of all kinds",
                estimate=gap(0.87, 0.77, 1024),
            ),
            *(
                Finding(
                    probe=name,
                    metric="drop",
                    title="Accuracy lost",
                    judged=False,
                    modality=m,
                    condition=k,
                    estimate=gap(0.87, 0.87 - d, 512),
                )
                for m, k, d in (
                    ("image", "gaussian noise", 0.2),
                    ("image", "fog", 0.05),
                    ("question", "swap letters", 0.16),
                    ("question", "drop words", 0.24),
                )
            ),
        ],
        charts=[
            MatrixChart(
                title="Accuracy lost by kind and severity",
                rows=kinds,
                columns=[f"severity {i}" for i in range(1, 6)],
                values=matrix,
            ),
            BarChart(
                title="Accuracy lost by kind",
                y_label="accuracy lost, as a share",
                limit=0.15,
                bars=[
                    Bar(label=k, estimate=gap(0.87, 0.87 - r[3], 400))
                    for k, r in zip(kinds, matrix, strict=True)
                    if r[3] == r[3]
                ],
            ),
        ],
        cost=Cost(
            counts={"encode image": 20480, "encode question": 10240, "fuse": 30720}, model_seconds=31.4, seconds=33.0
        ),
    )


def _calibration() -> ProbeResult:
    name = "monitoring.calibration"
    x = [0.45, 0.55, 0.65, 0.75, 0.85, 0.95]
    y = [0.41, 0.49, 0.55, 0.63, 0.74, 0.90]
    n = [12, 48, 97, 143, 260, 464]
    ece = Estimate(value=0.081, low=0.066, high=0.098, n=1024, clusters=256, method="bootstrap")
    return ProbeResult(
        name=name,
        question="When the model says 90 % sure, is it right 90 % of the time?",
        place="monitoring/reliability",
        source="Guo et al. 2017; debiased as in Roelofs et al. 2022",
        docs=INVENTED,
        samples={"audited": 1024, "reference": 512},
        metrics=[
            metric(
                "ece",
                "Mean distance between confidence and accuracy; 0: calibrated, 1: as wrong as can be.",
                limit=0.05,
            ),
            metric("brier", "Mean squared error of the probabilities; 0: perfect, 2: worst.", unit="number"),
        ],
        findings=[
            Finding(
                probe=name,
                metric="ece",
                title="Confidence is off",
                estimate=ece,
                controls={
                    "the same after temperature scaling on the reference": ece.model_copy(
                        update={"value": 0.021, "low": 0.014, "high": 0.034}
                    )
                },
            ),
            Finding(
                probe=name,
                metric="brier",
                title="Squared error of the probabilities",
                estimate=mean(np.random.default_rng(2).beta(1, 6, 1024)),
            ),
            *(
                Finding(
                    probe=name,
                    metric="ece",
                    title="Confidence is off",
                    group=f"shape={s}",
                    judged=False,
                    estimate=Estimate(value=v, low=v - 0.02, high=v + 0.03, n=340, method="bootstrap"),
                )
                for s, v in (("circle", 0.061), ("rectangle", 0.07), ("triangle", 0.124))
            ),
            Finding(
                probe=name,
                metric="ece",
                title="Largest gap in calibration between shapes",
                group="shape",
                judged=False,
                estimate=Estimate(value=0.063, low=0.02, high=0.1, n=1024, method="bootstrap"),
            ),
        ],
        charts=[
            LineChart(
                title="Reliability diagram",
                x_label="confidence",
                y_label="accuracy",
                diagonal=True,
                y_range=(0, 1),
                lines=[
                    Line(
                        label="as audited",
                        x=x,
                        y=y,
                        n=n,
                        low=[v - 0.25 / math.sqrt(k) for v, k in zip(y, n, strict=True)],
                        high=[v + 0.25 / math.sqrt(k) for v, k in zip(y, n, strict=True)],
                    )
                ],
            ),
        ],
        notes=["15 bins of equal mass; the bias of the estimate at this n is subtracted."],
        cost=Cost(counts={}, model_seconds=0.0, seconds=0.04),
    )


def _abstention() -> ProbeResult:
    name = "monitoring.selective"
    return ProbeResult(
        name=name,
        question="Does it help to let the model say “I do not know”?",
        place="monitoring/reliability",
        source="Geifman and El-Yaniv 2017",
        docs=INVENTED,
        samples={"audited": 1024},
        metrics=[metric("risk80", "Error rate among the 80 % surest answers; 0: none is wrong.", limit=0.1)],
        findings=[
            Finding(
                probe=name,
                metric="risk80",
                title="Errors among the 80 % surest answers",
                estimate=share(0.095, 819, 250),
            )
        ],
        charts=[
            LineChart(
                title="Error against abstention",
                x_label="samples per second",
                y_label="risk",
                log_x=True,
                lines=[
                    Line(
                        label="confidence", x=[0, 1, 10, 100, 1000], y=[0.13, 0.1, None, 0.06, 0.01], n=[5, 9, 2, 4, 8]
                    )
                ],
            ),
        ],
        cost=Cost(counts={}, model_seconds=0, seconds=0.01),
    )


def _anomaly() -> ProbeResult:
    name = "monitoring.ood"
    infinite = Estimate(value=0.71, low=-math.inf, high=math.inf, n=4, method="none is possible")
    return ProbeResult(
        name=name,
        question="Does the model notice pictures that it was not made for?",
        place="monitoring/anomaly",
        docs=INVENTED,
        samples={"audited": 1024, "reference": 512},
        metrics=[
            metric(
                "auroc",
                "Chance that a strange input scores above a usual one; 0.5: blind, 1: perfect.",
                better="higher",
                limit=0.9,
                unit="number",
            )
        ],
        findings=[
            Finding(
                probe=name,
                metric="auroc",
                title="Strange pictures are noticed",
                modality="image",
                estimate=Estimate(value=0.953, low=0.94, high=0.964, n=1536, method="DeLong"),
            ),
            Finding(
                probe=name,
                metric="auroc",
                title="Strange questions are noticed",
                modality="question",
                estimate=Estimate(value=0.902, low=0.881, high=0.921, n=1536, method="DeLong"),
            ),
            Finding(
                probe=name,
                metric="auroc",
                title="Swapped pairs are noticed",
                condition="picture of another question",
                estimate=infinite,
            ),
        ],
        cost=Cost(counts={"encode image": 512}, model_seconds=0.8, seconds=0.9),
    )


def _explanations() -> ProbeResult:
    name = "controllability.shapley"
    words = "what shape does the image contain?"
    return ProbeResult(
        name=name,
        question="Which input does the model really use?",
        place="controllability/explainability",
        source="Shapley values over parts; Parcalabescu and Frank 2023",
        docs=INVENTED,
        samples={"audited": 64},
        metrics=[
            metric("image_share", "Share of the explanation that the picture has; 0: ignored, 1: all.", better="higher")
        ],
        findings=[
            Finding(
                probe=name,
                metric="image_share",
                title="The picture's share of the decision",
                modality="image",
                estimate=mean(np.random.default_rng(3).beta(8, 4, 64)),
            )
        ],
        charts=[
            TableChart(
                title="What speaks for each answer",
                columns=["answer", "n", "mean weight", "strongest word"],
                rows=[
                    ["circle", 121, 0.4132, "shape"],
                    ["triangle", 98, 0.3871, "shape"],
                    [FORMULA, 3, None, SCRIPT],
                    ["yes", 12345, -0.12, "is"],
                ],
            )
        ],
        exhibits=[
            Exhibit(
                probe=name,
                sample="q-00007",
                title="Why “circle”",
                caption="Blue speaks for the answer, orange (dashed) against it.",
                panels=[
                    Panel(
                        label="picture",
                        kind="image",
                        file="original.png",
                        size=(64, 64),
                        boxes=[(16 * r, 16 * c, 16, 16) for r in range(4) for c in range(4)],
                        weights=[0.02, 0.1, -0.05, 0, 0.3, 0.9, 0.5, -0.2, 0.4, 1.0, 0.6, 0, 0.1, 0.35, -0.6, -0.9],
                    ),
                    Panel(label="question", kind="text", text=words, weights=[0.1, 0.9, -0.2, 0.05, 0.4, -0.7]),
                    Panel(label="values", kind="values", text="area 615.75\nred share 0.151"),
                ],
            ),
        ],
        cost=Cost(counts={"encode image": 64, "fuse": 8192}, model_seconds=1.2, seconds=1.25),
    )


def _fairness() -> ProbeResult:
    name = "controllability.accuracy_gap"
    return ProbeResult(
        name=name,
        question="Is it equally accurate for every colour and shape?",
        place="controllability/fairness",
        docs=INVENTED,
        samples={"audited": 1024},
        metrics=[metric("gap", "Largest difference in accuracy between groups; 0: none.", unit="points", limit=0.2)],
        findings=[
            Finding(
                probe=name,
                metric="gap",
                title="Largest difference in accuracy between colours",
                group="colour",
                estimate=Estimate(
                    value=0.11, low=0.07, high=0.16, n=1024, clusters=256, method="bootstrap of cell counts"
                ),
            ),
            Finding(
                probe=name,
                metric="gap",
                title="Largest difference in accuracy between shapes",
                group="shape",
                estimate=Estimate(
                    value=0.18, low=0.12, high=0.24, n=1024, clusters=256, method="bootstrap of cell counts"
                ),
            ),
        ],
        charts=[
            BarChart(
                title="Accuracy by colour",
                y_label="accuracy",
                y_range=(0, 1),
                bars=[Bar(label=c, estimate=share(0.8 + 0.02 * (k % 4), 128)) for k, c in enumerate(COLOURS)],
            )
        ],
        cost=Cost(counts={}, model_seconds=0, seconds=0.02),
    )


def _privacy() -> ProbeResult:
    name = "controllability.membership"
    return ProbeResult(
        name=name,
        question="Can somebody tell which samples it was trained on?",
        place="controllability/privacy",
        source="RMIA, Zarifzadeh et al. 2024",
        docs=INVENTED,
        samples={"audited": 1024, "members": 1024},
        metrics=[metric("advantage", "How much better than guessing; 0: not at all, 1: always right.", limit=0.1)],
        findings=[
            Finding(
                probe=name,
                metric="advantage",
                title="Members are told from others",
                estimate=share(0.03, 2048),
                controls={"blind baseline, never sees the model": share(0.02, 2048)},
            )
        ],
        cost=Cost(counts={"predict": 2048}, model_seconds=2.0, seconds=2.1),
    )


def _hostile() -> ProbeResult:
    name = "plugin.hostile"
    return ProbeResult(
        name=name,
        question=f"What if all words come from an enemy? {SCRIPT} {RTL}",
        place=f"plugins/{IMAGE}",
        source=LINK,
        docs=TEMPLATE + HIDDEN,
        settings={SCRIPT: BREAK_OUT},
        samples={IMAGE: 5},
        metrics=[metric(SCRIPT, BREAK_OUT, limit=0.5)],
        findings=[
            Finding(
                probe=name,
                metric=SCRIPT,
                title=text,
                group=f"{FORMULA}={text}",
                condition=ANSI,
                modality=IMAGE,
                judged=i == 0,
                estimate=share(0.02 * i + 0.01, 300),
                controls={text: share(0.5, 10)},
                note=LINK,
            )
            for i, text in enumerate(HOSTILE)
        ],
        charts=[
            LineChart(
                title=SCRIPT,
                x_label=BREAK_OUT,
                y_label=ANSI,
                lines=[Line(label=text, x=[0, 1], y=[i, i + 1]) for i, text in enumerate(HOSTILE)],
            ),
            BarChart(
                title=BREAK_OUT,
                y_label=SCRIPT,
                bars=[Bar(label=text, of=RTL, estimate=share(0.3, 50)) for text in HOSTILE],
            ),
            MatrixChart(
                title=ANSI, rows=list(HOSTILE), columns=list(HOSTILE[:3]), values=[[0.1, None, 1.0]] * len(HOSTILE)
            ),
            TableChart(title=LINK, columns=[SCRIPT, RTL], rows=[[text, 1.0] for text in HOSTILE]),
        ],
        notes=list(HOSTILE),
        exhibits=[
            Exhibit(
                probe=name,
                sample=SCRIPT,
                title=RTL,
                caption=IMAGE,
                panels=[
                    Panel(label=SCRIPT, kind="text", text=" ".join(HOSTILE), marked=[0, 3]),
                    Panel(label=ANSI, kind="image", file=BREAK_OUT),
                    Panel(label=RTL, kind="values", text=BREAK_OUT),
                ],
            )
        ],
        cost=Cost(counts={SCRIPT: 3}, model_seconds=0.1, seconds=0.2),
    )


def example(folder: Path, *, details: int = 0, hostile: bool = True, many_pictures: int = 0) -> Result:
    """The document; writes its pictures into `folder`. details: that many more details of one probe."""
    pictures(folder)
    probes = [
        _decoupling(details),
        _corruptions(),
        _calibration(),
        _abstention(),
        _anomaly(),
        _explanations(),
        _fairness(),
        _privacy(),
        ProbeResult(
            name="robustness.gradient",
            question="Does a change too small to see flip the answer?",
            place="robustness/adversarial",
            status="not applicable",
            reason="needs gradients, which this model does not have",
            docs=INVENTED,
        ),
        ProbeResult(
            name="controllability.counterfactual",
            question="What is the smallest change that would change the answer?",
            place="controllability/explainability",
            status="not completed",
            reason=f"ValueError: {ANSI if hostile else 'bad shape'}",
        ),
    ]
    if hostile:
        probes.append(_hostile())
    if many_pictures:
        noise = [
            Exhibit(
                probe="monitoring.ood",
                sample=f"s{i}",
                title=f"Noise {i}",
                rank=i,
                panels=[Panel(label="noise", kind="image", file="noise.png")] * 4,
            )
            for i in range(many_pictures)
        ]
        probes = [p.model_copy(update={"exhibits": [*p.exhibits, *noise]}) for p in probes]
    probes = _judged(probes)
    counts = count(probes)
    limit = Limit(max=0.3, source="gate")
    return Result(
        version=Version(muroan="0.1.0"),
        created="2026-01-31T12:00:00+00:00",
        plan={"probes": [p.name for p in probes], "seed": 7, "shard": 512},
        seed=7,
        model=AuditedModel(
            ref="torch:invented:make_model",
            name=f"Invented model {SCRIPT}" if hostile else "Invented model",
            fingerprint="invented:3f9a0c51d2b7",
            classes=["yes", "no", "circle", *(HOSTILE if hostile else ())],
            modalities=["image", "question"],
            capabilities=["scores", "fuse"],
            card=f"{INVENTED}\n\nIts card is somebody's prose: {LINK if hostile else 'two lines'}",
        ),
        data=AuditedData(
            ref="invented-data",
            name="Invented questions",
            sizes={"audited": 1024, "reference": 512, "members": 1024},
            fingerprint="invented-data:1024:77aa31",
            groups={"colour": COLOURS, "shape": ["circle", "rectangle", "triangle"]},
            cluster="image",
        ),
        environment=Environment(python="3.11.9", torch="2.13.0", platform="Linux x86_64"),
        probes=probes,
        quarantine=[
            QuarantineRow(
                sample=f"q-{i:05d}",
                stage="read" if i % 3 else "robustness.decoupling",
                reason=HOSTILE[i % len(HOSTILE)] if hostile else "the picture is not a PNG",
            )
            for i in range(73)
        ],
        summary=Summary(
            verdicts=counts, exit_code=1 if counts[Verdict.FAIL] else 0, why=f"{counts[Verdict.FAIL]} limits are broken"
        ),
        command="muroan audit torch:invented:make_model invented-data --gate gate.yaml --seed 7",
        gate=Gate(name="gate.yaml", limits={"robustness.decoupling/success": limit}),
    )


def _judged(probes: list[ProbeResult]) -> list[ProbeResult]:
    """Limits where a metric has one and the finding is judged; verdicts over all of them at once, as in an audit."""
    flat = []
    for probe in probes:
        for f in probe.findings:
            found = probe.metric(f.metric)
            limited = f.judged and found is not None and found.limit is not None
            flat.append(f.model_copy(update={"limit": found.limited(found.limit)}) if limited else f)
    flat, out = judge(flat), []
    for probe in probes:
        n = len(probe.findings)
        out.append(probe.model_copy(update={"findings": flat[:n]}))
        flat = flat[n:]
    return out
