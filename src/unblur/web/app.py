"""The server's answers. Nothing is read from the disk but the page itself, and nothing that has a name is written.

A page starts a session and sends its secret in the header `X-Unblur-Session` with every further request. It sends
photos and gets ids, orders restorations by these ids, and learns of the progress from a stream of JSON lines,
`/api/events`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Collection
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from unblur.types import UnblurError
from unblur.web.guard import LOGIN, Guard
from unblur.web.jobs import Job, Limits
from unblur.web.orders import Order
from unblur.web.queue import FairQueue, QueueFull
from unblur.web.sessions import Full, Session, Sessions, Upload
from unblur.web.uploads import TooLong, checked, file_name, received, role_of

PAGE = Path(__file__).parent / "page"
SESSION = "X-Unblur-Session"
MAX_PIXELS = 100_000_000
MAX_BYTES = 250_000_000
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_LONGEST_ORDER = 20_000  # bytes
_TIDY_EVERY = 5.0  # s
_DECODED_AT_ONCE = 2  # uploads and results that are decoded or encoded at the same time, besides the restoration

Made = TypeVar("Made")
_log = logging.getLogger("unblur.web")


class NotThere(UnblurError):
    """The page named something that is not there (any more)."""


class Ended(UnblurError):
    """The session of the page has ended."""


STATUS: dict[type[UnblurError], int] = {NotThere: 404, Ended: 410, TooLong: 413, QueueFull: 429, Full: 503}
"""Status codes of errors; that of all others is 400."""


class Application:
    """The application, to be served by an ASGI server.

    Args:
        names: host names of the machine.
        password: what must be given before anything is shown; None: nothing.
        max_pixels: a photo whose header declares more is refused before it is decoded.
        max_bytes: a longer upload is refused.
        device: where to compute.
        workers: how many photos are restored at the same time. Each uses all cores, so that more than one takes more
            memory and hardly less time.
        queue: where jobs wait; None: a queue with the usual limits.
    """

    def __init__(
        self,
        *,
        names: Collection[str] = (),
        password: str | None = None,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        device: str | None = None,
        workers: int = 1,
        queue: FairQueue[Job] | None = None,
    ) -> None:
        self._limits = Limits(max_pixels=max_pixels, max_bytes=max_bytes)
        self._device, self._workers, self._queue = device, workers, queue or FairQueue()
        self._sessions = Sessions(self._queue)
        self._files = {file.name: file.read_bytes() for file in PAGE.iterdir() if file.suffix in _TYPES}
        app = Starlette(routes=self._routes(), lifespan=self._lifespan)
        self._guarded = Guard(app, names=names, password=password)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._guarded(scope, receive, send)

    def stop(self) -> None:
        """End all work and all streams of events. Called in the thread of the server, before it waits for these."""
        self._queue.close()
        self._sessions.end_all()

    def _routes(self) -> list[Route]:
        """The addresses."""
        answer = self._answering
        return [
            Route("/", self._file("index.html")),
            Route(LOGIN, self._file("login.html")),
            *(Route(f"/page/{name}", self._file(name)) for name in self._files),
            Route("/api/form", answer(self._form)),
            Route("/api/session", answer(self._start), methods=["POST"]),
            Route("/api/session/end", answer(self._end), methods=["POST"]),
            Route("/api/events", answer(self._events)),
            Route("/api/uploads", answer(self._upload), methods=["POST"]),
            Route("/api/uploads/{id}", answer(self._remove_upload), methods=["DELETE"]),
            Route("/api/uploads/{id}/preview", answer(self._upload_preview)),
            Route("/api/jobs", answer(self._order), methods=["POST"]),
            Route("/api/jobs/{id}", answer(self._cancel), methods=["DELETE"]),
            Route("/api/jobs/{id}/preview", answer(self._job_preview)),
            Route("/api/jobs/{id}/psf", answer(self._job_psf)),
            Route("/api/jobs/{id}/download", answer(self._download)),
        ]

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Run the threads that restore photos, and end abandoned sessions, as long as the server runs."""
        self._loop = asyncio.get_running_loop()
        self._decoding = anyio.CapacityLimiter(_DECODED_AT_ONCE)
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(self._workers)]
        for thread in [*threads, threading.Thread(target=lambda: self._form_json, daemon=True)]:
            thread.start()
        tidying = asyncio.create_task(self._tidy())
        try:
            yield
        finally:
            tidying.cancel()
            self.stop()

    # --- in threads for work ----------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run()

    @cached_property
    def _form_json(self) -> bytes:
        """The form. Importing torch takes seconds, so that the page is shown before."""
        from unblur.web.form import form

        return json.dumps({**form(), "limits": self._limits}).encode()

    async def _in_thread(self, work: Callable[[], Made]) -> Made:
        return await anyio.to_thread.run_sync(work, limiter=self._decoding)

    # --- in the thread of the server --------------------------------------------------------------

    def _changed(self, job: Job) -> None:
        """Called in any thread."""
        with contextlib.suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._tell, job)

    def _tell(self, job: Job) -> None:
        session = self._sessions.of(job.owner)
        if session is None or job.id not in session.jobs:
            job.release()
            return
        session.tell(job)
        if job.progress.name == "" or job.state != "running":  # it has just begun, or has ended
            self._sessions.limit_disk()
            self._sessions.tell_waiting()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(_TIDY_EVERY)
            self._sessions.end_abandoned()

    def _answering(self, answer: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """The same, with errors as JSON."""

        async def guarded(request: Request) -> Response:
            try:
                return await answer(request)
            except UnblurError as error:
                # A body that has not been read is not waited for.
                headers = {"Connection": "close"} if request.method == "POST" else None
                return JSONResponse({"error": str(error)}, STATUS.get(type(error), 400), headers)
            except ClientDisconnect:
                return Response(status_code=400)

        return guarded

    def _file(self, name: str) -> Callable[[Request], Any]:
        async def answer(_request: Request) -> Response:
            return Response(self._files[name], media_type=_TYPES[Path(name).suffix])

        return answer

    def _session(self, request: Request) -> Session:
        session = self._sessions.find(request.headers.get(SESSION, ""))
        if session is None:
            raise Ended("This page was closed, or was without connection for too long. Reload it.")
        return session

    def _upload_of(self, request: Request) -> Upload:
        return _named(self._session(request).uploads, request.path_params["id"])

    def _job_of(self, request: Request) -> Job:
        return _named(self._session(request).jobs, request.path_params["id"])

    async def _form(self, _request: Request) -> Response:
        return Response(await anyio.to_thread.run_sync(lambda: self._form_json), media_type="application/json")

    async def _start(self, _request: Request) -> Response:
        return JSONResponse({"session": self._sessions.start().token})

    async def _end(self, request: Request) -> Response:
        """The secret is the body, since a page that is being closed can set no header."""
        session = self._sessions.find((await _body(request)).decode("utf-8", "replace"))
        if session is not None:
            self._sessions.end(session)
        return Response(status_code=204)

    async def _events(self, request: Request) -> Response:
        session = self._session(request)

        async def lines() -> AsyncIterator[bytes]:
            events = session.events()
            async with contextlib.aclosing(events):
                async for job in events:
                    yield b"\n" if job is None else json.dumps(self._described(job)).encode() + b"\n"

        return StreamingResponse(lines(), media_type="application/x-ndjson")

    def _described(self, job: Job) -> dict[str, Any]:
        order = self._queue.order() if job.state == "waiting" else []
        return {**job.as_json(), "before": order.index(job) if job in order else 0}

    async def _upload(self, request: Request) -> Response:
        session = self._session(request)
        role = role_of(request.query_params.get("role", "photo"))
        name = file_name(request.query_params.get("name", ""))
        data = await received(request, session, self._sessions, self._limits["max_bytes"])
        upload = await self._in_thread(partial(checked, role, name, data, self._limits))
        if session.ended:
            raise Ended("The page was closed.")
        self._sessions.check_room()
        session.uploads[upload.id] = upload
        return JSONResponse(upload.as_json(), 201)

    async def _remove_upload(self, request: Request) -> Response:
        """Remove a file, and the jobs of a photo."""
        session, upload = self._session(request), self._upload_of(request)
        del session.uploads[upload.id]
        for job in [job for job in session.jobs.values() if job.photo == upload.id]:
            self._forget(session, job)
        return Response(status_code=204)

    async def _upload_preview(self, request: Request) -> Response:
        upload = self._upload_of(request)
        return Response(upload.preview, media_type="image/png" if upload.role == "psf" else "image/jpeg")

    async def _order(self, request: Request) -> Response:
        session, order = self._session(request), Order.read(await _body(request))
        photo = _named(session.uploads, order.photo, "photo")
        short = None if order.short is None else _named(session.uploads, order.short, "short")
        psf = None if order.psf is None else _named(session.uploads, order.psf, "psf").psf
        options, known = await anyio.to_thread.run_sync(lambda: (order.options(self._device), order.known(psf)))
        given = known.given() | {"blurry", *([] if short is None else ["noisy"])}
        await anyio.to_thread.run_sync(lambda: options.plan(given))  # what does not fit together is said at once
        job = Job(
            id=secrets.token_urlsafe(9),
            owner=session.token,
            photo=photo.id,
            name=photo.name,
            data=photo.data,
            noisy=None if short is None else short.data,
            options=options,
            known=known,
            limits=self._limits,
            changed=self._changed,
        )
        if session.ended:
            raise Ended("The page was closed.")
        self._queue.put(session.token, job)
        for older in [each for each in session.jobs.values() if each.photo == photo.id]:
            self._forget(session, older)  # a photo has one result
        session.jobs[job.id] = job
        session.tell(job)
        return JSONResponse(self._described(job), 201)

    async def _cancel(self, request: Request) -> Response:
        job = self._job_of(request)
        self._queue.remove(job.owner, job)
        if job.state in ("waiting", "running"):  # also one that was taken out of the queue just now
            job.cancel()
        self._sessions.tell_waiting()
        return Response(status_code=204)

    def _forget(self, session: Session, job: Job) -> None:
        self._queue.remove(job.owner, job)
        session.jobs.pop(job.id, None)
        job.release()

    async def _job_preview(self, request: Request) -> Response:
        job = self._finished(request)
        return Response(job.preview, media_type="image/jpeg")

    async def _job_psf(self, request: Request) -> Response:
        job = self._finished(request)
        if job.psf is None:
            raise NotThere("This result has no PSF.")
        return Response(job.psf, media_type="image/png")

    async def _download(self, request: Request) -> Response:
        job = self._finished(request)
        assert job.kept is not None
        try:
            strength = float(request.query_params.get("strength", "1"))
        except ValueError:
            raise UnblurError("the strength is a number from 0 to 1.") from None
        content = await self._in_thread(partial(job.kept.at, strength))
        name = job.kept.result.output.name
        return Response(
            content,
            media_type="application/octet-stream",
            headers={"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}"},
        )

    def _finished(self, request: Request) -> Job:
        job = self._job_of(request)
        if job.state != "done" or job.kept is None:
            raise NotThere("This photo is not restored (yet).")
        return job


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_ORDER:
            raise TooLong(f"the request is longer than {_LONGEST_ORDER} bytes.")
    return body


def _named(things: dict[str, Made], id: str, role: str | None = None) -> Made:
    """The thing with an id, of a role.

    Raises:
        NotThere: there is none.
    """
    thing = things.get(id)
    if thing is None or (role is not None and getattr(thing, "role", None) != role):
        raise NotThere(f"there is no such {role or 'file or job'} (any more). Send it again.")
    return thing
