"""What an ablation recommends in words: what to change, what not, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from evaluation.ablation import Ablation, Variant
    from evaluation.significance import Comparison

__all__ = ["recommendation"]

# The highest significant p-value, after correction.
_SURE = 0.05
# A negligible loss of mAP, as the lower end of an interval.
_NO_LOSS = -0.005
# A value is cheaper if its cost is below this share of the preset's.
_CHEAPER = 0.9
_SMALLEST_P = 0.001


def recommendation(ablation: Ablation) -> tuple[str, ...]:
    """Sentences for the user.

    Convention:
        A change is recommended if it is better in every trial, the paired test is significant
        (after Holm's correction for all that was tried), and the interval of the gain is above 0.
    """
    groups = list(ablation.by_setting.values())
    winners = [[v for v in group if _direction(v) > 0] for group in groups]
    changes = [max(some, key=lambda v: v.mean or 0.0) for some in winners if some]
    sentences = [*_head(ablation, changes), *(_change(one, ablation) for one in changes)]
    if len(changes) > 1:
        sentences.append(
            "Each was changed alone, and gains do not simply add up: measure them together "
            "before you use both."
        )
    sentences += [sentence for group in groups for sentence in _worse(group)]
    sentences += [sentence for group in groups for sentence in _cheaper(group)]
    unclear = [
        group[0].setting
        for group in groups
        if any(v.against for v in group) and not any(map(_direction, group))
    ]
    if unclear:
        sentences.append(
            f"No value of {', '.join(unclear)} is clearly better or worse than the preset's: "
            "do not change them."
        )
    failed = [v for v in ablation.variants if v.failed]
    sentences += [f"{v.setting} {v.value} could not be measured. {v.failed}" for v in failed]
    return tuple(sentences)


def _direction(variant: Variant) -> int:
    """1 or -1 for a value that is significantly better or worse in every trial; else 0."""
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
        parts = "every part" if len(ablation.trials) > 1 else "the only part"
        yield (
            f"Keep the preset {ablation.preset}: none of the {tried} other values is better on "
            f"{parts} ({', '.join(ablation.trials)}) by more than chance."
        )
    if tried and len(ablation.trials) == 1:
        yield "There is only one part, so no other confirms this result."


def _change(variant: Variant, ablation: Ablation) -> str:
    default = _default(ablation.by_setting[variant.setting])
    gained = variant.against.trials if variant.against else ()
    parts = [f"{name} {_signed(gain)}" for name, gain in zip(ablation.trials, gained, strict=True)]
    p_value = variant.p_value or 0.0
    p = f"{p_value:.3f}" if p_value >= _SMALLEST_P else "under .001"
    paid = "at an unknown cost"
    if default is not None and default.cost is not None and variant.cost is not None:
        image = variant.cost.ms_per_image - default.cost.ms_per_image
        query = (variant.ms_per_query or 0.0) - (default.ms_per_query or 0.0)
        room = variant.cost.bytes - default.cost.bytes
        paid = f"for {image:+.1f} ms and {room:+,} bytes per image and {query:+.1f} ms per query"
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
        saved = _saved(variant, default)
        if saved:
            yield (
                f"{variant.setting} {variant.value} saves {saved} and loses at most "
                f"{max(0.0, -against.low):.3f} mAP ({_gain(against)}): use it if that matters."
            )


def _saved(variant: Variant, default: Variant) -> str:
    """The costs of a value that are clearly lower than the preset's."""
    if variant.cost is None or default.cost is None:
        return ""
    costs = (
        (variant.cost.bytes, default.cost.bytes, "{:,.0f} bytes per image"),
        (variant.cost.ms_per_image, default.cost.ms_per_image, "{:.1f} ms per image"),
        (variant.ms_per_query or 0.0, default.ms_per_query or 0.0, "{:.1f} ms per query"),
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
    """Three digits and a sign."""
    return f"{value:+.3f}".replace("0.", ".", 1)
