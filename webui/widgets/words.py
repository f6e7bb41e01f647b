"""Numbers and times as people read them."""

from __future__ import annotations

from webui.i18n import t


def duration(seconds: float, language: str) -> str:
    """ "42 s", "3 min", "1 h 5 min"."""
    if seconds < 90:
        return t("text.time.seconds", language, n=max(1, round(seconds)))
    minutes = round(seconds / 60)
    if minutes < 60:
        return t("text.time.minutes", language, n=minutes)
    return t("text.time.hours", language, h=minutes // 60, m=minutes % 60)


def megabytes(size: int, language: str) -> str:
    if size < 1_000_000:
        return t("text.card.size_kb", language, n=f"{size / 1e3:.0f}")
    if size >= 1_000_000_000:
        return t("text.card.size_gb", language, n=f"{size / 1e9:.1f}")
    return t("text.card.size_mb", language, n=f"{size / 1e6:.1f}" if size < 1e8 else f"{size / 1e6:,.0f}")


def short(number: float) -> str:
    """A number without noise: 0.0003, 2, 1.5."""
    return f"{number:.4g}" if abs(number) >= 0.001 or not number else f"{number:.6f}".rstrip("0")


def steps_list(steps: tuple[int, ...] | list[int], most: int = 6) -> str:
    """ "30, 60, ... 150"."""
    if len(steps) <= most:
        return ", ".join(f"{step:,}" for step in steps)
    return ", ".join(f"{step:,}" for step in steps[: most - 2]) + f", … {steps[-1]:,}"
