"""Show when a difference of speed counts, and which trees and loads take part."""

import subprocess
from pathlib import Path

import pytest

from benchmarks.control import FEWEST_ROUNDS, Comparison, compare, render_comparison
from benchmarks.gate import _loads, parse_arguments
from benchmarks.report import render
from benchmarks.trees import THIS_CHECKOUT, NoSuchTreeError, find_tree
from tests.benchmarks.test_report import one_round

SLOWNESS = [1.0, 2.0, 1.0, 1.5, 3.0] * 4
"""Of the machine, round by round: for all three trees alike."""


def rounds(*, now: float, control: float, count: int = FEWEST_ROUNDS) -> list[dict[str, object]]:
    measured = []
    for slowness in SLOWNESS[:count]:
        measured += [
            one_round("before ES256", 30.0 * slowness),
            one_round("sidegate ES256", 30.0 * now * slowness),
            one_round("control ES256", 30.0 * control * slowness),
        ]
    return measured


def test_ratios_are_taken_within_a_round() -> None:
    found = compare([30.0, 60.0, 30.0], [27.0, 54.0, 60.0], [30.0, 60.6, 30.3])
    assert found.change == pytest.approx(0.9)
    assert found.control == pytest.approx(1.01)
    assert found.rounds == 3


@pytest.mark.parametrize(
    ("change", "control", "count", "counts"),
    [
        (0.96, 1.0, 20, True),
        (0.96, 1.019, 20, True),
        (0.96, 0.981, 20, True),
        (0.96, 1.021, 20, False),
        (0.96, 0.979, 20, False),
        (1.04, 1.019, 20, True),
        (1.04, 0.979, 20, False),
        (1.0, 1.0, 20, False),
        (0.5, 1.0, 19, False),
    ],
)
def test_a_change_counts_when_the_control_lies_within_half_of_it(
    change: float, control: float, count: int, counts: bool
) -> None:
    assert Comparison(change, control, count).counts is counts


def test_a_run_tells_which_margins_it_decides() -> None:
    """For a claim like `no slower by 3 %`, where the change itself is small."""
    found = Comparison(1.001, 1.01, 20)
    assert not found.counts
    assert found.finest_margin == pytest.approx(0.02)
    assert found.decides(0.03)
    assert not found.decides(0.015)


def test_the_report_says_whether_the_difference_counts() -> None:
    assert "| the difference counts | | yes |" in render({}, rounds(now=0.9, control=1.01))
    assert "| now / before | 0.9000 | -10.00% |" in render({}, rounds(now=0.9, control=1.01))
    assert "more than half of it" in render({}, rounds(now=0.99, control=1.01))
    assert "no: 5 rounds, 20 are needed" in render({}, rounds(now=0.9, control=1.0, count=5))
    assert render_comparison(rounds(now=0.9, control=1.0)[:2]) == []


def test_a_controlled_run_has_rounds_enough_and_the_trees_alone() -> None:
    arguments = parse_arguments(["--before", "HEAD", "--control"])
    assert (arguments.rounds, arguments.seconds, arguments.loads) == (20, 2.0, "warm")
    assert arguments.only == ["before", "sidegate", "control"]
    chosen = parse_arguments(["--before", "HEAD", "--control", "--loads", "cold,64k", "--rounds", "24"])
    assert [(load.name, load.rounds) for load in _loads(chosen)] == [("cold", 24), ("64k", 24)]
    plain = parse_arguments([])
    assert [(load.name, load.rounds) for load in _loads(plain)] == [
        ("warm", 5),
        ("cold", 3),
        ("64k", 3),
        ("1m", 3),
    ]
    assert parse_arguments(["--before", "HEAD", "--control", "--quick"]).rounds == 1


@pytest.mark.parametrize("argv", [["--control"], ["--loads", "warm,hot"]])
def test_what_cannot_be_measured_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(argv)
    assert argv[0] in capsys.readouterr().err


def test_a_tree_is_a_checkout_or_a_revision(tmp_path: Path) -> None:
    assert find_tree(str(THIS_CHECKOUT), tmp_path / "a") == THIS_CHECKOUT
    with pytest.raises(NoSuchTreeError):
        find_tree("no-such-revision", tmp_path / "b")
    with pytest.raises(NoSuchTreeError):
        find_tree(str(tmp_path), tmp_path / "c")


def test_a_revision_is_unpacked(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / "gateway").mkdir(parents=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "-C", str(checkout)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for text in ("one", "two"):
        (checkout / "gateway" / "app.py").write_text(text)
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", text], check=True)
    before = find_tree("HEAD~1", tmp_path / "tree", checkout=checkout)
    assert (before / "gateway" / "app.py").read_text() == "one"
    assert find_tree(str(checkout), tmp_path / "other", checkout=checkout) == checkout
    with pytest.raises(NoSuchTreeError):
        find_tree("HEAD~2", tmp_path / "none", checkout=checkout)
