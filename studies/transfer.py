"""The transfer study: every policy under every condition, always the same, one table at the end.

``minitaur transfer --help`` explains the options; ``studies.study`` explains how results
are kept. A result is one policy under one condition.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import tyro

from deploy.command_sources import AHEAD
from deploy.files import write_json
from deploy.policy.onnx_policy import OnnxPolicy
from deploy.record import plots
from robot_firmware_bridge.command_line import command
from sim.plant import params_file
from sim.plant.terrain import FLAT
from studies import figures
from studies.peers import MADE, STANDING, write_made
from studies.study import Job, Report, Result, Study, StudyError, choose, conduct
from training.evaluate import evaluate
from training.evaluation.job import Evaluation
from training.evaluation.report import summarize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from sim.plant.params_file import PlantFile

SEED = 0
SHIPPED = Path("policies")
# What the published table leaves out: every fall with its plant, every episode's figures.
_LONG = ("falls", "course_episodes", "each_episode")
# What ends an episode on a plant and needs no words in the table.
_FALLS = ("fell", "dropped")
# Slower than this, energy per metre says nothing.
_STILL_MPS = 0.05


@dataclass(frozen=True, slots=True)
class Condition:
    """One kind of plant, drawn anew for every episode.

    Attributes:
        name: Its name in results.
        title: What it is, for people.
        plant: Physics, a name in ``sim.plant.registry.PLANTS``, or ``emulator``.
        randomization: Ranges of the plant's parameters, a name in
            ``sim.plant.randomization.RANDOMIZATIONS``.
        push_n: Force of a 60 ms push every 1.2 s in a random horizontal direction; 0 for none.
        params: Name of a calibrated plant that ships, in the place of the identified robot.
        terrain: Ground to walk on, as ``TERRAIN=`` names it.
        course: What a policy that takes commands is told, as ``COURSE=`` says it; its course if
            None.
    """

    name: str
    title: str
    plant: str = "pybullet"
    randomization: str = "none"
    push_n: float = 0.0
    params: str | None = None
    terrain: str = FLAT
    course: str | None = None


def on_both_engines(condition: Condition) -> tuple[Condition, Condition]:
    """Return a condition on PyBullet and the same on MuJoCo."""
    other = replace(
        condition,
        name=f"mujoco-{condition.name}",
        title=f"{condition.title} in MuJoCo",
        plant="mujoco",
    )
    return condition, other


def calibrated_conditions(names: Sequence[str]) -> list[Condition]:
    """Return the conditions of calibrated plants, on both engines, nothing drawn but noise."""
    return [
        condition
        for name in names
        for condition in on_both_engines(Condition(name, f"calibrated robot {name}", params=name))
    ]


def ground_conditions() -> list[Condition]:
    """Return grounds and shoves, straight on at the greatest speed, on both engines."""
    ahead = Condition("ahead", "straight on at the greatest speed", course=AHEAD)
    blocks = [
        replace(ahead, name=f"blocks{mm}", title=f"blocks of up to {mm} mm", terrain=f"blocks{mm}")
        for mm in (10, 20, 40)
    ]
    slopes = [
        replace(ahead, name=f"{way}10", title=f"10 degrees {way}", terrain=f"slope10-{way}")
        for way in ("up", "down", "across")
    ]
    shoves = [
        replace(ahead, name=f"shove{n:g}", title=f"{n:g} N every 1.2 s, straight on", push_n=n)
        for n in _SHOVES_N
    ]
    drawn = [
        replace(
            condition,
            name=f"{condition.name}-table1",
            title=f"{condition.title}, Table I",
            randomization="table1",
        )
        for condition in (ahead, *blocks[:2])
    ]
    sill = replace(ahead, name="sill30", title="sills of 30 mm", terrain="sill30")
    ice = replace(ahead, name="ice", title="ice, a friction of 0.25", terrain="ice")
    all_of_them = (ahead, *blocks, sill, *slopes, ice, *shoves, *drawn)
    return [each for condition in all_of_them for each in on_both_engines(condition)]


# Titles of the randomisations of which no training draws anything.
_HELD_OUT = {
    "offsets": "encoders off by up to 0.05 rad",
    "play": "play of up to 0.06 rad",
    "uneven": "motors of 80 to 120 % strength",
    "jitter": "latency up to 30 ms longer",
    "lost": "up to 20 % of the commands lost",
    "sag": "a battery of up to 0.1 ohm",
    "soft": "toes or floor up to three times as soft",
    "unmodelled": "seven faults of real robots at once",
    "load2": "2 kg on the back",
    "weak": "a motor at half its torque",
}


def held_out_conditions() -> list[Condition]:
    """Return what no training has seen, straight on at the greatest speed, on both engines."""
    return [
        each
        for name, title in _HELD_OUT.items()
        for each in on_both_engines(Condition(name, title, randomization=name, course=AHEAD))
    ]


# The paper's range.
_SHOVES_N = (130.0, 175.0, 220.0)
PUSHES_N = (30.0, 60.0, 90.0, *_SHOVES_N)
# The curve of survival against force.
_PUSHED = ("nominal", *(f"push{n:g}" for n in PUSHES_N))
CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("nominal", "identified robot"),
        Condition("table1", "Table I of the paper", randomization="table1"),
        Condition("beyond", "half as wide again as Table I", randomization="beyond"),
        *(Condition(f"push{n:g}", f"{n:g} N every 1.2 s", push_n=n) for n in PUSHES_N),
        Condition("full", "unmerged model, self-collision", plant="pybullet-full"),
        Condition("stock", "the same, contact as published", plant="pybullet-stock"),
        Condition("mujoco", "identified robot in MuJoCo", plant="mujoco"),
        Condition("mujoco-table1", "Table I in MuJoCo", plant="mujoco", randomization="table1"),
        *calibrated_conditions(params_file.names()),
        *ground_conditions(),
        *held_out_conditions(),
        Condition("emulator", "control loop on the emulated board", plant="emulator"),
    )
}


@dataclass(frozen=True, kw_only=True)
class Transfer(Study):
    """Run policies under the conditions of the transfer study and write table and figure.

    Without options this is the whole study, which takes hours. Stopped, it goes on where it was.

    Attributes:
        policies: Names of policies or paths of ONNX files; all shipped ones, the standing robot and
            PyBullet's policies when left out.
        conditions: Names of conditions; all when left out.
        episodes: Episodes of a result.
        seconds: Length of an episode.
        reports: Folder for the whole report of every result too, POLICY.CONDITION.json, as
            ``training.evaluation.report`` makes it.
    """

    name: ClassVar[str] = "transfer"

    policies: tuple[str, ...] = ()
    conditions: tuple[str, ...] = ()
    episodes: int = 100
    seconds: float = 20.0
    reports: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    results: Path = Path("build/transfer")

    def jobs(self, commit: str) -> list[Job]:
        """List every job, policy by policy: ours, the standing robot, the peers."""
        conditions = choose(self.conditions, CONDITIONS)
        found = []
        for policy, file in gather(self.policies, self.results / "policies").items():
            digest = OnnxPolicy.load(file).digest
            found += [self._job(policy, file, digest, condition) for condition in conditions]
        return found

    def _job(self, policy: str, file: Path, digest: str, condition: Condition) -> Job:
        where: dict[str, Any] = {"plant": condition.plant, "randomization": condition.randomization}
        size: dict[str, Any] = {"episodes": self.episodes, "seconds": self.seconds, "seed": SEED}
        if condition.terrain != FLAT:
            where["terrain"] = condition.terrain
        if condition.course is not None:
            where["course"] = condition.course
        evaluation = Evaluation(
            file,
            push=condition.push_n,
            params=condition.params,
            workers=self.workers,
            **where,
            **size,
        )
        arguments = {
            "policy": policy,
            "policy_sha256": digest,
            "condition": condition.name,
            "push_n": condition.push_n,
            **where,
            **size,
        }
        calibrated = evaluation.calibrated()
        if calibrated is not None:  # another calibration by the same name is another condition
            arguments["params_sha256"] = calibrated.sha256
        compute = functools.partial(_evaluate, evaluation, calibrated, self.episodes)
        return Job(f"{policy}.{condition.name}", arguments, compute)

    def line(self, result: Result) -> str:
        """Return the figures of a result in one line."""
        pairs = zip(_COLUMNS[2:-1], row(result.figures), strict=True)
        return "; ".join(f"{column} {value}" for column, value in pairs)

    def page(self, results: Sequence[Result]) -> str:
        """Return results as a Markdown page."""
        head = _HEAD.format(episodes=self.episodes, seconds=self.seconds)
        return f"{head}\n{table(results)}\n"

    def draw(self, results: Sequence[Result], path: Path) -> None:
        """Draw survival against push force, and speed by condition, as PNG."""
        left, right = (functools.partial(d, results=results) for d in (_survival, _speeds))
        figures.draw(path, left, right, ratio=0.67)

    def published_figures(self, result: Result) -> dict[str, Any]:
        """Return the figures without the long lists."""
        return {name: value for name, value in result.figures.items() if name not in _LONG}

    def write(self, results: Sequence[Result], missing: Sequence[str], folder: Path) -> list[Path]:
        """Write page, table and figure, by condition, and the whole reports if they are wanted."""
        order = list(CONDITIONS)
        ordered = sorted(results, key=lambda result: order.index(result.arguments["condition"]))
        paths = super().write(ordered, missing, folder)
        for result in ordered if self.reports else ():
            if "falls" not in result.figures:
                raise StudyError(f"no whole report of {result.name}: leave --commit out")
            paths.append(Path(self.reports or ".") / f"{result.name}.json")
            write_json(paths[-1], result.figures)
        return paths


def gather(names: Sequence[str], folder: Path, shipped: Path = SHIPPED) -> dict[str, Path]:
    """Return policy files by name; the standing robot and the peers are written to ``folder``.

    Names can be paths of ONNX files too; no names mean everyone who is known.

    Raises:
        StudyError: There is no such policy, or two of one name, or a peer cannot be read.
    """
    known = {path.stem: path for path in sorted(shipped.glob("*.onnx"))}
    known |= {name: folder / f"{name}.onnx" for name in MADE}
    files: dict[str, Path] = {}
    for name in names or known:
        path = Path(name) if name.endswith(".onnx") else known.get(name)
        if path is None:
            options = f"{', '.join(known)}, or the path of an ONNX file"
            raise StudyError(f"unknown policy {name!r}; known: {options}")
        if path.stem in files or (path.stem in MADE and name not in MADE):
            raise StudyError(f"the name {path.stem!r} means two policies; rename a file")
        files[path.stem] = path
        if name in MADE:
            write_made(name, path)
    return files


def _evaluate(
    evaluation: Evaluation, calibrated: PlantFile | None, episodes: int, report: Report
) -> dict[str, Any]:
    results = []
    for result in evaluate(evaluation, calibrated):
        results.append(result)
        report(len(results) / episodes)
    return summarize(evaluation, results, calibrated)


_COLUMNS = (
    "condition",
    "policy",
    "survived",
    "motors off",
    "speed, m/s",
    "5th percentile",
    "power, W",
    "cost of transport",
    "commit",
)
_HEAD = """# Transfer: policies on plants that they were not trained on

Written by `make transfer`: {episodes} episodes of {seconds:g} s in every row, the same plants for
all policies. Speed is net displacement along the start heading over the whole {seconds:g} s, so
that a fall is never faster. Power is the sum of absolute motor powers while the robot is up. Cost
of transport is the median over the episodes. "Motors off" counts the episodes in which a motor
overheated and was switched off. `standing` holds the stance. `peer-*` are the policies that ship
with PyBullet, decoded by `studies/peers.py` and run through the same pipeline. Under `emulator` the
control loop runs against the board's firmware, wire included, in lockstep, and power is what the
board measures. What ended episodes other than a fall stands behind the survivors. "Commit" is the
code that computed the row. The conditions are in `studies/transfer.py`;
[transfer.json](transfer.json) has all figures.

![Survival against push force; speed by condition](transfer.png)
"""


def row(report: dict[str, Any]) -> tuple[str, ...]:
    """Return the figures of a report, those of the table's columns from "survived" on."""
    speed = report["speed_mps"]
    causes = report.get("causes", {}).items()
    why = ", ".join(f"{name} {number}" for name, number in causes if name not in _FALLS)
    return (
        f"{report['survived']} of {report['episodes']}" + (f" ({why})" if why else ""),
        f"{report['overheated']}",
        f"{speed['mean']:.2f}",
        f"{speed['p5']:.2f}",
        f"{report['mean_power_w']:.1f}",
        f"{report['cost_of_transport']:.2f}" if speed["mean"] > _STILL_MPS else "-",
    )


def table(results: Sequence[Result]) -> str:
    """Return the Markdown table of results; a condition is named in its first row."""
    rows, before = [], ""
    for result in results:
        condition = CONDITIONS[result.arguments["condition"]]
        title = f"{condition.title} (`{condition.name}`)"
        policy = result.arguments["policy"]
        rows.append(("" if title == before else title, policy, *row(result.figures), result.commit))
        before = title
    return figures.table(_COLUMNS, rows)


def push_curve(results: Sequence[Result], policy: str) -> list[tuple[float, float]]:
    """Return push force and survival rate of a policy on the nominal plant, by rising force."""
    return sorted(
        (float(result.arguments["push_n"]), float(result.figures["survival_rate"]))
        for result in results
        if result.arguments["policy"] == policy and result.arguments["condition"] in _PUSHED
    )


def _colours(results: Sequence[Result]) -> dict[str, str]:
    """Return a colour for every policy; grey for the standing robot."""
    policies = dict.fromkeys(str(result.arguments["policy"]) for result in results)
    colours = itertools.cycle(plots.COLOURS)
    return {name: plots.GREY if name == STANDING else next(colours) for name in policies}


def _survival(axis: Axes, results: Sequence[Result]) -> None:
    for policy, colour in _colours(results).items():
        curve = push_curve(results, policy)
        forces, rates = [force for force, _ in curve], [100.0 * rate for _, rate in curve]
        style = "--" if policy == STANDING else "-"
        axis.plot(forces, rates, style, color=colour, marker="o", markersize=4, label=policy)
    axis.set_title("Survival under a 60 ms push every 1.2 s", loc="left")
    axis.set_xlabel("push, N")
    axis.set_ylabel("episodes without a fall, %")
    axis.set_ylim(-3.0, 103.0)
    if results:
        axis.legend(frameon=False, loc="center left")


def _speeds(axis: Axes, results: Sequence[Result]) -> None:
    """Draw bars of the mean, with a mark at the 5th percentile."""
    apart = {condition.name for condition in (*ground_conditions(), *held_out_conditions())}
    unpushed = [
        result
        for result in results
        if result.arguments["push_n"] == 0.0 and result.arguments["condition"] not in apart
    ]
    names = list(dict.fromkeys(result.arguments["condition"] for result in unpushed))
    colours = _colours(results)
    width = 0.8 / max(1, len(colours))
    for i, (policy, colour) in enumerate(colours.items()):
        own = [result for result in unpushed if result.arguments["policy"] == policy]
        at = [names.index(r.arguments["condition"]) + (i + 0.5) * width - 0.4 for r in own]
        speeds = [result.figures["speed_mps"] for result in own]
        axis.bar(at, [speed["mean"] for speed in speeds], width * 0.9, color=colour)
        p5 = [speed["p5"] for speed in speeds]
        axis.scatter(at, p5, marker="_", s=60, color="black", linewidths=1.2, zorder=3)
    axis.set_title("Mean speed; the mark is the 5th percentile", loc="left")
    labels = [name.replace("-", "-\n") for name in names]
    axis.set_xticks(range(len(names)), labels, fontsize=8)
    axis.axhline(0.0, color="black", linewidth=0.6)
    axis.set_ylabel("m/s")


@command
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see ``studies.study.conduct`` for the exit codes."""
    return conduct(tyro.cli(Transfer, args=arguments, prog="minitaur transfer"))


if __name__ == "__main__":
    sys.exit(main())
