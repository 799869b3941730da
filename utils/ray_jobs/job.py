"""Divides a job among the workers of a cluster of Ray."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from utils.inference.job import JobSettings
from utils.inference.json_lines import report_records
from utils.inference.sources import SourceList
from utils.models import ModelSource
from utils.ray_jobs.cluster import connected, find_cluster
from utils.ray_jobs.folder import open_folder
from utils.ray_jobs.manifest import Manifest
from utils.ray_jobs.part_file import suffix_of
from utils.ray_jobs.parts import PartList, PartRecord
from utils.ray_jobs.worker import Prediction, Worker, WorkerSettings, record_of


@dataclass(frozen=True)
class Job:
    """A job for many workers.

    Attributes:
        path: Folder of the results; its name decides between JSON lines and Parquet.
        sources: The sources, all of them files.
        settings: On what the records depend.
        model: The model.
        prediction: How the sources are processed.
    """

    path: Path
    sources: SourceList
    settings: JobSettings
    model: ModelSource
    prediction: Prediction


def run_job(job: Job, resume: bool, address: str | None = None) -> None:
    """Writes the files of all parts that the folder does not have yet.

    Args:
        job: The job.
        resume: Whether to continue a folder that exists.
        address: Address of a Ray cluster; see `utils.ray_jobs.cluster.find_cluster`.

    Raises:
        UserError: Ray is not installed, there is no cluster at the address, or the folder is of
            another job.
        JobError: Some sources could not be read completely, or a worker failed.
        MemoryError: A worker ran out of memory.
        OSError: A file cannot be written.
    """
    settings = WorkerSettings(Path.cwd(), job.path, job.model, job.settings.model, job.prediction)
    parts = PartList(job.sources, suffix_of(job.path))
    cluster = find_cluster(address)  # before the folder is created
    with open_folder(job.path, job.settings, parts, resume) as manifest:
        missing = [i for i in range(len(parts)) if parts.name(i) not in manifest.parts]
        if missing:
            with connected(cluster), _progress_bar(parts, manifest) as bar:
                for record in _process(parts, missing, settings):
                    manifest.add(record)
                    bar.update(record.sources)
    report_records(job.path, manifest.sources, manifest.errors)


def _progress_bar(parts: PartList, manifest: Manifest) -> tqdm:
    total, done = parts.number_of_sources, manifest.sources
    return tqdm(total=total, initial=done, unit="source", disable=None)  # None: on terminals only


def _process(parts: PartList, numbers: list[int], settings: WorkerSettings) -> Iterator[PartRecord]:
    """Processes parts on all workers, and yields what they have written, in the order of the ends.

    Args:
        parts: All parts of the job.
        numbers: Which of them to process.
        settings: Settings of each worker.
    """
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    # Each worker would start a thread per part, which polls its memory.
    context.memory_usage_poll_interval_s = None
    rows = [dataclasses.asdict(parts[number]) for number in numbers]
    resources, count = _share(ray.nodes(), settings)
    results = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Worker,
        fn_constructor_args=(settings,),
        # A second part waits at each worker, so that it never waits for the next one.
        compute=ray.data.ActorPoolStrategy(
            size=min(count, len(rows)), max_tasks_in_flight_per_actor=2
        ),
        **resources,
    )
    del rows
    for row in results.iter_rows():
        yield record_of(row)


def _share(
    nodes: Sequence[Mapping[str, Any]], settings: WorkerSettings
) -> tuple[dict[str, float], int]:
    """Returns the resources of each worker, and how many workers there are.

    Args:
        nodes: The machines, as `ray.nodes` describes them. A worker must fit on one.
        settings: Settings of each worker.
    """
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cpus = [int(each.get("CPU", 0)) for each in alive]
    threads = min(settings.threads, max([1, *cpus]))  # Ray would wait for a larger one
    gpus = int(sum(each.get("GPU", 0) for each in alive))
    if gpus and settings.model.run:  # TensorFlow takes all memory of a GPU
        return {"num_cpus": threads, "num_gpus": 1}, gpus
    return {"num_cpus": threads}, max(1, sum(each // threads for each in cpus))
