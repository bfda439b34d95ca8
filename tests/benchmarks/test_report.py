"""Show that ratios are taken within a round before their median is."""

from benchmarks.report import render


def one_round(contender: str, cpu_us: float, surplus: int = 0) -> dict[str, object]:
    """Return a round as `benchmarks.gate` reports it."""
    return {
        "load": "warm",
        "contender": contender,
        "requests": 1000,
        "requests_per_s": 200.0,
        "p50_ms": 1.0,
        "p99_ms": 2.0,
        "cpu_us": cpu_us,
        "upstream_surplus": surplus,
    }


def test_figures_are_medians_and_ratios_belong_to_their_round():
    rounds = []
    # The machine was twice as slow in the second round, for both alike.
    for slowness in (1, 2, 1):
        rounds += [
            one_round("nginx", 20.0 * slowness, surplus=7),
            one_round("sidegate ES256", 30.0 * slowness),
        ]
    report = render({"machine": "2 cores"}, rounds)
    assert "- machine: 2 cores" in report
    assert "| nginx | 200 | 1.00 | 2.00 | 20.0 | 7 | 3 |" in report
    assert "| sidegate ES256 / nginx | 1.50 | 1.50–1.50 |" in report


def test_without_sidegate_there_are_no_ratios():
    assert "ratio" not in render({}, [one_round("nginx", 20.0)])
