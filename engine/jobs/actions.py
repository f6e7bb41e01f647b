"""What a user can do with jobs: the verbs that the page, the command line and the API share.

They check everything first, so that what enters the queue can be carried out. Torch-free; they never compute.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine.config.caption import CaptionConfig
from engine.config.check import CheckConfig
from engine.config.choices import ModelChoice
from engine.config.downloads import DownloadConfig
from engine.config.generate import GenerateConfig
from engine.config.grid import GridConfig
from engine.config.thumbnails import ThumbnailConfig
from engine.config.tools import ToolConfig
from engine.config.train import ModelOptions, TrainConfig
from engine.datasets.captioning import check_captioning
from engine.downloads.sites import sites_of
from engine.downloads.source import parse_source
from engine.errors import JobError, PathError
from engine.fitting import check_config, read_profile
from engine.grid.plan import plan_grid, settle
from engine.jobs import run_folder
from engine.jobs.generating import ResultPicture, pictures_of
from engine.jobs.job import DOWNLOADS, FILES, LIVE, WORKING, Job, Kind, lane_of
from engine.jobs.process import lives
from engine.jobs.store import JobStore, name_taken, new_id, open_store
from engine.jobs.supervisor import wake
from engine.library import choose, find_model
from engine.preflight import preflight
from engine.tools.plan import Plan, changes_its_file, default_name, plan
from engine.workspace import Workspace, check_name

SHOWN_PROMPT = 60


def start_training(config: TrainConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue a run. The same `press_id` gives the same job.

    Raises:
        EngineError: what `preflight` raises; `output.name_taken` with a free name as `values["suggestion"]`.
    """
    store = open_store(workspace.database)
    if press_id and (made := store.by_press(press_id)):
        return made
    config = config.model_copy(deep=True)
    config.output.name = check_name(config.output.name)
    if is_taken(config.output.name, workspace):
        raise name_taken(config.output.name, free_name(config.output.name, workspace))
    preflight(config, workspace)
    config.dataset.folder = _dataset_anywhere(config.dataset.folder, workspace)
    _name_model(config.model, "path", workspace)
    id = new_id()
    folder = run_folder.create(workspace, id, config)
    try:
        job = store.add("train", config.model_dump(mode="json"), config.output.name, press_id, folder, id)
    except BaseException:
        run_folder.discard(workspace, folder)
        raise
    if job.id != id:  # the same press, twice at one time
        run_folder.discard(workspace, folder)
    wake(workspace)
    return job


def start_generation(config: GenerateConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue pictures. The same `press_id` gives the same job.

    Raises:
        EngineError: the model is not there; `device.unsupported`; `run.not_live` when the run whose adapter is asked for is not
            training.
    """
    store = open_store(workspace.database)
    config = config.model_copy(deep=True)
    check_config(read_profile(workspace.root / "config"), config)
    choose(config.choice, workspace)
    _name_model(config, "model", workspace)
    _name_source(config, workspace)
    if config.live_run and store.get(config.live_run).state != "running":
        raise JobError(
            "run.not_live", "The run is not training now.", todo="Use its finished LoRA in the prompt: <lora:name:1>.",
            id=config.live_run, field="live_run",
        )  # fmt: skip
    name = " ".join(config.prompt.split())[:SHOWN_PROMPT]
    job = store.add("generate", config.model_dump(mode="json"), name, press_id)
    wake(workspace)
    return job


def start_grid(config: GridConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue a grid, its seeds drawn. The same `press_id` gives the same job.

    Raises:
        EngineError: what `plan_grid` raises; the model is not there; `device.unsupported`.
    """
    store = open_store(workspace.database)
    config = settle(config)
    check_config(read_profile(workspace.root / "config"), config.picture)
    choose(config.picture.choice, workspace)
    _name_model(config.picture, "model", workspace)
    plan = plan_grid(config, workspace)
    job = store.add("grid", config.model_dump(mode="json"), " ".join(plan.prompts[0].split())[:SHOWN_PROMPT], press_id)
    wake(workspace)
    return job


def start_tool(config: ToolConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue the use of a tool. The same `press_id` gives the same job.

    Raises:
        EngineError: what `plan` raises; `output.name_taken` with a free name as `values["suggestion"]`.
    """
    store = open_store(workspace.database)
    if press_id and (made := store.by_press(press_id)):
        return made
    config = config.model_copy(deep=True)
    found = plan(config, workspace)
    _name_paths(config, found, workspace)
    if found.out and not changes_its_file(config):
        config.output.name = _tool_name(config, found, workspace)
    job = store.add("tool", config.model_dump(mode="json"), config.output.name or found.files[0][0].stem, press_id)
    wake(workspace)
    return job


def start_download(config: DownloadConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue a download. The same `press_id` gives the same job, and so does what is on its way already.

    Raises:
        DownloadError: nothing that can be fetched is named.
    """
    store = open_store(workspace.database)
    source = str(parse_source(config.source, sites_of(workspace)))
    under_way = (job for job in store.list(limit=-1, states=LIVE, kinds=("download",)) if job.config["source"] == source)
    config = config.model_copy(update={"source": source})
    job = next(under_way, None) or store.add("download", config.model_dump(mode="json"), source, press_id)
    wake(workspace, DOWNLOADS)
    return job


def start_check(config: CheckConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue a look at a dataset. The same `press_id` gives the same job; one of the same dataset that has not begun is left out.

    Raises:
        EngineError: the dataset or the model is not there.
    """
    store = open_store(workspace.database)
    choose(ModelChoice(config.model), workspace)
    model = _model_anywhere(config.model, workspace)
    folder = _dataset_anywhere(config.dataset, workspace)
    _leave_out(store, ("check",), folder)
    job = store.add("check", {**config.model_dump(mode="json"), "dataset": folder, "model": model}, Path(folder).name, press_id)
    wake(workspace, FILES)
    return job


def start_thumbnails(dataset: str, workspace: Workspace) -> Job:
    """Queue small pictures of a whole dataset, unless that is being done."""
    store = open_store(workspace.database)
    folder = _dataset_anywhere(dataset, workspace)
    waiting = store.list(limit=-1, states=("queued", *WORKING), kinds=("thumbnails",))
    job = next((job for job in waiting if job.config["dataset"] == folder), None)
    job = job or store.add("thumbnails", ThumbnailConfig(dataset=folder).model_dump(mode="json"), Path(folder).name)
    wake(workspace, FILES)
    return job


def start_captioning(config: CaptionConfig, workspace: Workspace, press_id: str | None = None) -> Job:
    """Queue captions for a dataset. The same `press_id` gives the same job.

    Raises:
        EngineError: what `check_captioning` raises.
    """
    store = open_store(workspace.database)
    check_captioning(config, workspace)
    folder = _dataset_anywhere(config.dataset, workspace)
    kind: Kind = "tag" if config.tagger.kind == "wd14" else "caption"
    job = store.add(kind, {**config.model_dump(mode="json"), "dataset": folder}, Path(folder).name, press_id)
    wake(workspace, lane_of(kind))
    return job


def _leave_out(store: JobStore, kinds: tuple[Kind, ...], folder: str) -> None:
    """Take jobs of a dataset that have not begun out of the queue: another is asked for in their place."""
    for job in store.list(limit=-1, states=("queued",), kinds=kinds):
        if job.config["dataset"] == folder:
            store.ask(job.id, "cancel")


def _name_paths(config: ToolConfig, found: Plan, workspace: Workspace) -> None:
    """Name files and models so that a process in another folder finds them."""
    tool = config.tool
    if hasattr(tool, "files"):
        tool.files = [f"{path}:{weight!r}" for path, weight in found.files]
    for field, (path, _) in zip(("file", "other"), found.files, strict=False):
        if hasattr(tool, field):
            setattr(tool, field, str(path))
    for field in found.models:
        setattr(tool, field, _model_anywhere(getattr(tool, field), workspace))
    if hasattr(tool, "embeddings"):
        tool.embeddings = [str(path) for path in found.embeddings.values()]
    if found.cover and hasattr(tool, "cover"):
        tool.cover = str(found.cover)


def _tool_name(config: ToolConfig, found: Plan, workspace: Workspace) -> str:
    """The name of what a tool makes: as typed, or a free one that says what was done to what."""
    taken = model_taken if config.tool.kind == "bake" else is_taken
    name = check_name(config.output.name or default_name(config, found.files))
    if not taken(name, workspace):
        return name
    suggestion = free_name(name, workspace, taken)
    if config.output.name:
        raise name_taken(name, suggestion)
    return suggestion


def stop(job: Job, workspace: Workspace) -> Job:
    """Ask a run to save and stop; it can be resumed. One that waits in the queue is taken out of it. Pictures are cancelled."""
    job = open_store(workspace.database).ask(job.id, "stop")
    wake(workspace)
    return job


def cancel(job: Job, workspace: Workspace) -> Job:
    """Ask a job to end for good. What it has made so far is kept."""
    job = open_store(workspace.database).ask(job.id, "cancel")
    wake(workspace, lane_of(job.kind))
    return job


def skip(job: Job, workspace: Workspace) -> None:
    """Leave out the rest of the batch at work; the next one goes on."""
    open_store(workspace.database).skip(job.id)


def resume(job: Job, workspace: Workspace) -> Job:
    """Queue a stopped, lost or failed run again; it goes on in its folder from its last saved state.

    Raises:
        EngineError: it cannot be resumed, its folder has gone, or its settings are not valid any more.
    """
    store = open_store(workspace.database)
    store.reap(lives)
    run_folder.read_config(run_folder.locate(workspace, store.get(job.id)))
    job = store.requeue(job.id)
    wake(workspace)
    return job


def pictures(job: Job, workspace: Workspace) -> list[ResultPicture]:
    """The pictures a job made, with absolute paths; those deleted since are left out."""
    return pictures_of(job, workspace)


def is_taken(name: str, workspace: Workspace) -> bool:
    """Whether a LoRA, a live run or a live tool has this name, upper and lower case being one."""
    making = [
        job for job in open_store(workspace.database).list(limit=-1, states=LIVE, kinds=("train", "tool")) if not _bakes(job)
    ]
    files = (file.stem for file in workspace.loras.glob("*.safetensors"))
    return name.casefold() in {each.casefold() for each in (*(job.name for job in making), *files)}


def model_taken(name: str, workspace: Workspace) -> bool:
    """Whether a base model in the workspace, or one that is being made, has this name."""
    making = [job for job in open_store(workspace.database).list(limit=-1, states=LIVE, kinds=("tool",)) if _bakes(job)]
    files = (path.name.removesuffix(".safetensors") for path in workspace.checkpoint_folders[0].glob("*"))
    return name.casefold() in {each.casefold() for each in (*(job.name for job in making), *files)}


def _bakes(job: Job) -> bool:
    """Whether a job makes a base model and not an adapter."""
    return job.kind == "tool" and job.config["tool"]["kind"] == "bake"


def free_name(name: str, workspace: Workspace, taken: Callable[[str, Workspace], bool] = is_taken) -> str:
    """A name like this one that nobody has: name-v2, name-v3, ..."""
    number = 2
    while taken(f"{name}-v{number}", workspace):
        number += 1
    return f"{name}-v{number}"


def _dataset_anywhere(typed: str, workspace: Workspace) -> str:
    """The dataset, named so that a process in another folder finds it: a path typed from here becomes absolute."""
    here = Path(typed.strip()).expanduser()
    found = workspace.dataset_folder(typed)
    return str(found) if found == here.resolve() else typed.strip()


def _name_model(config: ModelOptions | GenerateConfig, field: str, workspace: Workspace) -> None:
    """The same for the base model and its parts."""
    setattr(config, field, _model_anywhere(getattr(config, field), workspace))
    config.vae = _absolute(config.vae)
    config.text_encoders = [_absolute(name) for name in config.text_encoders]


def _name_source(config: GenerateConfig, workspace: Workspace) -> None:
    """The picture to start from and its mask, as files that may be read.

    Raises:
        PathError: `path.not_allowed`; `path.no_picture`.
    """
    for field in ("picture", "mask"):
        typed = getattr(config.source, field)
        if not typed:
            continue
        path = workspace.allowed_path(typed)
        if not path.is_file():
            raise PathError(
                "path.no_picture", f"The picture {path.name} is not there any more.", "A picture to start from.", "Choose it again.",
                field=f"source.{field}", name=path.name,
            )  # fmt: skip
        setattr(config.source, field, str(path))


def _model_anywhere(typed: str, workspace: Workspace) -> str:
    here = Path(typed.strip()).expanduser()
    found = find_model(typed, workspace)
    return str(found) if isinstance(found, Path) and found == here.resolve() else typed.strip()


def _absolute(typed: str) -> str:
    """A path that leads to a file from here; any other name as it is."""
    here = Path(typed.strip()).expanduser()
    return str(here.resolve()) if typed.strip() and here.is_file() else typed.strip()
