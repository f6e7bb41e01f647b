"""The log and its fold: each step once, whatever crashed in between."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.jobs.events import EventLog, append_text, fold
from engine.training.events import Checkpoint, Done, Phase, Resumed, Sample, Started, Step, Stopped, Warned

STEPS = 12
ROOT = Path(__file__).parents[3]


def story(first: int, last: int) -> list[dict]:
    """Events of the steps after `first` up to `last`; samples and a version at every third."""
    events: list = []
    for step in range(first + 1, last + 1):
        events.append(Step(step, 1 / step, step / 100, 1.0, 0.5))
        if step % 3 == 0:
            events += [Checkpoint(step, 1, f"{step}.safetensors"), Sample(step, 0, "p", 1, f"{step}.png"), Phase("training")]
    return [event.to_dict() for event in events]


def begin(steps: int = STEPS) -> dict:
    return Started(steps, 16, 4, {"unet": 1}, {"unet": 10}, "cpu", "no").to_dict()


def attempts(*parts: list[dict]) -> list[dict]:
    return [{**event, "attempt": number} for number, part in enumerate(parts, 1) for event in part]


@st.composite
def crashed_runs(draw: st.DrawFn) -> list[dict]:
    """A run to the end, with crashes; each attempt goes on from some saved step, or from the start without a word."""
    parts, saved = [], 0
    for _ in range(draw(st.integers(0, 4))):
        reached = draw(st.integers(saved, STEPS))
        parts.append([*([Resumed(saved).to_dict()] if saved else []), begin(), *story(saved, reached)])
        cut = draw(st.integers(0, 3))
        parts[-1] = parts[-1][: len(parts[-1]) - cut] if cut else parts[-1]
        told = [event["step"] for event in parts[-1] if event["type"] == "step"]
        saved = draw(st.integers(saved, max([saved, *told])))
    parts.append([*([Resumed(saved).to_dict()] if saved else []), begin(), *story(saved, STEPS), Done(STEPS, "x", 9.0).to_dict()])
    return attempts(*parts)


@settings(deadline=None)
@given(crashed_runs())
def test_each_step_stands_once_whatever_crashed(events: list[dict]) -> None:
    view = fold(events)
    straight = fold(attempts([begin(), *story(0, STEPS), Done(STEPS, "x", 9.0).to_dict()]))
    assert view.losses == straight.losses == [(step, 1 / step) for step in range(1, STEPS + 1)]
    assert view.learning_rates == straight.learning_rates
    steps_with_samples = [sample["step"] for sample in view.samples]
    assert steps_with_samples == sorted(set(steps_with_samples))
    assert view.step == STEPS and view.done and view.seconds_left is None


@settings(deadline=None, max_examples=25)
@given(crashed_runs(), st.data())
def test_reading_on_folds_to_the_same(tmp_path_factory, events: list[dict], data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("run")
    reader, seen = EventLog(folder), []
    for event in events:
        EventLog(folder, event["attempt"]).append(event)
        if data.draw(st.booleans()):
            seen += reader.read(seen[-1]["number"] if seen else 0)
    seen += reader.read(seen[-1]["number"] if seen else 0)
    assert [event["number"] for event in seen] == list(range(1, len(events) + 1))
    assert seen == EventLog(folder).read()
    assert fold(seen).losses == fold(events).losses


def test_rewinding_forgets_samples_and_versions_too() -> None:
    view = fold(attempts([begin(), *story(0, 7)], [Resumed(4).to_dict(), begin()]))
    assert view.step == 4 and [step for step, _ in view.losses] == [1, 2, 3, 4]
    assert [sample["file"] for sample in view.samples] == ["3.png"]
    assert [version["file"] for version in view.checkpoints] == ["3.safetensors"]


def test_a_new_attempt_forgets_how_the_last_one_ended() -> None:
    failed = [begin(), *story(0, 2), {"type": "error", "code": "x", "what": "It broke."}]
    assert (fold(attempts(failed)).error or {})["what"] == "It broke."
    stopped = fold(attempts(failed, [Resumed(2).to_dict(), Stopped(2).to_dict()]))
    assert stopped.error is None and stopped.stopped
    assert not fold(attempts(failed, [Stopped(2).to_dict()], [Phase("loading").to_dict()])).stopped


def test_time_left_phase_and_warnings() -> None:
    warning = Warned("picture.skipped", "a.png cannot be read.").to_dict()
    view = fold(attempts([begin(), warning, *story(0, 4), warning, Phase("sampling", 1, 2).to_dict()]))
    assert view.seconds_left == (STEPS - 4) * 0.5
    assert (view.phase, view.phase_done, view.phase_total) == ("sampling", 1, 2)
    assert len(view.warnings) == 1 and view.steps == STEPS
    assert fold([]).seconds_left is None


def test_unknown_and_malformed_events_are_passed_over() -> None:
    bad = [{"type": "step"}, {"type": "step", "step": "x"}, {"type": "news"}, {"type": "sample", "step": None}]
    view = fold(attempts([begin(), *bad, *story(0, 3)]))
    assert [step for step, _ in view.losses] == [1, 2, 3]


def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    assert log.read() == []
    log.append(Phase("loading").to_dict())
    with log.path.open("ab") as stream:
        stream.write(b'{"type": "step", "st')
    assert len(log.read()) == 1, "a line being written is not taken"
    EventLog(tmp_path, 2).append(Resumed(0).to_dict())
    events = EventLog(tmp_path).read()
    assert [(event["type"], event["attempt"], event["number"]) for event in events] == [("phase", 1, 1), ("resumed", 2, 3)]
    assert log.read(1) == events[1:]


def test_other_text_in_the_log_is_harmless(tmp_path: Path) -> None:
    log = EventLog(tmp_path)
    for line in ("[1]", "null", '"x"', '{"no": "type"}', '{"type": 3}', "\xff", ""):
        append_text(log.path, line + "\n")
    log.append(Phase("loading").to_dict())
    assert [event["type"] for event in log.read()] == ["phase"]


def test_a_killed_writer_leaves_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from engine.jobs.events import EventLog\n"
        "log = EventLog(Path(sys.argv[1]))\n"
        "for step in range(10**6):\n"
        "    log.append({'type': 'step', 'step': step, 'loss': 0.5})\n"
        "    if step == 50: print('far enough', flush=True)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT)
    assert writer.stdout and writer.stdout.readline()
    writer.kill()
    writer.wait()
    lines = (tmp_path / "events.jsonl").read_bytes().split(b"\n")
    assert [json.loads(line)["step"] for line in lines[:-1]] == list(range(len(lines) - 1))
