"""Processes are told apart by pid and start time."""

from __future__ import annotations

import subprocess
import sys

import psutil

from engine.jobs.process import holder_of, identity, lives, this_process


def test_this_process_lives() -> None:
    assert lives(identity(this_process()))
    assert holder_of({**this_process(), "port": 1}) == identity(this_process())


def test_a_pid_given_out_again_is_another_process() -> None:
    me = this_process()
    assert not lives(identity({**me, "start_time": me["start_time"] - 60}))


def test_a_dead_process_and_a_zombie_do_not_live() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    told = identity({"pid": child.pid, "start_time": psutil.Process(child.pid).create_time()})
    assert lives(told)
    child.kill()
    psutil.Process(child.pid).wait(timeout=10) if psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE else None
    assert not lives(told), "it is dead though nobody has waited for it"
    child.communicate()
    assert not lives(told)


def test_strange_words_are_nobody() -> None:
    for told in (
        {},
        {"pid": "1"},
        {"pid": 1, "start_time": None},
        {"pid": 10**30, "start_time": 1.0},
        {"pid": -1, "start_time": 1.0},
    ):
        assert holder_of(told) == ""
    for text in ("", "x", "1:x", ":", "99999999999999999999:1"):
        assert not lives(text)
