"""A worker beside a service: `python -m trainwright.work ROOT SETTINGS` (JSON). Its standard input is its lifeline.

Once the service is gone it takes nothing more, and ends when what it runs has ended: a service may be restarted, or killed,
without a job noticing.
"""

import logging
import signal
import sys
from pathlib import Path

from trainwright.store.workspace import open_workspace
from trainwright.work.executors import open_executor
from trainwright.work.lifeline import watch_lifeline
from trainwright.work.settings import WorkSettings
from trainwright.work.worker import Worker


def main() -> None:
    """Work until the lifeline is cut, or until asked to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s worker: %(message)s", stream=sys.stderr)
    root, told = sys.argv[1:3]
    settings = WorkSettings.model_validate_json(told)
    with open_workspace(Path(root)) as workspace:
        worker = Worker(workspace, settings.limits, open_executor(settings))
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        signal.signal(signal.SIGINT, lambda *_: worker.stop())
        watch_lifeline(worker.drain)
        worker.run()


if __name__ == "__main__":
    main()
