"""`slt exact` on the command line: polynomials, families, JSON, and one line for what is neither."""

import json
import sys

import pytest

from slt.cli import main


def run(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["slt", "exact", *arguments])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out.strip(), captured.err.strip()


@pytest.mark.parametrize(
    ("arguments", "answer", "multiplicity"),
    [
        (["x**2*y**4 + x**6", "--at", "0,0"], "1/3", 1),
        (["x**2*y**4", "--at", "0,1"], "1/2", 1),
        (["x**2*y**4", "--variables", "y,x", "--at", "1,0"], "1/2", 1),
        (["(y - x**2)**2 + x**6"], "2/3", 1),
        (["x^2*y^2*z^2"], "1/2", 3),
        (["x*y", "y*z", "z*x"], "3/4", 1),
        (["a*b - 1/2", "--at", "1,1/2"], "1/2", 1),
        (["--family", "reduced-rank", "10", "5", "5", "2"], "35/2", 1),
        (["--family", "deep-linear", "4", "4", "4", "4", "4", "1"], "13/2", 4),
    ],
)
def test_answers(monkeypatch, capsys, arguments, answer, multiplicity):
    if arguments[0] == "a*b - 1/2":
        arguments = [arguments[0], "a*b - 1/2", *arguments[1:]]  # twice: a list means a sum of squares
    code, out, err = run(monkeypatch, capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert list(found) == ["learning_coefficient", "multiplicity", "exact", "method"]
    assert (found["learning_coefficient"], found["multiplicity"], found["exact"]) == (answer, multiplicity, True)


def test_an_upper_bound_is_called_one(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "(x + y + z)**2 + (x + y + z)**4")
    assert code == 0
    assert out.startswith("λ <= ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["sin(x)"], "function call"),
        (["__import__('os')"], "slt: "),
        (["x**2 + q", "--variables", "x,y"], "unknown variable 'q'"),
        (["x + y"], "negative"),
        (["x**2 + 1"], "K(at) != 0"),
        (["(x + y)**100000"], "exponent"),
        (["x**2", "--at", "0,0"], "coordinates"),
        (["x**2", "--at", "nowhere"], "rational numbers"),
        (["7"], "no variables"),
        (["--family", "nothing", "1"], "no family 'nothing'"),
        (["--family", "reduced-rank", "1"], "takes M H N R"),
        (["--family", "reduced-rank", "1", "1", "1", "x"], "not an integer"),
        (["--family", "reduced-rank", "2", "1", "2", "2", "--at", "0"], "belong to polynomials"),
    ],
)
def test_what_cannot_be_answered_is_one_line_and_exit_code_2(monkeypatch, capsys, arguments, words):
    code, out, err = run(monkeypatch, capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert words in err
