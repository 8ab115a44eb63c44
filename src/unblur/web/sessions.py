"""What open pages have sent and got. A session belongs to one open page; it ends when the page is closed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from unblur.types import UnblurError
from unblur.web.jobs import Job
from unblur.web.queue import FairQueue

if TYPE_CHECKING:
    from torch import Tensor

Role = Literal["photo", "short", "psf"]

GRACE = 60.0  # s for which a session is kept without a connection to its page
HEARTBEAT = 10.0  # s between two lines of a stream of events in which nothing happens
MOST_SESSIONS = 100
MOST_UPLOADS = 100  # of one session
MOST_HELD = 4 * 2**30  # bytes in memory, of all sessions
MOST_ON_DISK = 4 * 2**30  # bytes of restored pixels, of all sessions


class Full(UnblurError):
    """The server holds as much as it may."""


@dataclass
class Upload:
    """A file that a page has sent, checked.

    Attributes:
        id: its name in addresses.
        role: what it is to the page.
        name: its file name.
        data: its bytes; empty for a PSF.
        facts: its size and kind, for the page.
        preview: a JPEG (a PNG for a PSF).
        psf: `(1, 1, h, w)`, of a PSF only.
    """

    id: str
    role: Role
    name: str
    data: bytes
    facts: dict[str, Any]
    preview: bytes
    psf: Tensor | None = None

    def as_json(self) -> dict[str, Any]:
        """What the page is told."""
        return {"id": self.id, "role": self.role, "name": self.name, **self.facts}


@dataclass(eq=False)
class Session:
    """What one open page has sent and got.

    Attributes:
        token: the secret that the page sends with each request.
        uploads: by id.
        jobs: by id.
        connections: streams of events, and uploads, that are open.
        seen: time of the last request, on the clock of `time.monotonic`.
    """

    token: str
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    connections: int = 0
    seen: float = field(default_factory=time.monotonic)
    ended: bool = False

    def __post_init__(self) -> None:
        """Nothing has happened yet."""
        self._happened: list[tuple[asyncio.Event, set[str]]] = []

    @property
    def held(self) -> int:
        """Bytes in memory."""
        uploads = sum(
            len(upload.data) + len(upload.preview) + (0 if upload.psf is None else upload.psf.nbytes)
            for upload in self.uploads.values()
        )
        made = sum(len(job.preview) + len(job.kept.content) for job in self.jobs.values() if job.kept is not None)
        return uploads + made

    def tell(self, *jobs: Job) -> None:
        """Let the streams of events say how these jobs are. Only in the thread of the server."""
        for event, names in self._happened:
            names.update(job.id for job in jobs)
            event.set()

    async def events(self) -> AsyncGenerator[Job | None, None]:
        """The jobs that have changed, as they change; first all. None: nothing has happened for a while."""
        event, names = asyncio.Event(), set(self.jobs)
        self._happened.append((event, names))
        self.connections += 1
        try:
            yield None
            while not self.ended:
                while names:
                    job = self.jobs.get(names.pop())
                    if job is not None:
                        yield job
                event.clear()
                if names:
                    continue
                try:
                    await asyncio.wait_for(event.wait(), HEARTBEAT)
                except TimeoutError:
                    yield None
        finally:
            self._happened.remove((event, names))
            self.connections -= 1
            self.seen = time.monotonic()


class Sessions:
    """All sessions, and the limits that they share. Only used in the thread of the server."""

    def __init__(self, queue: FairQueue[Job]) -> None:
        self._queue = queue
        self._sessions: dict[str, Session] = {}
        self.arriving = 0  # bytes of uploads that are not complete

    def __len__(self) -> int:
        return len(self._sessions)

    def start(self) -> Session:
        """A new session.

        Raises:
            Full: too many pages are open.
        """
        if len(self._sessions) >= MOST_SESSIONS:
            raise Full(f"{MOST_SESSIONS} pages are open, which is the most. Close one, and wait for a minute.")
        session = Session(secrets.token_urlsafe(24))
        self._sessions[session.token] = session
        return session

    def find(self, token: str) -> Session | None:
        """The session with this secret, which is thereby kept longer; None: it has ended."""
        session = self._sessions.get(token)
        if session is not None:
            session.seen = time.monotonic()
        return session

    def of(self, token: str) -> Session | None:
        """As `find`, for the server itself: the session is not kept longer by it."""
        return self._sessions.get(token)

    def end(self, session: Session) -> None:
        """Stop the work of a session and keep nothing of it."""
        if self._sessions.pop(session.token, None) is None:
            return
        session.ended = True
        self._queue.forget(session.token)
        for job in session.jobs.values():
            job.release()
        session.tell(*session.jobs.values())
        session.jobs.clear()
        session.uploads.clear()

    def end_all(self) -> None:
        """End every session."""
        for session in list(self._sessions.values()):
            self.end(session)

    def end_abandoned(self) -> None:
        """End the sessions whose page has been closed, or has lost the connection for `GRACE` seconds."""
        now = time.monotonic()
        for session in list(self._sessions.values()):
            if session.connections == 0 and now - session.seen > GRACE:
                self.end(session)

    def check_room(self) -> None:
        """Check that there is room for more bytes.

        Raises:
            Full: there is none.
        """
        if self.arriving + sum(session.held for session in self._sessions.values()) > MOST_HELD:
            raise Full("The server holds as many photos as it may. Remove photos, or close other pages.")

    def tell_waiting(self) -> None:
        """Let the pages know that the turn of their waiting jobs has come nearer."""
        for session in self._sessions.values():
            session.tell(*(job for job in session.jobs.values() if job.state == "waiting"))

    def limit_disk(self) -> None:
        """Release the pixels of the oldest results of all sessions while these need more disk than allowed."""
        kept = [
            job.kept for session in self._sessions.values() for job in session.jobs.values() if job.kept is not None
        ]
        on_disk = sum(each.bytes_on_disk for each in kept)
        for each in kept:
            if on_disk <= MOST_ON_DISK:
                return
            on_disk -= each.bytes_on_disk
            each.release()
