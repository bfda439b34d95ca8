"""Write the outcomes of policy tests as a JUnit report."""

from pathlib import Path
from xml.etree import ElementTree

from gateway.policy.policy_tests import PolicyTestOutcome


def write_junit(outcomes: tuple[PolicyTestOutcome, ...], path: Path) -> None:
    """Write one test case per policy test into the file at `path`."""
    failed = sum(not outcome.passed for outcome in outcomes)
    suite = ElementTree.Element(
        "testsuite", name="sidegate policy tests", tests=str(len(outcomes)), failures=str(failed)
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(suite, "testcase", name=outcome.name, classname="policy")
        if outcome.origin is not None:
            case.set("file", outcome.origin.file)
            case.set("line", str(outcome.origin.line))
        if not outcome.passed:
            message = f"expected {outcome.expected}, found {outcome.found}"
            ElementTree.SubElement(case, "failure", message=message)
    ElementTree.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)
