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
_SMALLEST_P = 0.001


def recommendation(ablation: Ablation) -> tuple[str, ...]:
    """Sentences for people.

    Convention:
        A change is recommended if it is ahead in every trial, the paired test says that chance
        would rarely do so (after Holm's correction for all that was tried), and the interval of
        the gain lies above 0.
    """
    settings = list(dict.fromkeys(variant.setting for variant in ablation.variants))
    groups = [[v for v in ablation.variants if v.setting == setting] for setting in settings]
    winners = [[v for v in group if _direction(v) > 0] for group in groups]
    changes = [max(some, key=lambda v: v.mean or 0.0) for some in winners if some]
    told = [*_head(ablation, changes), *(_change(one, ablation) for one in changes)]
    if len(changes) > 1:
        told.append(
            "Each was changed alone, and gains do not simply add up: measure them together "
            "before you rely on both."
        )
    told += [sentence for group in groups for sentence in _worse(group)]
    told += [sentence for group in groups for sentence in _cheaper(group)]
    unclear = [
        group[0].setting
        for group in groups
        if any(v.against for v in group) and not any(map(_direction, group))
    ]
    if unclear:
        told.append(
            f"No value of {', '.join(unclear)} is clearly better or worse than the preset's: "
            "leave them."
        )
    failed = [v for v in ablation.variants if v.failed]
    told += [f"{v.setting} {v.value} could not be measured. {v.failed}" for v in failed]
    return tuple(told)


def _direction(variant: Variant) -> int:
    """1 or -1 for a value that is better or worse in every trial, and not by chance; else 0."""
    against = variant.against
    if against is None or variant.p_value is None or variant.p_value >= _SURE:
        return 0
    better = min(against.trials) > 0 and against.low > 0
    worse = max(against.trials) < 0 and against.high < 0
    return int(better) - int(worse)


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


def _change(variant: Variant, ablation: Ablation) -> str:
    default = _default([v for v in ablation.variants if v.setting == variant.setting])
    gained = variant.against.trials if variant.against else ()
    parts = [f"{name} {_signed(gain)}" for name, gain in zip(ablation.trials, gained, strict=True)]
    p_value = variant.p_value or 0.0
    p = f"{p_value:.3f}" if p_value >= _SMALLEST_P else "under .001"
    paid = "its cost beside the preset's is not known"
    if default is not None and default.cost is not None and variant.cost is not None:
        image = variant.cost.ms_per_image - default.cost.ms_per_image
        query = (variant.ms_per_query or 0.0) - (default.ms_per_query or 0.0)
        room = variant.cost.bytes - default.cost.bytes
        paid = f"for {image:+.1f} ms and {room:+,} bytes an image and {query:+.1f} ms a query"
    before = "its default" if default is None else default.value
    return (
        f"Change {variant.setting} from {before} to {variant.value}: {_gain(variant.against)} at "
        f"the stage {variant.stage} ({', '.join(parts)}; p = {p}), {paid}."
    )


def _worse(group: Sequence[Variant]) -> Iterator[str]:
    worse = [
        f"{v.value} ({_signed(v.against.gained)})" for v in group if v.against and _direction(v) < 0
    ]
    if worse:
        yield f"Do not set {group[0].setting} to {', '.join(worse)}: that is worse on every part."


def _cheaper(group: Sequence[Variant]) -> Iterator[str]:
    default = _default(group)
    for variant in group:
        against = variant.against
        if default is None or against is None or against.low < _NO_LOSS or _direction(variant) > 0:
            continue
        spared = _spared(variant, default)
        if spared:
            yield (
                f"{variant.setting} {variant.value} spares {spared} and loses at most "
                f"{max(0.0, -against.low):.3f} mAP ({_gain(against)}): take it if that matters."
            )


def _spared(variant: Variant, default: Variant) -> str:
    """What a value costs clearly less than the preset's."""
    if variant.cost is None or default.cost is None:
        return ""
    costs = (
        (variant.cost.bytes, default.cost.bytes, "{:,.0f} bytes an image"),
        (variant.cost.ms_per_image, default.cost.ms_per_image, "{:.1f} ms an image"),
        (variant.ms_per_query or 0.0, default.ms_per_query or 0.0, "{:.1f} ms a query"),
    )
    return " and ".join(
        words.format(there - here) for here, there, words in costs if here < _CHEAPER * there
    )


def _default(group: Sequence[Variant]) -> Variant | None:
    return next((variant for variant in group if variant.default), None)


def _gain(against: Comparison | None) -> str:
    if against is None:
        return ""
    interval = f"{_signed(against.low)} to {_signed(against.high)}"
    return f"{_signed(against.gained)} mAP, 95 % interval {interval}"


def _signed(value: float) -> str:
    """Three digits and a sign, as the tables write figures."""
    return f"{value:+.3f}".replace("0.", ".", 1)
