#!/usr/bin/env python3
"""The filed runs: their shape, their links, and that every command names what exists.

`python -m pytest benches`, or this file by itself. Nothing is measured and nothing is built: flags
of the scripts are taken from their `--help`, those of `trimer` from its sources.
"""
from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path

import refile

BENCHES = Path(__file__).resolve().parent
ROOT = BENCHES.parent
RUNS = BENCHES / "runs"
CLI = ROOT / "crates" / "trimer-cli" / "src"
# Flags that clap adds.
ALWAYS = {"--help", "--version"}
ASSIGNMENT = re.compile(r"([A-Z]+)=.*", re.S)
FENCE = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


def documents() -> list[Path]:
    """Every Markdown file that may link to a filed run."""
    found = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
    found += sorted((ROOT / "docs").rglob("*.md"))
    return found + sorted(BENCHES.rglob("*.md"))


def commands() -> Iterator[tuple[str, list[str]]]:
    """Where each command stands, and its words: those of the READMEs and of refile.py."""
    for path in sorted(BENCHES.rglob("README.md")):
        for block in FENCE.findall(path.read_text(encoding="utf-8")):
            for line in block.replace("\\\n", " ").splitlines():
                yield from words(str(path.relative_to(ROOT)), line)
    for step in refile.STEPS:
        line = step.command.replace("PYTHON ", "").replace("TRIMER ", "trimer ")
        yield from words("benches/refile.py", line.replace("; do ", " && ").replace("; done", ""))


def words(where: str, line: str) -> Iterator[tuple[str, list[str]]]:
    """The commands of a line, split as a shell splits them."""
    for one in line.split("&&"):
        found = shlex.split(one, comments=True)
        if found:
            yield f"{where}: {one.strip()}", found


@functools.cache
def script_flags(script: Path) -> frozenset[str]:
    """The flags in a script's `--help`."""
    done = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"{script} --help failed: {done.stderr}")
    return frozenset(re.findall(r"--[a-z][a-z-]*", done.stdout))


@functools.cache
def trimer_sources() -> tuple[frozenset[str], frozenset[str]]:
    """Verbs and flags of the command line, from the clap derives."""
    verbs: set[str] = set()
    flags = set(ALWAYS)
    for path in CLI.rglob("*.rs"):
        text = path.read_text(encoding="utf-8")
        for body in re.findall(r"enum \w*(?:Verb|Command)\w* \{\n(.*?)\n\}", text, re.S):
            verbs |= {kebab(name) for name in re.findall(r"^    ([A-Z]\w*)\b", body, re.M)}
        flags |= {f"--{name}" for name in re.findall(r"\blong = \"([a-z-]+)\"", text)}
        plain = re.findall(
            r"#\[arg\((?:[^\]]|\](?=[,\)]))*?\blong\b(?! =).*?\)\]\s+(?:pub(?:\(\w+\))? )?(\w+):",
            text,
            re.S,
        )
        flags |= {f"--{name.replace('_', '-')}" for name in plain}
    return frozenset(verbs), frozenset(flags)


def kebab(name: str) -> str:
    """`OneWord` as clap names it."""
    return re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower()


def problems(found: list[str]) -> Iterator[str]:
    """What of a command does not exist."""
    variables = []
    while found and (match := ASSIGNMENT.fullmatch(found[0])):
        variables.append(match[1])
        found = found[1:]
    if found and found[0] == "/usr/bin/time":
        found = found[found.index("trimer") :]
    if not found:
        return
    program, *rest = found
    flags = [word.split("=")[0] for word in rest if re.match(r"--[a-z]", word)]
    if program.startswith("benches/") or "/bin/python" in program:
        script = program if program.startswith("benches/") else rest[0]
        if script.startswith("benches/"):
            yield from script_problems(ROOT / script, rest, flags, variables)
    elif program == "trimer":
        verbs, known = trimer_sources()
        if rest[0] not in verbs:
            yield f"trimer has no command `{rest[0]}`"
        yield from (f"trimer has no flag `{flag}`" for flag in flags if flag not in known)
    elif program == "cargo":
        names = (b for a, b in zip(rest, rest[1:]) if a == "-p")
        yield from (f"no crate `{n}`" for n in names if not (ROOT / "crates" / n).is_dir())
    elif program not in {"rm", "for", "python3", "env/bin/pip"}:
        yield f"`{program}` is not a program of this repository"


def script_problems(
    script: Path, rest: list[str], flags: list[str], variables: list[str]
) -> Iterator[str]:
    """What of a call of a script in benches does not exist."""
    if not os.access(script, os.X_OK):
        yield f"{script} does not exist or cannot be run"
    elif script.suffix == ".py":
        known = script_flags(script)
        yield from (f"no flag `{flag}`" for flag in flags if flag not in known)
    else:
        text = script.read_text(encoding="utf-8")
        shared = (script.parent / "common.sh").read_text(encoding="utf-8")
        parts = [part.replace("-", "_") for part in rest[2:]]
        yield from (f"no part `{p}`" for p in parts if f"part_{p}()" not in text)
        yield from (f"reads no variable {v}" for v in variables if f"${{{v}:" not in text + shared)


class Runs(unittest.TestCase):
    """What is filed."""

    def test_every_topic_has_a_readme_and_tables_alone(self) -> None:
        topics = [topic for run in RUNS.iterdir() if run.is_dir() for topic in run.iterdir()]
        self.assertTrue(topics)
        for topic in topics:
            with self.subTest(topic):
                self.assertRegex(topic.parent.name, r"^\d{4}-\d{2}-\d{2}-[a-z0-9-]+$")
                self.assertTrue(topic.is_dir(), "a file among the topics")
                readme = topic / "README.md"
                self.assertTrue(readme.is_file())
                text = readme.read_text(encoding="utf-8")
                self.assertIn("achine:", text)
                self.assertRegex(text, FENCE)
                for table in topic.iterdir():
                    self.assertTrue(table.is_file())
                    self.assertIn(table.suffix, {".md", ".json"})

    def test_every_link_leads_somewhere(self) -> None:
        for path in documents():
            for link in LINK.findall(path.read_text(encoding="utf-8")):
                if "://" in link or "benches" not in str((path.parent / link).resolve()):
                    continue
                with self.subTest(path=path, link=link):
                    self.assertTrue((path.parent / link).exists())

    def test_every_command_exists(self) -> None:
        found = list(commands())
        self.assertGreater(len(found), 40)
        for where, command in found:
            with self.subTest(where):
                self.assertEqual(list(problems(command)), [])

    def test_what_does_not_exist_is_noticed(self) -> None:
        for wrong in (
            "benches/quality/run.sh DATA OUT",
            "benches/quality/compare.sh DATA OUT nothing",
            "SPLIT=1 benches/quality/compare.sh DATA OUT mosi",
            "benches/speed/scaling.py --nothing",
            "trimer corpus synth --nothing DIR",
            "trimer nothing",
            "cargo bench -p nothing",
            "export.py mosi",
        ):
            with self.subTest(wrong):
                self.assertEqual(len(list(problems(shlex.split(wrong)))), 1)


class Refile(unittest.TestCase):
    """The script that makes everything again."""

    def dry_run(self, *flags: str) -> str:
        """What it would run."""
        command = [sys.executable, str(BENCHES / "refile.py"), "D", "O", "F", "--dry-run", *flags]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def test_every_step_is_printed_with_its_paths(self) -> None:
        printed = self.dry_run()
        self.assertEqual(printed.count("\n# ") + 1, len(refile.STEPS))
        for placeholder in ("DATA", "OUT", "FILED", "TRIMER", "PYTHON"):
            self.assertNotRegex(printed, rf"\b{placeholder}\b")
        self.assertIn("SYNTH=750 benches/quality/compare.sh D O/compare synth\n", printed)

    def test_one_topic_alone(self) -> None:
        printed = self.dry_run("--only", "conversations", "--pages")
        self.assertNotIn("compare.sh", printed)
        self.assertIn("file.py conversations O/conversations F/conversations --pages", printed)

    def test_every_filed_table_is_made_by_a_step_or_named_as_a_record(self) -> None:
        """Of the newest run; records are tables whose README says that nothing makes them."""
        made = {step.tables for step in refile.STEPS} | {"calibration/calibration", "labels/cremad"}
        records = {"conversations/mosi-plugins-pairs", "quality/lfmim"}
        for table in RUNS.glob("2026-1*/*/*.json"):
            name = f"{table.parent.name}/{table.stem}"
            if "-folds" not in name and name not in records:
                self.assertIn(name, made)

    def test_names_of_steps_differ(self) -> None:
        names = [step.name() for step in refile.STEPS]
        self.assertEqual(len(names), len(set(names)))


if __name__ == "__main__":
    unittest.main()
