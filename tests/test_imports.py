"""The rules of the house, read from the sources: who may import whom, and what no source may contain."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / "launch.py", *sorted(file for room in ("bootstrap", "engine", "webui") for file in (ROOT / room).rglob("*.py"))]
HEAVY = {"torch", "diffusers", "transformers", "accelerate", "peft", "onnxruntime"}
LIGHT = [
    "engine.config",
    "engine.errors",
    "engine.workspace",
    "engine.jobs.lock",
    "engine.config.tools",
    "engine.downloads.download",
    "engine.grid.plan",
    "engine.jobs.store",
    "engine.generation.prompt",
    "engine.outputs",
    "engine.recall",
]

# Writes that are not `atomic_write`, each with its reason.
OWN_WRITES = {
    "engine/workspace.py": "is the one atomic write",
    "engine/jobs/events.py": "events.jsonl is appended to, a line at a time, and readers take whole lines only",
    "engine/downloads/fetch.py": "a download grows in a hidden .part file, and is checked and renamed when it is whole",
    "engine/datasets/history_log.py": "journal.jsonl is appended to: an operation is synced before it begins, then grows by a dot a step",
    "engine/datasets/steps.py": "thousands of files in one operation, each renamed into place; the journal has synced their content",
    "engine/jobs/lock.py": "a renamed file would leave the lock on the old one",
    "bootstrap/environment.py": "runs before the engine may be imported; writes beside the stamp and renames",
}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def room_of(file: Path) -> str:
    """`families` for engine/families/sd.py."""
    parts = file.relative_to(ROOT).parts
    return parts[1] if len(parts) > 2 else ""


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Every module a source imports anywhere in it, relative ones resolved, with the line."""
    package = list(file.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            yield base, node.lineno
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)


def offenders(files: list[Path], forbidden: set[str]) -> list[str]:
    """Imports of a forbidden module or anything inside it, as `file:line module`."""
    return [
        f"{name_of(file)}:{line} {module}"
        for file in files
        for module, line in imports(file)
        if any(module == name or module.startswith(name + ".") for name in forbidden)
    ]


def inside(*rooms: str) -> list[Path]:
    return [file for file in SOURCES if any(file.is_relative_to(ROOT / room) for room in rooms)]


# ---- who may know whom ----


def test_engine_knows_no_screen() -> None:
    assert offenders(inside("engine"), {"gradio", "gradio_client", "webui", "launch", "bootstrap"}) == []


def test_page_computes_nothing() -> None:
    assert offenders(inside("webui"), HEAVY | {"engine.training", "engine.families", "engine.adapters", "engine.device"}) == []


def test_families_and_adapters_do_not_know_each_other() -> None:
    assert offenders(inside("engine/families"), {"engine.adapters"}) == []
    assert offenders(inside("engine/adapters"), {"engine.families"}) == []


def test_tools_are_known_to_the_jobs_alone() -> None:
    others = [file for file in inside("engine") if room_of(file) not in ("tools", "jobs")]
    assert offenders(others, {"engine.tools"}) == []
    assert offenders(inside("engine/tools"), {"engine.jobs", "engine.training", "engine.generation"}) == []


def test_what_runs_before_the_environment_stands_needs_only_python() -> None:
    allowed = set(sys.stdlib_module_names) | {"bootstrap", "engine.jobs.lock", "webui.server"}
    files = [*inside("bootstrap"), ROOT / "launch.py", ROOT / "engine/jobs/lock.py"]
    strange = [
        f"{name_of(file)} {module}"
        for file in files
        for module, _ in imports(file)
        if module.partition(".")[0] not in allowed and not any(module.startswith(name) for name in allowed if "." in name)
    ]
    assert strange == []


@pytest.mark.parametrize("module", [*LIGHT, "webui.app"])
def test_light_modules_stay_light_through_everything_they_import(module: str) -> None:
    path = ROOT / module.replace(".", "/")
    if not (path.with_suffix(".py").exists() or (path / "__init__.py").exists()):
        pytest.skip(f"{module} is not there yet")
    code = f"import json, sys, {module}; print(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    heavy = HEAVY | {"PIL", "scipy"} | ({"gradio"} if module.startswith("engine") else set())
    if module == "webui.app":
        heavy -= {"PIL"}  # Gradio brings it
    assert set(json.loads(told.stdout.splitlines()[-1])) & heavy == set()


# ---- what no source may contain ----


def called(node: ast.Call) -> str:
    """The dotted name of what is called; a leading dot where the object is an expression."""
    parts: list[str] = []
    target: ast.expr = node.func
    while isinstance(target, ast.Attribute):
        parts.append(target.attr)
        target = target.value
    return ".".join(reversed([*parts, target.id if isinstance(target, ast.Name) else ""]))


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield called(node), node


def keyword(call: ast.Call, name: str) -> object:
    """The constant given for a keyword; None when it is absent or computed."""
    return next((word.value.value for word in call.keywords if word.arg == name and isinstance(word.value, ast.Constant)), None)


def dangerous(file: Path) -> list[str]:
    """Calls that would run text as code, start a shell, or read a pickle."""
    found = []
    for name, call in calls(file):
        last = name.rpartition(".")[2]
        if name in ("eval", "exec", "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"):
            found.append(f"{name_of(file)}:{call.lineno} {name}()")
        if any(word.arg == "trust_remote_code" for word in call.keywords):
            found.append(f"{name_of(file)}:{call.lineno} trust_remote_code")
        if keyword(call, "shell"):
            found.append(f"{name_of(file)}:{call.lineno} shell=True")
        if name == "torch.load" and keyword(call, "weights_only") is not True:
            found.append(f"{name_of(file)}:{call.lineno} torch.load without weights_only=True")
        if last in ("load", "load_all") and name.startswith("yaml."):
            found.append(f"{name_of(file)}:{call.lineno} {name}() instead of safe_load")
        if keyword(call, "allow_pickle"):
            found.append(f"{name_of(file)}:{call.lineno} allow_pickle=True")
    return found + [f"{line} (pickle)" for line in offenders([file], {"pickle", "dill", "cloudpickle", "shelve", "marshal"})]


def own_writes(file: Path) -> list[str]:
    """Calls that open a file for writing by its final name."""
    found = []
    for name, call in calls(file):
        last = name.rpartition(".")[2]
        if last in ("write_text", "write_bytes") or name == "os.write":
            found.append(f"{name_of(file)}:{call.lineno} {last}()")
        opens = name in ("open", "io.open", "gzip.open", "zipfile.ZipFile")
        if opens or (last == "open" and name not in ("os.open", "webbrowser.open", "Image.open", "PIL.Image.open")):
            named = next((word.value for word in call.keywords if word.arg == "mode"), None)
            given = call.args[opens] if len(call.args) > opens else named  # Path.open has the mode first, open() second
            mode = given.value if isinstance(given, ast.Constant) else "computed" if given else "r"
            if isinstance(mode, str) and (mode == "computed" or set(mode) & set("wax+")):
                found.append(f"{name_of(file)}:{call.lineno} {name}({mode!r})")
    return found


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_source_runs_no_text_as_code(file: Path) -> None:
    assert dangerous(file) == []


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_source_writes_through_atomic_write(file: Path) -> None:
    if name_of(file) not in OWN_WRITES:
        assert own_writes(file) == []


@pytest.mark.parametrize("name", OWN_WRITES)
def test_exceptions_are_still_needed(name: str) -> None:
    if not (ROOT / name).exists():
        pytest.skip(f"{name} is not there yet")
    if name != "engine/workspace.py":
        assert own_writes(ROOT / name), f"{name} writes nothing itself any more: take it off the list"


def test_the_rules_find_what_they_look_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (tmp_path / "engine" / "adapters").mkdir(parents=True)
    file = tmp_path / "engine" / "adapters" / "bad.py"
    bad = [
        "import pickle", "eval('1')", "exec('1')", "os.system('ls')", "run('ls', shell=True)", "load(trust_remote_code=True)",
        "torch.load(p)", "yaml.load(t)", "np.load(p, allow_pickle=True)",
    ]  # fmt: skip
    for line in bad:
        file.write_text(line)
        assert len(dangerous(file)) == 1, line
    file.write_text(
        "run('ls', shell=False)\ntorch.load(p, weights_only=True)\nyaml.safe_load(t)\nmodel.eval()\nnp.load(p)\nre.compile('')"
    )
    assert dangerous(file) == []
    for line in (
        "open(p, 'w')",
        "open(p, mode='ab')",
        "p.open('wb')",
        "p.write_text('')",
        "open(p, m)",
        "p.open('r+b')",
        "zipfile.ZipFile(p, 'w')",
    ):
        file.write_text(line)
        assert len(own_writes(file)) == 1, line
    file.write_text(
        "open(p)\nopen(p, 'rb')\np.open()\np.open('rb')\nImage.open(p)\nos.open(p, f)\nwith atomic_write(p) as s: s.write(b'')"
    )
    assert own_writes(file) == []
    for line in (
        "import engine.families.sd",
        "from engine.families import sd",
        "from engine import families",
        "from ..families import sd",
    ):
        file.write_text(line)
        assert offenders([file], {"engine.families"}), line
    file.write_text("import engine.families_of_functions")
    assert offenders([file], {"engine.families"}) == []
