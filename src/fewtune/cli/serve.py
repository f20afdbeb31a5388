"""`fewtune serve RUN`."""

from __future__ import annotations

from pathlib import Path

from fewtune.cli.options import NO_RUN_FLAGS, RunFlags


def serve(
    run: Path,
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    batch: int = 32,
    wait: float = 5.0,
    queue: int = 256,
    items: int = 64,
    megabytes: float = 20.0,
    timeout: float = 30.0,
    running: RunFlags = NO_RUN_FLAGS,
) -> None:
    """Answer predictions of a saved model over HTTP, and on a page for photos or texts.

    Parameters
    ----------
    run: Path
        The folder that `fewtune adapt` saved.
    host: str
        The address to listen on. 127.0.0.1 is this machine alone; 0.0.0.0 lets every machine of the network in, without a password.
    port: int
        The port to listen on. 0: any free one.
    batch: int
        Items that go through the network together, at most.
    wait: float
        Milliseconds that an item waits for others.
    queue: int
        Items that may wait at once. Above it, requests are refused with 503 and Retry-After.
    items: int
        Items in one request, at most.
    megabytes: float
        The size of one request, at most.
    timeout: float
        Seconds until a request must be answered.
    """
    from fewtune.models.its_place import check_found

    check_found(run, running.weights)  # before torch is loaded

    from fewtune.cli.say import note, tell
    from fewtune.errors import InputError
    from fewtune.models.bundle import load_bundle
    from fewtune.models.joint.bundle import load_joint
    from fewtune.models.joint.model import JointBundle
    from fewtune.models.record import is_joint
    from fewtune.serving.server import need_server, open_socket, run_server

    need_server()
    from fewtune.serving.answering import Answering
    from fewtune.serving.application import Settings, application
    from fewtune.serving.columns import ColumnsAnswering
    from fewtune.serving.requests import Limits
    from fewtune.serving.served import Served

    if min(batch, queue, items) < 1 or wait < 0 or megabytes <= 0 or timeout <= 0 or items > queue:
        raise InputError(
            "expected --batch, --queue, --items, --megabytes and --timeout above 0, --wait at least 0, --queue not below --items."
        )
    loaded = load_joint(run) if is_joint(run) else load_bundle(run)
    local = host in ("127.0.0.1", "localhost", "::1")
    with open_socket(host, port) as listening:
        of = running.value()
        answering: Served = ColumnsAnswering.of(loaded, of) if isinstance(loaded, JointBundle) else Answering.of(loaded, of)
        answering.warm()
        limits = Limits(body=int(megabytes * 1e6), items=items, seconds=timeout)
        settings = Settings(limits=limits, batch=batch, wait=wait / 1000, queue=queue, local=local)
        made = application(answering, run.resolve().name, settings)
        if not local:
            note(f"warning: {host} is not this machine alone: whoever reaches this port can use the model, without a password.")
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        run_server(made, listening, lambda: tell(f"Serving {run} on {address} (the page), {address}/docs describes it. Ctrl-C stops."))
    tell("Stopped; every request that was taken is answered.")
