"""What an ablation recommends, in words: what to change, what not, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evaluation.ablation import Ablation, Variant
    from evaluation.significance import Comparison

__all__ = ["recommendation"]

# Of a p-value that is raised for the number of values tried.
_SURE = 0.05
# A loss of mAP that nobody would notice, as the lower end of an interval.
_NO_LOSS = -0.005
# A cheaper value must spare this share of a cost to be worth a word.
_CHEAPER = 0.9


def recommendation(ablation: Ablation) -> tuple[str, ...]:
    """Sentences for people.

    Convention:
        A change is recommended if it is ahead in every trial, the paired test says that chance
        would rarely do so (after Holm's correction for all that was tried), and the interval of
        the gain lies above 0.
    """
    settings = list(dict.fromkeys(variant.setting for variant in ablation.variants))
    by_setting = {s: [v for v in ablation.variants if v.setting == s] for s in settings}
    changes = [best for variants in by_setting.values() if (best := _best(variants)) is not None]
    return (
        *_head(ablation, changes),
        *(_change(variant, by_setting[variant.setting], ablation) for variant in changes),
        *_together(changes),
        *_worse(by_setting),
        *_cheaper(by_setting),
        *_unclear(by_setting),
        *_failed(ablation.variants),
    )


def wins(variant: Variant) -> bool:
    """Whether a value is better than the preset's in every trial, and not by chance."""
    against = variant.against
    return (
        against is not None
        and variant.p_value is not None
        and against.wins_everywhere
        and variant.p_value < _SURE
        and against.low > 0
    )


def loses(variant: Variant) -> bool:
    """Whether a value is worse than the preset's in every trial, and not by chance."""
    against = variant.against
    return (
        against is not None
        and variant.p_value is not None
        and against.loses_everywhere
        and variant.p_value < _SURE
        and against.high < 0
    )


def _best(variants: Sequence[Variant]) -> Variant | None:
    return max((v for v in variants if wins(v)), key=lambda v: v.mean or 0.0, default=None)


def _head(ablation: Ablation, changes: Sequence[Variant]) -> Iterator[str]:
    tried = sum(variant.against is not None for variant in ablation.variants)
    if not tried:
        yield f"Keep the preset {ablation.preset}: no other value could be measured."
    elif not changes:
        parts = "every part" if len(ablation.trials) > 1 else "the one part there is"
        yield (
            f"Keep the preset {ablation.preset}: of {tried} other values none is better on "
            f"{parts} ({', '.join(ablation.trials)}) and by more than chance may give."
        )
    if tried and len(ablation.trials) == 1:
        yield "There is one part alone, so nothing confirms what was found on it."


def _change(variant: Variant, variants: Sequence[Variant], ablation: Ablation) -> str:
    before = next((v.value for v in variants if v.default), "its default")
    against = variant.against
    if against is None:
        return ""
    parts = ", ".join(
        f"{name} {_signed(gained)}"
        for name, gained in zip(ablation.trials, against.trials, strict=True)
    )
    return (
        f"Change {variant.setting} from {before} to {variant.value}: {_gain(against)} at the stage "
        f"{variant.stage} ({parts}; p = {_p(variant)}), {_paid(variant, variants)}."
    )


def _together(changes: Sequence[Variant]) -> Iterator[str]:
    if len(changes) > 1:
        yield (
            "Each was changed alone, and gains do not simply add up: measure them together "
            "before you rely on both."
        )


def _worse(by_setting: dict[str, list[Variant]]) -> Iterator[str]:
    for setting, variants in by_setting.items():
        worse = [v for v in variants if loses(v)]
        if worse:
            said = ", ".join(f"{v.value} ({_signed(v.against.gained)})" for v in worse if v.against)
            yield f"Do not set {setting} to {said}: that is worse on every part."


def _cheaper(by_setting: dict[str, list[Variant]]) -> Iterator[str]:
    for setting, variants in by_setting.items():
        default = next((v for v in variants if v.default), None)
        for variant in variants:
            against = variant.against
            if default is None or against is None or wins(variant) or against.low < _NO_LOSS:
                continue
            spared = _spared(variant, default)
            if spared:
                yield (
                    f"{setting} {variant.value} spares {spared} and loses at most "
                    f"{max(0.0, -against.low):.3f} mAP ({_gain(against)}): take it if that matters."
                )


def _unclear(by_setting: dict[str, list[Variant]]) -> Iterator[str]:
    unclear = [
        setting
        for setting, variants in by_setting.items()
        if any(v.against for v in variants) and not any(wins(v) or loses(v) for v in variants)
    ]
    if unclear:
        yield (
            f"No value of {', '.join(unclear)} is clearly better or worse than the preset's: "
            "leave them."
        )


def _failed(variants: Sequence[Variant]) -> Iterator[str]:
    for variant in variants:
        if variant.failed:
            yield f"{variant.setting} {variant.value} could not be measured. {variant.failed}"


def _gain(against: Comparison) -> str:
    return (
        f"{_signed(against.gained)} mAP, 95 % interval {_signed(against.low)} to "
        f"{_signed(against.high)}"
    )


def _p(variant: Variant) -> str:
    value = 1.0 if variant.p_value is None else variant.p_value
    return f"{value:.3f}" if value >= 0.001 else "under .001"  # noqa: PLR2004


def _paid(variant: Variant, variants: Sequence[Variant]) -> str:
    default = next((v for v in variants if v.default), None)
    if default is None or default.cost is None or variant.cost is None:
        return "its cost beside the preset's is not known"
    picture = variant.cost.ms_per_picture - default.cost.ms_per_picture
    query = (variant.ms_per_query or 0.0) - (default.ms_per_query or 0.0)
    room = variant.cost.bytes - default.cost.bytes
    return f"for {picture:+.1f} ms and {room:+,} bytes a picture and {query:+.1f} ms a query"


def _spared(variant: Variant, default: Variant) -> str:
    """What a value costs clearly less than the preset's."""
    if variant.cost is None or default.cost is None:
        return ""
    spared = []
    costs = (
        (variant.cost.bytes, default.cost.bytes, "{:,.0f} bytes a picture"),
        (variant.cost.ms_per_picture, default.cost.ms_per_picture, "{:.1f} ms a picture"),
        (variant.ms_per_query or 0.0, default.ms_per_query or 0.0, "{:.1f} ms a query"),
    )
    for here, there, words in costs:
        if here < _CHEAPER * there:
            spared.append(words.format(there - here))
    return " and ".join(spared)


def _signed(value: float) -> str:
    """Three digits and a sign, as the tables write figures."""
    return f"{value:+.3f}".replace("0.", ".", 1)
