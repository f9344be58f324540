"""The charts of a run: which there are, and what goes into each."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from tltrain.report.charts import (
    Chart,
    Curve,
    draw_curves,
    draw_kits,
    draw_mix,
    draw_mix_over_steps,
    draw_scores,
)
from tltrain.report.data import RunData
from tltrain.report.palette import Colour, outcome_shares, stage_colours, words
from tltrain.report.records import PpoStep, SftStep
from tltrain.report.views import error_counts, kit_scores, score_rows

AnyStep = TypeVar("AnyStep", SftStep, PpoStep)

_HELDOUT_COLOURS = (Colour.VERMILLION, Colour.BLUE, Colour.GREEN, Colour.PURPLE, Colour.ORANGE, Colour.SKY)

_SPANS = {"name": "tool name", "parameter": "parameter names", "value": "values", "text": "text"}


def draw_gallery(data: RunData) -> dict[str, list[Chart]]:
    """Section of the page -> its charts; sections without any are empty."""
    sections: dict[str, list[Chart | None]] = {
        "headline": [_scores(data)],
        "sft": _sft_charts(data.sft_steps),
        "ppo": _ppo_charts(data.ppo_steps),
        "kits": [_kits(data, "TS", "Tool selection by kit"), _kits(data, "CF", "Content filling by kit")],
        "errors": [_error_mix(data)],
    }
    return {section: [chart for chart in charts if chart is not None] for section, charts in sections.items()}


def points(steps: Sequence[AnyStep], value: Callable[[AnyStep], float | None]) -> list[tuple[float, float]]:
    """(step, value) where the value was measured."""
    measured = ((step.step, value(step)) for step in steps)
    return [(float(step), found) for step, found in measured if found is not None]


def _scores(data: RunData) -> Chart | None:
    rows = [row for row in score_rows(data.stages) if not row.metric.is_error]
    bars = {stage.name: [row.scores[place] for row in rows] for place, stage in enumerate(data.stages)}
    names = [row.metric.field for row in rows]
    return draw_scores("scores", "Scores by stage", names, bars, stage_colours(list(bars)))


def _kits(data: RunData, field: str, title: str) -> Chart | None:
    stages = [stage for stage in data.stages if stage.scores.single]
    names = [stage.name for stage in stages]
    kits = {kit: [score.mean for score in scores] for kit, scores in kit_scores(stages, field).items()}
    return draw_kits(f"kits_{field.lower()}", title, kits, names, stage_colours(names))


def _error_mix(data: RunData) -> Chart | None:
    return draw_mix("errors", "Answers by stage", {s.name: outcome_shares(error_counts(s)) for s in data.stages})


def _sft_charts(steps: Sequence[SftStep]) -> list[Chart | None]:
    loss = [Curve("training loss", points(steps, lambda step: step.loss))]
    heldout = points(steps, lambda step: step.heldout.get("nll"))
    names = [name for name in _heldout_names(steps) if not name.endswith("nll")]
    return [
        draw_curves("sft_loss", "Loss", [*loss, Curve("held out", heldout, Colour.VERMILLION, True)], unit="nats"),
        draw_curves("sft_spans", "Training loss by part", _span_curves(steps), unit="nats a token"),
        draw_curves("sft_heldout", "Held-out accuracy", _heldout_curves(steps, names), unit="share right"),
        draw_curves("sft_grad_norm", "Gradient norm", [Curve("norm", points(steps, lambda step: step.grad_norm))]),
        draw_curves("sft_lr", "Learning rate", [Curve("rate", points(steps, lambda step: step.lr))]),
        draw_curves(
            "sft_speed", "Speed", [Curve("speed", points(steps, lambda step: step.tokens_per_second))], unit="tokens/s"
        ),
    ]


def _ppo_charts(steps: Sequence[PpoStep]) -> list[Chart | None]:
    mixes = [(step.step, outcome_shares(step.errors)) for step in steps]
    losses = [
        Curve("policy", points(steps, lambda step: step.policy_loss)),
        Curve("value", points(steps, lambda step: step.value_loss), Colour.VERMILLION),
    ]
    heldout = _heldout_curves(steps, _heldout_names(steps))
    return [
        draw_curves("ppo_reward", "Reward", [Curve("mean reward", points(steps, lambda step: step.reward))]),
        draw_mix_over_steps("ppo_errors", "What rollouts get wrong", mixes),
        draw_curves("ppo_kl", "KL to the SFT model", [Curve("KL", points(steps, lambda step: step.kl))], unit="nats"),
        draw_curves("ppo_heldout", "Held out", heldout),
        *(
            draw_curves(name, title, _kind_curves(steps, field), unit="share")
            for name, title, field in (
                ("ppo_curriculum", "Prompts that the curriculum drew", "curriculum_shares"),
                ("ppo_curriculum_wrong", "Wrong answers by kind of prompt", "curriculum_wrong"),
            )
        ),
        draw_curves("ppo_length", "Length", [Curve("length", points(steps, lambda step: step.length))], unit="tokens"),
        draw_curves(
            "ppo_clip_fraction",
            "Clipped share of tokens",
            [Curve("clipped", points(steps, lambda step: step.clip_fraction))],
        ),
        draw_curves(
            "ppo_explained_variance",
            "Variance the critic explains",
            [Curve("explained", points(steps, lambda step: step.explained_variance))],
        ),
        draw_curves("ppo_losses", "Losses", losses),
        draw_curves(
            "ppo_drift",
            "Log-probs of vLLM from the trainer's",
            [
                Curve("mean", points(steps, lambda step: step.drift_mean)),
                Curve("largest", points(steps, lambda step: step.drift_max), Colour.VERMILLION),
            ],
            unit="nats a token",
        ),
        draw_curves(
            "ppo_entropy", "Entropy", [Curve("entropy", points(steps, lambda step: step.entropy))], unit="nats"
        ),
    ]


def _span_curves(steps: Sequence[SftStep]) -> list[Curve]:
    curves = []
    for (kind, label), colour in zip(_SPANS.items(), _HELDOUT_COLOURS, strict=False):
        measured = [(float(step.step), step.spans[kind].nll) for step in steps if kind in step.spans]
        curves.append(Curve(label, [(step, nll) for step, nll in measured if nll is not None], colour))
    return curves


def _kind_curves(steps: Sequence[PpoStep], field: str) -> list[Curve]:
    """Curves of the kinds of prompts that were drawn most."""
    total = Counter[str]()
    for step in steps:
        total.update(step.curriculum_shares)
    return [
        Curve(
            words(kind),
            [(float(step.step), getattr(step, field)[kind]) for step in steps if kind in getattr(step, field)],
            colour,
        )
        for (kind, _), colour in zip(total.most_common(), _HELDOUT_COLOURS, strict=False)
    ]


def _heldout_names(steps: Iterable[SftStep | PpoStep]) -> list[str]:
    return list(dict.fromkeys(name for step in steps for name in step.heldout))


def _heldout_curves(steps: Sequence[SftStep | PpoStep], names: Sequence[str]) -> list[Curve]:
    curves = []
    for name, colour in zip(names, _HELDOUT_COLOURS, strict=False):
        found = [(float(step.step), value) for step in steps if (value := step.heldout.get(name)) is not None]
        curves.append(Curve(words(name.removesuffix("_accuracy")), found, colour, is_sparse=True))
    return curves
