"""Figures of benchmarks: the newest of each, and all of them with commit and machine."""

import json

import pytest

from bench.common import BenchError, Entry, machine, paired, read_entries, write_entries


def entry(name, ours):
    return Entry(name, ours, "steps/s", "one core", peer=2.0)


def test_the_newest_figures_replace_older_ones_and_the_history_keeps_all(tmp_path, capsys):
    path, history = tmp_path / "build" / "bench.json", tmp_path / "docs" / "bench.jsonl"
    write_entries([entry("a", 3.0), entry("b", 4.0)], path, history)
    assert "before" not in capsys.readouterr().out
    write_entries([entry("a", 2.0)], path, history)
    assert "a: ratio 1.000, before 1.500 at" in capsys.readouterr().out
    newest = read_entries(path)
    assert {name: figures["ours"] for name, figures in newest.items()} == {"a": 2.0, "b": 4.0}
    rows = [json.loads(line) for line in history.read_text().splitlines()]
    assert [(row["name"], row["ratio"]) for row in rows] == [("a", 1.5), ("b", 2.0), ("a", 1.0)]
    assert {row["machine"] for row in rows} == {machine()}
    assert all(row["commit"] and row["date"] for row in rows)


def test_figures_of_another_machine_are_not_compared(tmp_path, capsys):
    history = tmp_path / "bench.jsonl"
    old = {"machine": "another", "name": "a", "ratio": 9.0, "commit": "0000000"}
    history.write_text(json.dumps(old) + "\n")
    write_entries([entry("a", 3.0)], tmp_path / "bench.json", history)
    assert "before" not in capsys.readouterr().out


def test_a_damaged_history_is_named(tmp_path):
    history = tmp_path / "bench.jsonl"
    history.write_text("{\n")
    with pytest.raises(BenchError, match=r"bench\.jsonl is damaged"):
        write_entries([entry("a", 3.0)], tmp_path / "bench.json", history)


def test_pairs_are_compared_pair_by_pair():
    ours, theirs = iter((1.0, 10.0, 3.0)), iter((2.0, 5.0, 3.0))
    result = paired(lambda: next(ours), lambda: next(theirs), rounds=3)
    assert (result.a, result.b, result.ratio) == (3.0, 3.0, 1.0)
