"""Grid search over any arguments of a recipe: parallel, resumable, on one machine or several.

Optuna's storage hands out each point once, keeps its result, and notices by a heartbeat that a process died.
"""

import csv
import json
import logging
import math
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, Trial, TrialState
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..contract.files import atomic_write
from ..contract.machine import cores
from . import plots, runs
from .grid import RESULTS, SCORES, SEED, Axis, Shown, all_points, check_grid, has_heatmaps, run_point
from .parent import end_with_parent, ignoring_interrupts
from .provenance import commit

HEARTBEAT = 5  # seconds; a point is run again after two missed heartbeats
LOST_AFTER = timedelta(seconds=4 * HEARTBEAT)  # from the start of a point to its first heartbeat, at most
RETRIES = 2  # of a point whose process died


def run_sweep(config: dict[str, Any], grid: Sequence[Axis], folder: Path, storage: str | None, workers: int) -> Path:
    """Run every point of the grid that is not finished, write sweep.csv and heatmaps, and return sweep.csv's path.

    Args:
        config: a resolved recipe: model, data, trainer, seed_everything, and pretrained if any.
        storage: an SQLAlchemy URL that several machines share; by default a file in `folder`.
        workers: the number of processes on this machine.

    Raises ValueError for a grid that cannot be run, and for a storage that cannot be used or holds a sweep of another
    recipe or grid.
    """
    check_grid(config, grid)
    if workers < 1:
        raise ValueError(f"--workers is {workers}: give at least 1")
    folder.mkdir(parents=True, exist_ok=True)
    given, storage = storage, storage or f"sqlite:///{(folder / 'sweep.db').absolute()}"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)  # heartbeats
    try:
        backend = _storage(storage)
        names = [] if given else optuna.get_all_study_names(backend)  # the folder may have been renamed
        name = names[0] if names else folder.name
        study = optuna.create_study(storage=backend, study_name=name, direction="maximize", load_if_exists=True)
    except Exception as error:  # SQLAlchemy's, or a driver's
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"{'--storage' if given else folder / 'sweep.db'} cannot be used: {reason}") from None
    axes = [vars(axis) | ({"values": []} if axis.name == SEED else {}) for axis in grid]  # more seeds may follow
    recipe = {"config": config, "grid": axes}
    if differing := runs.compare(study.user_attrs.setdefault("recipe", recipe), json.loads(json.dumps(recipe))):
        raise ValueError(
            f"the storage holds a sweep {name} of another recipe or grid ({runs.describe(differing)}): "
            "give another --output, or remove it"
        )
    study.set_user_attr("recipe", recipe)
    points, begin = all_points(grid), datetime.now()
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    with _progress() as bar:
        task = bar.add_task(f"Sweep {folder.name}", total=len(points))
        processes: list[Any] = []
        while len(done := _finished(study, points, begin)) < len(points):
            bar.update(task, completed=len(done))
            if any(process.exitcode == 1 for process in processes):
                raise ChildProcessError("a worker of the sweep ended with the error above: run it again to go on")
            processes = [p for p in processes if p.is_alive()]
            if not processes:
                fail_stale_trials(study)
                _requeue_lost(study)
                _enqueue(study, points, begin)
                waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))  # others may run elsewhere
                arguments = (config, list(grid), storage, name)
                own = gpus(config["trainer"])
                processes = [
                    context.Process(target=_work, args=(*arguments, own[k % len(own)] if own else None), daemon=True)
                    for k in range(min(workers, len(waiting)))
                ]
                with ignoring_interrupts():  # this process ends, and they end with it
                    for process in processes:
                        process.start()
            time.sleep(0.5)
        bar.update(task, completed=len(done))
        for process in processes:
            process.join()
    return _write(grid, done, folder)


def default_workers(trainer: dict[str, Any]) -> int:
    """Return how many points to run at once, by the Trainer's options: one on each GPU, or one on each core."""
    return len(gpus(trainer)) or cores()


def gpus(trainer: dict[str, Any]) -> list[str]:
    """Return the GPUs for the trainings, as CUDA_VISIBLE_DEVICES names them; none if they run on the CPU."""
    if trainer.get("accelerator") == "cpu":
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",") if named and torch.cuda.is_available() else [*map(str, range(torch.cuda.device_count()))]


def _storage(address: str) -> RDBStorage:
    options = {"connect_args": {"timeout": 60}} if address.startswith("sqlite") else {}
    retry = RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)
    return RDBStorage(address, options, heartbeat_interval=HEARTBEAT, heartbeat_stale_trial_callback=retry)


def _newest(study: optuna.Study) -> dict[str, FrozenTrial]:
    """Return the newest trial of each point, without those that repeat another."""
    trials = [trial for trial in study.get_trials(deepcopy=False) if "point" in trial.user_attrs]
    return {_key(trial.user_attrs["point"]): trial for trial in trials if "repeats" not in trial.user_attrs}


def _key(point: dict[str, Shown]) -> str:
    return json.dumps(point)


def _status(trial: FrozenTrial) -> str:
    """Return ok, diverged or failed; an empty string for a point that is not finished."""
    if trial.state == TrialState.FAIL and len(RetryHeartbeatStaleTrialCallback.retry_history(trial)) == RETRIES:
        return "failed"
    return trial.user_attrs.get("status", "") if trial.state.is_finished() else ""


def _is_finished(trial: FrozenTrial, begin: datetime) -> bool:
    """Return whether a point need not run again: it was measured, or it failed since this sweep began."""
    status = _status(trial)
    return bool(status) and not (status == "failed" and trial.datetime_start and trial.datetime_start < begin)


def _finished(study: optuna.Study, points: Sequence[dict[str, Shown]], begin: datetime) -> list[FrozenTrial]:
    """Return the finished trials of some points, those with an error too."""
    newest = _newest(study)
    return [trial for point in points if (trial := newest.get(_key(point))) and _is_finished(trial, begin)]


def _enqueue(study: optuna.Study, points: Sequence[dict[str, Shown]], begin: datetime) -> None:
    """Enqueue the points that were never run, and those that failed before this sweep began.

    Optuna's skip_if_exists takes numbers that are nearly equal for the same, such as two large seeds.
    """
    newest = _newest(study)
    for point in points:
        trial = newest.get(_key(point))
        lost = trial and trial.state == TrialState.FAIL and not _status(trial)  # a process died before it enqueued it
        if trial is None or lost or (_status(trial) and not _is_finished(trial, begin)):
            study.enqueue_trial(point, user_attrs={"point": point})


def _repeats(study: optuna.Study, trial: Trial) -> bool:
    """Return whether an older trial of the same point is not finished, or was measured.

    Two machines that start at once enqueue every point twice.
    """
    key = _key(trial.user_attrs["point"])
    older = [t for t in study.get_trials(deepcopy=False)[: trial.number] if "point" in t.user_attrs]
    same = [t for t in older if _key(t.user_attrs["point"]) == key and "repeats" not in t.user_attrs]
    return any(not t.state.is_finished() or _status(t) in ("ok", "diverged") for t in same)


def _requeue_lost(study: optuna.Study) -> None:
    """Requeue the points of workers that died before their first heartbeat, which Optuna does not notice."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        point, started = trial.user_attrs.get("point"), trial.datetime_start
        begun = trial.user_attrs.get("begun") == trial.number
        if point and not begun and started and datetime.now() - started > LOST_AFTER:
            study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            study.enqueue_trial(point, user_attrs={"point": point})


def _work(config: dict[str, Any], grid: list[Axis], storage: str, name: str, gpu: str | None) -> None:
    """Run waiting points until there are none, in a worker process. On a GPU, it sees that one alone."""
    end_with_parent()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)  # one process a core
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    backend = _storage(storage)
    run_waiting(optuna.load_study(study_name=name, storage=backend), backend, config, grid)


def run_waiting(study: optuna.Study, storage: RDBStorage, config: dict[str, Any], grid: Sequence[Axis]) -> None:
    """Run waiting points until there are none.

    If the heartbeats of a point came late, another worker has been given it, and its result here is dropped. That is
    why this is not Study.optimize, which would end with an error.
    """
    study_id = storage.get_study_id_from_name(study.study_name)
    while True:
        fail_stale_trials(study)
        trial = study.ask()
        if "point" not in trial.user_attrs:  # no point is waiting, and Optuna made one up
            study.tell(trial, state=TrialState.PRUNED)
            return
        if _repeats(study, trial):
            trial.set_user_attr("repeats", True)
            study.tell(trial, state=TrialState.PRUNED)
            continue
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        with _heartbeat(storage, trial_id), suppress(UpdateFinishedTrialError):
            accuracy = _measure(trial, config, grid)
            state = TrialState.PRUNED if accuracy is None else TrialState.COMPLETE
            study.tell(trial, accuracy, state, skip_if_finished=True)


def _measure(trial: Trial, config: dict[str, Any], grid: Sequence[Axis]) -> float | None:
    """Run a point, keep its scores in the trial, and return the validation accuracy; None if it failed."""
    trial.set_user_attr("commit", commit())
    trial.set_user_attr("begun", trial.number)  # a retried trial starts with the attributes of the first
    started = time.monotonic()
    for axis in grid:
        if axis.name != SEED:  # Optuna's parameters cannot get more values
            trial.suggest_categorical(axis.name, list(axis.choices))
    values = trial.user_attrs["point"]
    try:
        scores = run_point(config, {axis.argument: axis.choices[values[axis.name]] for axis in grid})
    except Exception as error:
        trial.set_user_attr("error", f"{type(error).__name__}: {error}")
        trial.set_user_attr("status", "failed")
        return None
    for key, value in scores.items():
        trial.set_user_attr(key, value if math.isfinite(value) else None)
    trial.set_user_attr("seconds", time.monotonic() - started)
    trial.set_user_attr("status", "ok" if math.isfinite(scores["train_loss"]) else "diverged")
    return scores["val_accuracy"]


@contextmanager
def _heartbeat(storage: RDBStorage, trial_id: int) -> Iterator[None]:
    """Say in the storage that this process lives, at once and then every HEARTBEAT seconds."""
    storage.record_heartbeat(trial_id)
    done = threading.Event()

    def beat() -> None:
        while not done.wait(HEARTBEAT):
            with suppress(StorageInternalError):  # a locked database: the next beat comes in time
                storage.record_heartbeat(trial_id)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _write(grid: Sequence[Axis], trials: list[FrozenTrial], folder: Path) -> Path:
    names = [axis.name for axis in grid]
    columns = [*names, *RESULTS]
    rows = [{**trial.user_attrs, **trial.user_attrs["point"], "status": _status(trial)} for trial in trials]
    for row in rows:
        if row["status"] == "failed":
            row.setdefault("error", f"its process died {RETRIES + 1} times")
        else:
            row.pop("error", None)  # of an earlier try
    rows.sort(key=lambda row: [list(axis.choices).index(row[axis.name]) for axis in grid])
    table = folder / "sweep.csv"
    with atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    if has_heatmaps(grid):
        for score, title in zip(SCORES, ("Training accuracy", "Validation accuracy", "Test accuracy"), strict=True):
            plots.heatmap(rows, grid[0].name, grid[1].name, score, folder / f"{score}.png", title)
    return table


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
