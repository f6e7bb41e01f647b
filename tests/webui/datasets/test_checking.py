"""The doctor through the routes: begun as a job, told in the visitor's language, put right with one call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from engine.config.check import CheckConfig
from engine.datasets.doctor import FINDINGS, examine
from engine.datasets.doctor.remedies import ELSEWHERE, REMEDIES
from engine.workspace import Workspace
from webui.context import Context
from webui.i18n import LANGUAGES, table

ROBOTS = {"dataset": "robots"}


@pytest.fixture()
def checked(robots: Path, workspace: Workspace) -> Path:
    """Three equal pictures, of which one has a caption, examined."""
    examine(CheckConfig(dataset="robots", trigger="robo"), workspace, lambda done, total: None)
    return robots


def look(client: TestClient, language: str = "en") -> dict[str, Any]:
    return client.get("check", params=ROBOTS, headers={"accept-language": language}).json()


def of(told: dict[str, Any], code: str) -> list[dict[str, Any]]:
    return [each for each in told["report"]["findings"] if each["code"] == code]


def test_a_check_waits_for_its_turn_and_can_be_cancelled(client: TestClient, context: Context, robots: Path) -> None:
    assert look(client) == {"state": "none", "done": 0, "total": 0, "error": None, "report": None}
    told = client.post("check", json={**ROBOTS, "config": {"batch_size": 2}}).json()
    job = context.jobs.get(told["job"])
    assert (job.kind, job.config["batch_size"], look(client)["state"]) == ("check", 2, "queued")
    client.delete("check", params=ROBOTS)
    assert look(client)["state"] == "cancelled"


def test_settings_that_are_none_are_refused(client: TestClient, robots: Path) -> None:
    for config, code in (({"batch_size": 0}, "config.invalid"), ({"model": "no-such-model"}, "model.not_found")):
        reply = client.post("check", json={**ROBOTS, "config": config})
        assert (reply.status_code, reply.json()["code"]) == (400, code)


def test_findings_come_with_their_pictures_in_the_visitors_language(client: TestClient, checked: Path) -> None:
    told = look(client)
    twins = of(told, "picture.duplicate")[0]
    assert told["report"]["verdict"] == "fix_first" and not told["report"]["outdated"]
    assert [each["name"] for each in twins["pictures"]] == ["a.png", "b.png", "c.png"]
    assert all(each["readable"] and each["v"] for each in twins["pictures"])
    missing = of(told, "caption.missing")[0]
    assert of(look(client, "ja"), "caption.missing")[0]["message"] != missing["message"]
    names = client.post("names", json={**ROBOTS, "query": {"finding": "caption.missing"}}).json()["names"]
    assert names == ["b.png", "c.png"]


def test_what_is_put_right_is_gone_at_once_and_comes_back_with_undo(client: TestClient, checked: Path) -> None:
    told = look(client)
    asked = {**ROBOTS, "at": told["report"]["at"], "findings": [of(told, "picture.duplicate")[0]["place"]]}
    done = client.post("remedy", json=asked)
    assert done.status_code == 200 and done.json()["history"]["undo"]
    assert sorted(file.name for file in checked.glob("*.png")) == ["a.png"]
    after = look(client)
    assert of(after, "picture.duplicate") == [] and after["report"]["outdated"]
    client.post("undo", json=ROBOTS)
    assert of(look(client), "picture.duplicate") == of(told, "picture.duplicate")


def test_only_findings_of_the_report_that_was_seen_are_put_right(client: TestClient, checked: Path) -> None:
    report = look(client)["report"]
    for at, places in ((report["at"] - 1, [0]), (report["at"], [99]), (report["at"], [-1])):
        reply = client.post("remedy", json={**ROBOTS, "at": at, "findings": places})
        assert (reply.status_code, reply.json()["code"]) == (400, "check.superseded")
    assert len(list(checked.glob("*.png"))) == 3


def test_what_takes_more_than_a_click_is_marked(client: TestClient, checked: Path) -> None:
    missing = of(look(client), "caption.missing")
    assert [each["elsewhere"] for each in missing] == [True, True]
    reply = client.post("remedy", json={**ROBOTS, "at": look(client)["report"]["at"], "findings": [missing[0]["place"]]})
    assert reply.json()["code"] == "remedy.none"


@pytest.mark.parametrize("code", LANGUAGES)
def test_every_finding_and_every_remedy_is_named(code: str) -> None:
    words = table(code)
    assert [each for each in FINDINGS if f"text.dataset.finding.{each}" not in words] == []
    assert [each for each in (*REMEDIES, ELSEWHERE) if f"text.dataset.remedy.{each.replace(':', '_')}" not in words] == []
