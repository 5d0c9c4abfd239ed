"""The studio: its folder, its queue, and how a submission becomes a job."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from dreamlift.studio.estimates import Estimate, estimate
from dreamlift.studio.history import History
from dreamlift.studio.library import Library
from dreamlift.studio.limits import Limits
from dreamlift.studio.models import LoadedModels
from dreamlift.studio.work.clips import ClipWork, plan_clip
from dreamlift.studio.work.job import JobView
from dreamlift.studio.work.objects import ObjectWork, plan_object
from dreamlift.studio.work.queue import JobQueue
from dreamlift.studio.work.submissions import Submission, read_submission


class Studio:
    """What the page and the HTTP API share. To be closed at the end."""

    def __init__(self, folder: Path, limits: Limits | None = None) -> None:
        """folder: of the outputs, created if it is missing.

        Raises UserError for a folder that is not writable.
        """
        self.limits = limits or Limits()
        self.library = Library(folder, self.limits)
        self.history = History(self.library)
        self.queue = JobQueue(self.limits.queue)
        self._models = LoadedModels()
        self._scratch = TemporaryDirectory(prefix="dreamlift-studio-")
        self.scratch = Path(self._scratch.name)  # previews, and files under way between page and folder

    def plan(self, values: object) -> ClipWork | ObjectWork:
        """The work of a submission. Raises UserError for what cannot be made, before any model is loaded."""
        submission = values if isinstance(values, Submission) else read_submission(values, self.limits)
        plan = plan_clip if submission.kind == "clip" else plan_object
        return plan(submission, self.library, self._models, self.scratch)

    def submit(self, *values: object) -> list[JobView]:
        """Adds a job for each submission, or none of them where one cannot be made or the queue is full."""
        return self.queue.submit(*map(self.plan, values))

    def estimate(self, values: object) -> Estimate:
        """The expected cost of a submission. Raises UserError for what cannot be made."""
        return estimate(self.plan(values), self.history.entries())

    def close(self) -> None:
        """Cancels all jobs, waits for the one that is running, and removes what is temporary."""
        self.queue.close()
        self._scratch.cleanup()
