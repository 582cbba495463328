"""The executors by what the settings say."""

from trainwright.work.container import ContainerExecutor
from trainwright.work.executor import Executor
from trainwright.work.process import ProcessExecutor
from trainwright.work.settings import WorkSettings


def open_executor(settings: WorkSettings) -> Executor:
    """Where the jobs of a worker with these settings run. Raises ContainerEngineMissing, ImageMissing, InvalidValue."""
    if settings.container is None:
        return ProcessExecutor()
    return ContainerExecutor(settings.container)
